"""Reading values inside of `torch.vmap` and the other transforms of `torch.func`."""

from __future__ import annotations

from torch import Tensor
from torch._C import _functorch as functorch


def every_slice(tensor: Tensor) -> Tensor:
    """Return the plain tensor beneath the transforms, which holds all slices of one that is mapped: mapped axes first.

    A check of values may read it where it could not read the tensor of one slice. It has no derivatives.
    """
    while functorch.is_functorch_wrapped_tensor(tensor):
        axis = functorch.maybe_get_bdim(tensor)
        tensor = functorch.get_unwrapped(tensor)
        tensor = tensor if axis < 0 else tensor.movedim(axis, 0)
    return tensor
