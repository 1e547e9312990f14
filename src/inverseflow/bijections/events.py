"""Counts and sums over one event, for those who write layers."""

import math

import torch
from torch import Tensor

from inverseflow.ops.precision import at_least_single as at_least_single


def pixels(x: Tensor) -> int:
    """Return the number of spatial positions of one event: H·W for an image, 1 for a vector."""
    return math.prod(x.shape[2:])


def elements(x: Tensor) -> int:
    """Return the number of elements of one event."""
    return math.prod(x.shape[1:])


def per_channel(parameter: Tensor, x: Tensor) -> Tensor:
    """Reshape a ``(C,)`` parameter so that it broadcasts against ``(B, C, *spatial)``."""
    return parameter.view(-1, *[1] * (x.ndim - 2))


def sum_event(x: Tensor) -> Tensor:
    """Sum over all axes but the first, in at least single precision."""
    return x.flatten(1).sum(1, dtype=torch.promote_types(x.dtype, torch.float32))
