"""The parts of torch without a public name that this package relies on, each with a test that fails if it changes."""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from operator import or_
from typing import Any

import torch
from torch import Tensor
from torch._C import DispatchKey, DispatchKeySet, _functorch
from torch.autograd import Function, forward_ad


def transforms_active() -> bool:
    """Tell whether the caller runs inside a transform of `torch.func`."""
    return torch._C._are_functorch_transforms_active()


def is_exporting() -> bool:
    """Tell whether the caller is traced by `torch.export`; before torch 2.7 that cannot be told from compilation."""
    exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)
    return bool(exporting())


def forward_mode_active() -> bool:
    """Tell whether the caller runs inside a `torch.autograd.forward_ad.dual_level`; `torch.func.jvp` enters one."""
    return forward_ad._current_level >= 0


def tangents_enabled() -> bool:
    """Tell whether operators propagate tangents here; torch turns this off inside a ``jvp`` rule."""
    return torch._C._is_fwd_grad_enabled()


def enable_tangents() -> AbstractContextManager[object]:
    """Let operators propagate tangents inside a ``jvp`` rule, so that forward mode nests."""
    manager: AbstractContextManager[object] = forward_ad._set_fwd_grad_enabled(True)
    return manager


def dispatch_mode_active() -> bool:
    """Tell whether a `TorchDispatchMode` sees every operator, as in tracing or with fake tensors."""
    return torch._C._len_torch_dispatch_stack() > 0


_PLAIN_KEYS = "CPU", "CUDA", "BackendSelect", "ADInplaceOrView", "AutogradCPU", "AutogradCUDA"
_PLAIN = functools.reduce(or_, (DispatchKeySet(getattr(DispatchKey, key)) for key in _PLAIN_KEYS))


def only_autograd_at_work(first: Tensor, second: Tensor) -> bool:
    """Tell whether the dispatcher would do nothing but autograd: no mode, transform, subclass or autocast is active."""
    keys = torch._C._dispatch_keys(first) | torch._C._dispatch_keys(second) | torch._C._dispatch_tls_local_include_set()
    keys = keys - torch._C._dispatch_tls_local_exclude_set()
    return (keys | _PLAIN).raw_repr() == _PLAIN.raw_repr()  # torch 2.6 compares no sets


def bare_apply(function: type[Function]) -> Callable[..., Any]:
    """Return ``function.apply`` without its Python part, for calls where no transform is active."""
    apply: Callable[..., Any] = super(Function, function).apply  # type: ignore[misc]
    return apply


def unwrap_functorch(tensor: Tensor) -> Tensor:
    """Return the plain tensor beneath the transforms of `torch.func`, with mapped axes first, without derivatives.

    A value can't be read inside of `torch.vmap`; of the plain tensor, which holds all slices, it can.
    """
    while _functorch.is_functorch_wrapped_tensor(tensor):
        axis = _functorch.maybe_get_bdim(tensor)
        tensor = _functorch.get_unwrapped(tensor)
        tensor = tensor if axis < 0 else tensor.movedim(axis, 0)
    return tensor
