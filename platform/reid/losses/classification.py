"""Cross-entropies of identities and attributes (paper, eq. 5), over the global batch.

Legend: B samples of this rank, K identities, A attributes.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from reid.losses.ranks import Ranks, global_mean
from reid.models import at_least_fp32

MISSING = -1
"""Label of an attribute that is not annotated."""


def identity_cross_entropy(logits_BK: Tensor, labels_B: Tensor, ranks: Ranks, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy of the identities, with smoothed labels if asked for."""
    sum_ = F.cross_entropy(at_least_fp32(logits_BK), labels_B, reduction="sum", label_smoothing=label_smoothing)
    return global_mean(sum_, labels_B.new_tensor(len(labels_B)), ranks)


def attribute_cross_entropies(
    logits: Mapping[str, Tensor], labels_BA: Tensor, names: Sequence[str], ranks: Ranks
) -> dict[str, Tensor]:
    """Mean cross-entropy of every attribute over the samples that have it.

    Args:
        logits: logits (B × classes) by attribute.
        labels_BA: classes, -1 = missing.
        names: attributes of the A columns; those without logits are left out.
        ranks: the ranks that hold the rest of the batch.

    Returns:
        Losses by attribute; a zero attached to the graph for one that no sample has.

    Raises:
        ValueError: there are logits for an attribute without a column.
    """
    if unknown := sorted(logits.keys() - set(names)):
        raise ValueError(f"the batch has no attribute '{unknown[0]}', only {', '.join(names)}: use the model's dataset")
    if not logits:
        return {}
    columns = [names.index(name) for name in logits]
    labels_BA = labels_BA[:, columns]
    sums_A = torch.stack(
        [
            F.cross_entropy(at_least_fp32(scores), labels_B, reduction="sum", ignore_index=MISSING)
            for scores, labels_B in zip(logits.values(), labels_BA.unbind(1), strict=True)
        ]
    )
    means_A = global_mean(sums_A, (labels_BA != MISSING).sum(dim=0), ranks)
    return dict(zip(logits, means_A.unbind(), strict=True))
