"""Random changes to a training batch that keep its images within the data set."""

from collections.abc import Callable
from types import MappingProxyType

import torch
from torch import Generator, Tensor

from inverseflow.errors import DataError

Augmentation = Callable[[Tensor, Generator], Tensor]


def horizontal_flip(batch: Tensor, generator: Generator) -> Tensor:
    """Mirror each image left to right with probability one half.

    Args:
        batch: ``(B, C, H, W)``, usually ``uint8``; it is not modified.
        generator: source of randomness, on the batch's device.

    Returns:
        A new batch of the same shape and dtype.

    Raises:
        DataError: if `batch` does not have four axes.

    Example:
        >>> batch = torch.arange(6, dtype=torch.uint8).reshape(2, 1, 1, 3)
        >>> horizontal_flip(batch, torch.Generator().manual_seed(0)).tolist()
        [[[[2, 1, 0]]], [[[3, 4, 5]]]]
    """
    if batch.ndim != 4:
        raise DataError(f"batch must have the shape (B, C, H, W), got {tuple(batch.shape)}")
    mirrored = torch.rand(len(batch), 1, 1, 1, generator=generator, device=batch.device) < 0.5  # (B, 1, 1, 1)
    return torch.where(mirrored, batch.flip(-1), batch)


AUGMENTATIONS = MappingProxyType({"horizontal_flip": horizontal_flip})
