"""The head of the baselines: pooling, neck and identity classifier on the trunk's map.

Legend: B images, C channels, H × W cells, I identities.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from reid.models.precision import at_least_fp32

GEM_POWER = 3.0
"""What the exponent of GeM pooling starts from (Radenović et al., TPAMI 2019)."""
SMALLEST = 1e-6
"""What GeM pooling takes smaller activations for."""


class GeneralisedMean(nn.Module):
    """Generalised mean of every channel over the positions, (mean xᵖ)^(1/p) with a learnt p.

    Radenović et al., "Fine-tuning CNN Image Retrieval with No Human Annotation", TPAMI 2019.
    """

    def __init__(self) -> None:
        super().__init__()
        self.power = nn.Parameter(torch.tensor(GEM_POWER))

    def forward(self, map_BCHW: Tensor) -> Tensor:
        with torch.autocast(map_BCHW.device.type, enabled=False):
            raised_BCHW = at_least_fp32(map_BCHW).clamp(min=SMALLEST) ** self.power
            pooled_BC: Tensor = raised_BCHW.mean(dim=(2, 3)) ** (1 / self.power)
            return pooled_BC


class BaselineHead(nn.Module):
    """One vector for an image, and whose it is.

    Args:
        channels: channels of the trunk's map.
        num_identities: classes of the identity classifier.
        pooling: `average` or `gem`.
        neck: `bnneck` batch-normalises the vector before a classifier without bias (Luo et al., "Bag of Tricks and a
            Strong Baseline for Deep Person Re-identification", CVPR Workshops 2019).
    """

    def __init__(
        self, channels: int, num_identities: int, *, pooling: Literal["average", "gem"], neck: Literal["none", "bnneck"]
    ) -> None:
        super().__init__()
        self.pool = GeneralisedMean() if pooling == "gem" else None
        self.neck = nn.BatchNorm1d(channels) if neck == "bnneck" else None
        if self.neck is not None:
            self.neck.bias.requires_grad_(False)
        self.identity = nn.Linear(channels, num_identities, bias=self.neck is None)

    def forward(self, map_BCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns pooled_BC, the same behind the neck, identity logits."""
        pooled_BC = map_BCHW.mean(dim=(2, 3)) if self.pool is None else self.pool(map_BCHW)
        necked_BC = pooled_BC if self.neck is None else self.neck(pooled_BC)
        return pooled_BC, necked_BC, self.identity(necked_BC)
