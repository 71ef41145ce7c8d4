"""Channel parse block: learns which channels matter for this image."""

from torch import Tensor, nn

OPEN = 4.0
"""Bias before the sigmoid of a block that starts open: a weight of 0.98."""


class ChannelParseBlock(nn.Module):
    """Re-weights every channel by what the whole map shows (paper, section III-A.2 and Fig. 4).

    Squeeze (global average) → 1×1 conv → ReLU → 1×1 conv → sigmoid → product with the input.

    Args:
        channels: channels C of the maps.
        reduction: the hidden layer has C / reduction channels, one at least.
        start_open: start with weights near 1, so that maps which are good already keep their height; else near 0.5.
    """

    def __init__(self, channels: int, reduction: int = 4, *, start_open: bool = False) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, hidden, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, channels, 1),
            nn.Sigmoid(),
        )
        if start_open:
            last = self.weigh[3]
            assert isinstance(last, nn.Conv2d)
            nn.init.zeros_(last.weight)
            nn.init.constant_(last.bias, OPEN)  # type: ignore[arg-type]

    def forward(self, maps_BCHW: Tensor) -> Tensor:
        weights_BC11: Tensor = self.weigh(maps_BCHW)
        return maps_BCHW * weights_BC11
