"""Batch normalisation as a setting of whole models."""

from torch import nn


def freeze_batch_norm(model: nn.Module) -> None:
    """Put every batch norm of a model into evaluation mode: statistics are used as they are, and not updated."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.SyncBatchNorm):
            module.eval()
