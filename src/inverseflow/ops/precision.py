"""The precision that arithmetic needs."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_single(x: Tensor) -> Tensor:
    """Return x in float32 if it has half precision, else x itself.

    Args:
        x: a floating-point or complex tensor.
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))
