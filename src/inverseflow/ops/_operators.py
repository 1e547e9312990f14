r"""The three operators, closed under differentiation: the convolution, the solve, and the correlation.

Let A be the one-sided convolution. Its transpose is again one, started at the opposite corner with the kernel's channel
axes swapped, so that both are one operator with a flag.

=============  ================================================  ===========================================
operator       gradient of the image                             gradient of the weight
=============  ================================================  ===========================================
y = A x        :math:`A^T g`                                     :math:`\mathrm{corr}(x, g)`
y = Aᵀ x       :math:`A g`                                       :math:`\mathrm{corr}(g, x)`
x = A⁻¹ y      :math:`S = A^{-T} g`                              :math:`-\mathrm{corr}(x, S)`
x = A⁻ᵀ y      :math:`S = A^{-1} g`                              :math:`-\mathrm{corr}(S, x)`
corr(x, g)     :math:`A_V^T g` for x, :math:`A_V x` for g         (V is the incoming gradient, a kernel)
=============  ================================================  ===========================================

Each takes the weight as it is, and a word for what is on the diagonal of its last tap. Derivatives with respect to
entries that are not read are zero, and so is the diagonal of :math:`A_V` unless the weight's is read.

Each is registered with torch, for compilation, transforms, modes and tracing. Where none of them is at work, the
dispatcher would only cost time, and `torch.autograd.Function` or the kernel itself is called instead.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._C import DispatchKey, DispatchKeySet
from torch.autograd import Function
from torch.library import custom_op

from inverseflow.ops import _diagonal
from inverseflow.ops.dispatch import chosen


def convolve(x: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str, transposed: bool) -> Tensor:
    """Return A x, or the transpose of A times x."""
    return _call(_Convolution, _registered_convolution, x, weight, corner, groups, diagonal, transposed)


def solve(y: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str, transposed: bool) -> Tensor:
    """Return the x with A x = y, or with the transpose of A times x equal to y."""
    return _call(_Solve, _registered_solve, y, weight, corner, groups, diagonal, transposed)


def correlate(x: Tensor, grad: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str) -> Tensor:
    """Return the gradient of <grad, A x> with respect to the weight, of which only the shape is read."""
    return _call(_Correlation, _registered_correlation, x, grad, weight, corner, groups, diagonal)


class _Convolution(Function):
    @staticmethod
    def kernel(x: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str, transposed: bool) -> Tensor:
        if x.numel() == 0:
            return torch.empty_like(x, memory_format=torch.contiguous_format)
        return chosen(x).convolve(x, weight, corner, groups, diagonal, transposed)

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        y = _Convolution.kernel(*inputs)
        _Convolution.save(ctx, inputs, y)
        return y

    @staticmethod
    def save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, *ctx.options = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        corner, groups, diagonal, transposed = ctx.options
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = convolve(grad, weight, corner, groups, diagonal, not transposed)
        if ctx.needs_input_grad[1]:
            image, arriving = (grad, x) if transposed else (x, grad)
            of_weight = correlate(image, arriving, weight, corner, groups, diagonal)
        return of_x, of_weight, None, None, None, None


class _Solve(Function):
    @staticmethod
    def kernel(y: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str, transposed: bool) -> Tensor:
        if y.numel() == 0:
            return torch.empty_like(y, memory_format=torch.contiguous_format)
        return chosen(y).solve(y, weight, corner, groups, diagonal, transposed)

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        x = _Solve.kernel(*inputs)
        _Solve.save(ctx, inputs, x)
        return x

    @staticmethod
    def save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, weight, *ctx.options = inputs
        ctx.save_for_backward(output, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        corner, groups, diagonal, transposed = ctx.options
        of_y = solve(grad, weight, corner, groups, diagonal, not transposed)
        of_weight = None
        if ctx.needs_input_grad[1]:
            image, arriving = (of_y, x) if transposed else (x, of_y)
            of_weight = -correlate(image, arriving, weight, corner, groups, diagonal)
        return of_y, of_weight, None, None, None, None


class _Correlation(Function):
    @staticmethod
    def kernel(x: Tensor, grad: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str) -> Tensor:
        if x.numel() == 0:
            return torch.zeros_like(weight, memory_format=torch.contiguous_format)
        return chosen(x).weight_gradient(x, grad, weight, corner, groups, diagonal)

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        of_weight = _Correlation.kernel(*inputs)
        _Correlation.save(ctx, inputs, of_weight)
        return of_weight

    @staticmethod
    def save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, grad, _, *ctx.options = inputs
        ctx.save_for_backward(x, grad)

    @staticmethod
    def backward(ctx: Any, of_weight: Tensor) -> tuple[Tensor | None, ...]:
        x, grad = ctx.saved_tensors
        corner, groups, diagonal = ctx.options
        diagonal = _diagonal.of_derivative(diagonal)
        of_x = of_grad = None
        if ctx.needs_input_grad[0]:
            of_x = convolve(grad, of_weight, corner, groups, diagonal, True)
        if ctx.needs_input_grad[1]:
            of_grad = convolve(x, of_weight, corner, groups, diagonal, False)
        return of_x, of_grad, None, None, None, None


def _call(function: Any, registered: Callable[..., Any], first: Tensor, second: Tensor, *rest: Any) -> Tensor:
    """Call an operator in the cheapest way; only its first two arguments can require a gradient."""
    result: Tensor
    if torch.compiler.is_compiling() or not _reaches_kernel(first, second):
        result = registered(first, second, *rest)
    elif torch.is_grad_enabled() and (first.requires_grad or second.requires_grad):
        result = function.apply(first, second, *rest)
    else:
        result = function.kernel(first, second, *rest)
    return result


_PLAIN_KEYS = (
    DispatchKey.CPU,
    DispatchKey.CUDA,
    DispatchKey.BackendSelect,
    DispatchKey.ADInplaceOrView,
    DispatchKey.AutogradCPU,
    DispatchKey.AutogradCUDA,
)
_PLAIN = functools.reduce(operator.or_, map(DispatchKeySet, _PLAIN_KEYS))


def _reaches_kernel(first: Tensor, second: Tensor) -> bool:
    """Tell whether the dispatcher would find nothing to do but autograd: no mode, transform, subclass or autocast."""
    keys = torch._C._dispatch_keys(first) | torch._C._dispatch_keys(second) | torch._C._dispatch_tls_local_include_set()
    keys = keys - torch._C._dispatch_tls_local_exclude_set()
    return keys | _PLAIN == _PLAIN


def _like_first(first: Tensor, *rest: Any) -> Tensor:
    return torch.empty_like(first, memory_format=torch.contiguous_format)


def _like_weight(x: Tensor, grad: Tensor, weight: Tensor, *rest: Any) -> Tensor:
    return torch.empty_like(weight, memory_format=torch.contiguous_format)


def _register(name: str, function: Any, fake: Callable[..., Tensor], *, folds: bool) -> Any:
    registered = custom_op(f"inverseflow::{name}", function.kernel, mutates_args=())
    registered.register_fake(fake)
    registered.register_autograd(function.backward, setup_context=function.save)
    registered.register_vmap(_vmap(registered, folds=folds))
    return registered


def _vmap(registered: Callable[..., Tensor], *, folds: bool) -> Callable[..., tuple[Tensor, int]]:
    """Fold the mapped axis of the image into its batch; call once for each slice where a kernel is mapped."""

    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Tensor, int]:
        size = info.batch_size
        tensors = [value if axis is None else value.movedim(axis, 0) for value, axis in zip(args, in_dims, strict=True)]
        if folds and in_dims[1] is None:
            result = registered(tensors[0].flatten(0, 1), *tensors[1:])
            return result.unflatten(0, (size, -1)), 0
        slices = [
            registered(
                *(value if axis is None else value[number] for value, axis in zip(tensors, in_dims, strict=True))
            )
            for number in range(size)
        ]
        return torch.stack(slices), 0

    return rule


_registered_convolution = _register("causal_conv2d", _Convolution, _like_first, folds=True)
_registered_solve = _register("inv_conv2d", _Solve, _like_first, folds=True)
_registered_correlation = _register("causal_conv2d_weight", _Correlation, _like_weight, folds=False)

for _registered in (_registered_convolution, _registered_solve):
    for _device in ("cpu", "cuda"):
        _registered.register_autocast(_device, torch.float32)
