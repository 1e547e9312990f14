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

In forward mode, for tangents :math:`\dot x, \dot y, \dot g` and V that of the weight, and likewise transposed:

=============  ============================================================================================
operator       tangent
=============  ============================================================================================
y = A x        :math:`A \dot x + A_V x`
x = A⁻¹ y      :math:`A^{-1} (\dot y - A_V x)`
corr(x, g)     :math:`\mathrm{corr}(\dot x, g) + \mathrm{corr}(x, \dot g)`
=============  ============================================================================================

Each takes the weight as it is, and a word for what is on the diagonal of its last tap. Derivatives with respect to
entries that are not read are zero, and so is the diagonal of :math:`A_V` unless the weight's is read.

Each is a `torch.autograd.Function`, which serves `torch.func` and forward mode, and is registered with torch, for
compilation, modes and tracing. Where none of these is at work, the detour would only cost time, and the function is
applied without its Python part or, where no gradient is wanted, its ``forward`` is called.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from operator import or_
from typing import Any

import torch
from torch import Tensor
from torch._C import DispatchKey, DispatchKeySet
from torch.autograd import Function, forward_ad
from torch.library import custom_op

from inverseflow.ops import _diagonal
from inverseflow.ops.dispatch import chosen


def convolve(x: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str, transposed: bool) -> Tensor:
    """Return A x, or the transpose of A times x."""
    return _call(_CONVOLUTION, x, weight, corner, groups, diagonal, transposed)


def solve(y: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str, transposed: bool) -> Tensor:
    """Return the x with A x = y, or with the transpose of A times x equal to y."""
    return _call(_SOLVE, y, weight, corner, groups, diagonal, transposed)


def correlate(x: Tensor, grad: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str) -> Tensor:
    """Return the gradient of <grad, A x> with respect to the weight, of which only the shape is read."""
    return _call(_CORRELATION, x, grad, weight, corner, groups, diagonal)


def _nestable(jvp: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Let the arithmetic of a tangent be differentiated in forward mode again, which torch turns off in there."""

    @functools.wraps(jvp)
    def nestable(ctx: Any, *tangents: Tensor | None) -> Tensor:
        with forward_ad._set_fwd_grad_enabled(True):
            return jvp(ctx, *tangents)

    return nestable


def _primals(ctx: Any) -> list[Tensor]:
    """Return what was saved, without its tangents at the level that is differentiated."""
    return [forward_ad.unpack_dual(tensor).primal for tensor in ctx.saved_tensors]


def _sum(first: Tensor | None, second: Tensor | None) -> Tensor:
    """Add two terms, one of which may be absent."""
    if first is None or second is None:
        only = second if first is None else first
        assert only is not None
        return only
    return first + second


def _map(
    call: Callable[..., Tensor], info: Any, in_dims: tuple[int | None, ...], *inputs: Any, folds: bool
) -> tuple[Tensor, int]:
    """Fold the mapped axis of the image into its batch; call once for each slice where a kernel is mapped."""
    size = info.batch_size
    inputs = tuple(x if axis is None else x.movedim(axis, 0) for x, axis in zip(inputs, in_dims, strict=True))
    if folds and in_dims[1] is None:
        result = call(inputs[0].flatten(0, 1), *inputs[1:])
        return result.unflatten(0, inputs[0].shape[:2]), 0
    slices = [
        call(*(x if axis is None else x[number] for x, axis in zip(inputs, in_dims, strict=True)))
        for number in range(size)
    ]
    return torch.stack(slices), 0


class _Convolution(Function):
    @staticmethod
    def forward(x: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str, transposed: bool) -> Tensor:
        if x.numel() == 0:
            return torch.empty_like(x, memory_format=torch.contiguous_format)
        return chosen(x).convolve(x, weight, corner, groups, diagonal, transposed)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, *ctx.options = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, weight)
        ctx.save_for_forward(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, ...]:
        if grad is None:
            return (None,) * 6
        x, weight = ctx.saved_tensors
        corner, groups, diagonal, transposed = ctx.options
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = convolve(grad, weight, corner, groups, diagonal, not transposed)
        if ctx.needs_input_grad[1]:
            image, arriving = (grad, x) if transposed else (x, grad)
            of_weight = correlate(image, arriving, weight, corner, groups, diagonal)
        return of_x, of_weight, None, None, None, None

    @staticmethod
    @_nestable
    def jvp(ctx: Any, along_x: Tensor | None, along_weight: Tensor | None, *_: None) -> Tensor:
        x, weight = _primals(ctx)
        corner, groups, diagonal, transposed = ctx.options
        of_x = of_weight = None
        if along_x is not None:
            of_x = convolve(along_x, weight, corner, groups, diagonal, transposed)
        if along_weight is not None:
            of_weight = convolve(x, along_weight, corner, groups, _diagonal.of_derivative(diagonal), transposed)
        return _sum(of_x, of_weight)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
        return _map(convolve, info, in_dims, *inputs, folds=True)


class _Solve(Function):
    @staticmethod
    def forward(y: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str, transposed: bool) -> Tensor:
        if y.numel() == 0:
            return torch.empty_like(y, memory_format=torch.contiguous_format)
        return chosen(y).solve(y, weight, corner, groups, diagonal, transposed)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, weight, *ctx.options = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(output, weight)
        ctx.save_for_forward(output, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, ...]:
        if grad is None:
            return (None,) * 6
        x, weight = ctx.saved_tensors
        corner, groups, diagonal, transposed = ctx.options
        of_y = solve(grad, weight, corner, groups, diagonal, not transposed)
        of_weight = None
        if ctx.needs_input_grad[1]:
            image, arriving = (of_y, x) if transposed else (x, of_y)
            of_weight = correlate(image, arriving, weight, corner, groups, diagonal).neg_()
        return of_y, of_weight, None, None, None, None

    @staticmethod
    @_nestable
    def jvp(ctx: Any, along_y: Tensor | None, along_weight: Tensor | None, *_: None) -> Tensor:
        x, weight = _primals(ctx)
        corner, groups, diagonal, transposed = ctx.options
        of_weight = None
        if along_weight is not None:
            of_weight = -convolve(x, along_weight, corner, groups, _diagonal.of_derivative(diagonal), transposed)
        return solve(_sum(along_y, of_weight), weight, corner, groups, diagonal, transposed)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
        return _map(solve, info, in_dims, *inputs, folds=True)


class _Correlation(Function):
    @staticmethod
    def forward(x: Tensor, grad: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str) -> Tensor:
        if x.numel() == 0:
            return torch.zeros_like(weight, memory_format=torch.contiguous_format)
        return chosen(x).weight_gradient(x, grad, weight, corner, groups, diagonal)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, grad, weight, *ctx.options = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, grad)
        ctx.save_for_forward(x, grad, weight)

    @staticmethod
    def backward(ctx: Any, of_weight: Tensor | None) -> tuple[Tensor | None, ...]:
        if of_weight is None:
            return (None,) * 6
        x, grad = ctx.saved_tensors
        corner, groups, diagonal = ctx.options
        diagonal = _diagonal.of_derivative(diagonal)
        of_x = of_grad = None
        if ctx.needs_input_grad[0]:
            of_x = convolve(grad, of_weight, corner, groups, diagonal, True)
        if ctx.needs_input_grad[1]:
            of_grad = convolve(x, of_weight, corner, groups, diagonal, False)
        return of_x, of_grad, None, None, None, None

    @staticmethod
    @_nestable
    def jvp(ctx: Any, along_x: Tensor | None, along_grad: Tensor | None, *_: Tensor | None) -> Tensor:
        x, grad, weight = _primals(ctx)
        if along_x is None and along_grad is None:
            return torch.zeros_like(weight)
        of_x = of_grad = None
        if along_x is not None:
            of_x = correlate(along_x, grad, weight, *ctx.options)
        if along_grad is not None:
            of_grad = correlate(x, along_grad, weight, *ctx.options)
        return _sum(of_x, of_grad)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
        return _map(correlate, info, in_dims, *inputs, folds=False)


@dataclass(frozen=True)
class _Operator:
    """The ways to call one operator."""

    kernel: Callable[..., Tensor]
    """Knows no derivative."""
    differentiable: Callable[..., Tensor]
    """Has gradients, where nothing else is at work."""
    transformable: Callable[..., Tensor]
    """Also has tangents, and is known to `torch.func`."""
    registered: Any
    """Has gradients, and is known to the dispatcher."""


def _call(operator: _Operator, first: Tensor, second: Tensor, *rest: Any) -> Tensor:
    """Call an operator in the cheapest way; only its first two arguments can have derivatives."""
    if torch.compiler.is_compiling():
        if torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0:
            # Where the graph may break, the compiler goes on without compiling this part.
            raise NotImplementedError(
                "torch.func transforms and forward-mode derivatives of the invertible convolution can't be compiled; "
                "leave them outside of the compiled function, or compile it without fullgraph=True"
            )
        way = operator.registered
    elif forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active():
        way = operator.transformable
    elif not _only_autograd_at_work(first, second):
        way = operator.registered
    elif torch.is_grad_enabled() and (first.requires_grad or second.requires_grad):
        way = operator.differentiable
    else:
        way = operator.kernel
    result: Tensor = way(first, second, *rest)
    return result


_PLAIN_KEYS = (
    DispatchKey.CPU,
    DispatchKey.CUDA,
    DispatchKey.BackendSelect,
    DispatchKey.ADInplaceOrView,
    DispatchKey.AutogradCPU,
    DispatchKey.AutogradCUDA,
)
_PLAIN = functools.reduce(or_, map(DispatchKeySet, _PLAIN_KEYS))


def _only_autograd_at_work(first: Tensor, second: Tensor) -> bool:
    """Tell whether the dispatcher would find nothing to do but autograd: no mode, transform, subclass or autocast."""
    keys = torch._C._dispatch_keys(first) | torch._C._dispatch_keys(second) | torch._C._dispatch_tls_local_include_set()
    keys = keys - torch._C._dispatch_tls_local_exclude_set()
    return keys | _PLAIN == _PLAIN


def _like_first(first: Tensor, *rest: Any) -> Tensor:
    return torch.empty_like(first, memory_format=torch.contiguous_format)


def _like_weight(x: Tensor, grad: Tensor, weight: Tensor, *rest: Any) -> Tensor:
    return torch.empty_like(weight, memory_format=torch.contiguous_format)


def _made_operator(name: str, function: Any, fake: Callable[..., Tensor], *, folds: bool) -> _Operator:
    kernel = function.forward

    @functools.wraps(kernel)
    def registered_kernel(*inputs: Any) -> Tensor:
        if forward_ad._current_level >= 0 and torch._C._is_fwd_grad_enabled():
            raise NotImplementedError(
                f"torch.ops.inverseflow.{name} has no forward-mode derivative; call the function of inverseflow.ops"
            )
        result: Tensor = kernel(*inputs)
        return result

    registered = custom_op(f"inverseflow::{name}", registered_kernel, mutates_args=())
    registered.register_fake(fake)
    registered.register_autograd(function.backward, setup_context=function.setup_context)
    registered.register_vmap(functools.partial(_map, registered, folds=folds))
    # Beneath the transforms there may be modes and subclasses still.
    transformable: Any = type(function.__name__, (function,), {"forward": staticmethod(registered)})
    return _Operator(kernel, super(Function, function).apply, transformable.apply, registered)


_CONVOLUTION = _made_operator("causal_conv2d", _Convolution, _like_first, folds=True)
_SOLVE = _made_operator("inv_conv2d", _Solve, _like_first, folds=True)
_CORRELATION = _made_operator("causal_conv2d_weight", _Correlation, _like_weight, folds=False)

for _operator in (_CONVOLUTION, _SOLVE):
    for _device in ("cpu", "cuda"):
        _operator.registered.register_autocast(_device, torch.float32)
