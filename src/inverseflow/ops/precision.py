"""The precision that arithmetic needs."""

import torch
from torch import Tensor


def at_least_single(x: Tensor) -> Tensor:
    """Return a floating-point or complex tensor in float32 if it has half precision, else itself."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    return x if x.dtype == dtype else x.to(dtype)  # the call would take as long as small arithmetic
