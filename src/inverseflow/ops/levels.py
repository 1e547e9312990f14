"""Checks and dtypes of integer data."""

import torch
from torch import Tensor

from inverseflow.ops.torch_internals import unwrap_functorch


def check_levels(x: Tensor, levels: int, owner: str) -> None:
    """Raise unless a tensor holds integers from 0 to levels - 1; compiled code does not look at the values.

    Args:
        x: any shape.
        levels: number of values.
        owner: the class that asks, for the message.

    Raises:
        TypeError: if x has no integer dtype.
        ValueError: if a value is out of range.
    """
    if x.is_floating_point() or x.is_complex():
        raise TypeError(
            f"{owner} expects gray levels 0 … {levels - 1} of an integer dtype, got {x.dtype}; "
            "convert with .to(torch.uint8), or build the model with levels=None for continuous data"
        )
    if torch.compiler.is_compiling() or (x.dtype == torch.uint8 and levels >= 256) or x.numel() == 0:
        return
    low, high = map(int, unwrap_functorch(x).to(torch.int64).aminmax())  # some unsigned dtypes have no aminmax
    if low < 0 or high >= levels:
        raise ValueError(
            f"gray levels run from 0 to {levels - 1}, got values from {low} to {high}; "
            "build the model with the number of levels that the data has"
        )
