r"""The three operators, closed under differentiation: the convolution, the solve, and the correlation.

Let A be the one-sided convolution. Its transpose is one too, from the opposite corner and with the channel axes of the
kernel swapped, so one operator with a flag serves both.

=============  ================================================  ===========================================
operator       gradient of the image                             gradient of the weight
=============  ================================================  ===========================================
y = A x        :math:`A^T g`                                     :math:`\mathrm{corr}(x, g)`
y = Aᵀ x       :math:`A g`                                       :math:`\mathrm{corr}(g, x)`
x = A⁻¹ y      :math:`S = A^{-T} g`                              :math:`-\mathrm{corr}(x, S)`
x = A⁻ᵀ y      :math:`S = A^{-1} g`                              :math:`-\mathrm{corr}(S, x)`
corr(x, g)     :math:`A_V^T g` for x, :math:`A_V x` for g         (V is the incoming gradient, a kernel)
=============  ================================================  ===========================================

In forward mode, with tangents :math:`\dot x, \dot y, \dot g` and V the tangent of the weight (transposed alike):

=============  ============================================================================================
operator       tangent
=============  ============================================================================================
y = A x        :math:`A \dot x + A_V x`
x = A⁻¹ y      :math:`A^{-1} (\dot y - A_V x)`
corr(x, g)     :math:`\mathrm{corr}(\dot x, g) + \mathrm{corr}(x, \dot g)`
=============  ============================================================================================

Each operator takes the weight as the user has it and a word for the diagonal of its last tap. Entries that are not read
have zero derivatives. :math:`A_V` has a zero diagonal unless the diagonal of the weight is read.

Each table row is one `_Rules`. From it come a `torch.autograd.Function`, which serves `torch.func` and forward mode,
and a custom operator, which serves compilation, modes and tracing. `_call` picks between them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad
from torch.library import custom_op

from inverseflow.ops import _diagonal
from inverseflow.ops.dispatch import chosen
from inverseflow.ops.torch_internals import (
    bare_apply,
    enable_tangents,
    forward_mode_active,
    only_autograd_at_work,
    tangents_enabled,
    transforms_active,
)

_INPUTS = 6
"""Every operator has so many arguments, of which only the first two can have derivatives."""


def convolve(x: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str, transposed: bool) -> Tensor:
    """Return A x, or the transpose of A times x."""
    return _call(_CONVOLUTION, x, weight, corner, groups, diagonal, transposed)


def solve(y: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str, transposed: bool) -> Tensor:
    """Return the x with A x = y, or with the transpose of A times x equal to y."""
    return _call(_SOLVE, y, weight, corner, groups, diagonal, transposed)


def correlate(x: Tensor, grad: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str) -> Tensor:
    """Return the gradient of <grad, A x> with respect to the weight, of which only the shape is read."""
    return _call(_CORRELATION, x, grad, weight, corner, groups, diagonal)


@dataclass(frozen=True)
class _Rules:
    """One operator: its value and its derivatives."""

    name: str
    """Name of the registered operator, in ``torch.ops.inverseflow``."""
    call: Callable[..., Tensor]
    """The function of this module: from the inputs, in any way."""
    value: Callable[..., Tensor]
    """From the inputs; has no derivative."""
    like: Callable[..., Tensor]
    """From the inputs to the one that the value has the shape of."""
    saved: Callable[..., tuple[Tensor, ...]]
    """From the inputs and the output to the tensors that the derivatives need, those of the gradients first."""
    options: int
    """Where the inputs that are not tensors begin."""
    gradients: Callable[..., tuple[Tensor | None, Tensor | None]]
    """From the first two saved tensors, options, incoming gradient and which of both are wanted, to both gradients."""
    tangent: Callable[..., Tensor]
    """From the saved tensors, options and the tangents of the first two inputs."""
    batched: bool
    """Whether a mapped axis of the first input alone may be folded into its batch."""


def _convolution(x: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str, transposed: bool) -> Tensor:
    if x.numel() == 0:
        return _empty_like(x)
    return chosen(x).convolve(x, weight, corner, groups, diagonal, transposed)


def _gradients_of_convolution(
    saved: Sequence[Tensor], options: Sequence[Any], grad: Tensor, wanted: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None]:
    x, weight = saved
    corner, groups, diagonal, transposed = options
    of_x = of_weight = None
    if wanted[0]:
        of_x = convolve(grad, weight, corner, groups, diagonal, not transposed)
    if wanted[1]:
        image, arriving = (grad, x) if transposed else (x, grad)
        of_weight = correlate(image, arriving, weight, corner, groups, diagonal)
    return of_x, of_weight


def _tangent_of_convolution(
    saved: Sequence[Tensor], options: Sequence[Any], along_x: Tensor | None, along_weight: Tensor | None
) -> Tensor:
    x, weight = saved
    corner, groups, diagonal, transposed = options
    of_x = of_weight = None
    if along_x is not None:
        of_x = convolve(along_x, weight, corner, groups, diagonal, transposed)
    if along_weight is not None:
        of_weight = convolve(x, along_weight, corner, groups, _diagonal.of_derivative(diagonal), transposed)
    return _sum(of_x, of_weight)


def _solution(y: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str, transposed: bool) -> Tensor:
    if y.numel() == 0:
        return _empty_like(y)
    return chosen(y).solve(y, weight, corner, groups, diagonal, transposed)


def _gradients_of_solve(
    saved: Sequence[Tensor], options: Sequence[Any], grad: Tensor, wanted: Sequence[bool]
) -> tuple[Tensor, Tensor | None]:
    x, weight = saved
    corner, groups, diagonal, transposed = options
    of_y = solve(grad, weight, corner, groups, diagonal, not transposed)  # both gradients need it
    of_weight = None
    if wanted[1]:
        image, arriving = (of_y, x) if transposed else (x, of_y)
        of_weight = correlate(image, arriving, weight, corner, groups, diagonal).neg_()
    return of_y, of_weight


def _tangent_of_solve(
    saved: Sequence[Tensor], options: Sequence[Any], along_y: Tensor | None, along_weight: Tensor | None
) -> Tensor:
    x, weight = saved
    corner, groups, diagonal, transposed = options
    of_weight = None
    if along_weight is not None:
        of_weight = -convolve(x, along_weight, corner, groups, _diagonal.of_derivative(diagonal), transposed)
    return solve(_sum(along_y, of_weight), weight, corner, groups, diagonal, transposed)


def _correlation(x: Tensor, grad: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str) -> Tensor:
    if x.numel() == 0:
        return torch.zeros_like(weight, memory_format=torch.contiguous_format)
    return chosen(x).weight_gradient(x, grad, weight, corner, groups, diagonal)


def _gradients_of_correlation(
    saved: Sequence[Tensor], options: Sequence[Any], of_weight: Tensor, wanted: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None]:
    x, grad = saved
    corner, groups, diagonal = options
    diagonal = _diagonal.of_derivative(diagonal)
    of_x = of_grad = None
    if wanted[0]:
        of_x = convolve(grad, of_weight, corner, groups, diagonal, True)
    if wanted[1]:
        of_grad = convolve(x, of_weight, corner, groups, diagonal, False)
    return of_x, of_grad


def _tangent_of_correlation(
    saved: Sequence[Tensor], options: Sequence[Any], along_x: Tensor | None, along_grad: Tensor | None
) -> Tensor:
    x, grad, weight = saved
    of_x = of_grad = None
    if along_x is None and along_grad is None:
        return torch.zeros_like(weight)
    if along_x is not None:
        of_x = correlate(along_x, grad, weight, *options)
    if along_grad is not None:
        of_grad = correlate(x, along_grad, weight, *options)
    return _sum(of_x, of_grad)


def _sum(first: Tensor | None, second: Tensor | None) -> Tensor:
    """Add two terms, one of which may be absent."""
    if first is None or second is None:
        only = second if first is None else first
        assert only is not None
        return only
    return first + second


def _empty_like(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, memory_format=torch.contiguous_format)


def _map(
    call: Callable[..., Tensor], info: Any, in_dims: tuple[int | None, ...], *inputs: Any, batched: bool
) -> tuple[Tensor, int]:
    """Serve `torch.vmap`: fold the mapped axis of an image into its batch, or call once for each slice."""
    size = info.batch_size
    inputs = tuple(x if axis is None else x.movedim(axis, 0) for x, axis in zip(inputs, in_dims, strict=True))
    if batched and in_dims[1] is None:
        result = call(inputs[0].flatten(0, 1), *inputs[1:])
        return result.unflatten(0, inputs[0].shape[:2]), 0
    slices = [
        call(*(x if axis is None else x[number] for x, axis in zip(inputs, in_dims, strict=True)))
        for number in range(size)
    ]
    return torch.stack(slices), 0


def _autograd_function(rules: _Rules, forward_: Callable[..., Tensor]) -> type[Function]:
    """Make a `torch.autograd.Function` that computes by `forward_` and has the derivatives of the rules."""

    class Derived(Function):
        forward = staticmethod(forward_)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
            # A missing gradient stays None: the derivatives skip a term where zeros would cost a solve.
            ctx.set_materialize_grads(False)
            ctx.options = inputs[rules.options :]
            saved = rules.saved(inputs, output)
            ctx.save_for_backward(*saved[:2])
            ctx.save_for_forward(*saved)

        @staticmethod
        def backward(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, ...]:
            if grad is None:
                return (None,) * _INPUTS
            of_inputs = rules.gradients(ctx.saved_tensors, ctx.options, grad, ctx.needs_input_grad)
            return *of_inputs, *(None,) * (_INPUTS - 2)

        @staticmethod
        def jvp(ctx: Any, first: Tensor | None, second: Tensor | None, *_: None) -> Tensor:
            # What was saved carries tangents of the level that is differentiated here; these are in `first` and
            # `second` already. Tangents of outer levels must propagate, which torch turns off inside of this method.
            saved = [forward_ad.unpack_dual(tensor).primal for tensor in ctx.saved_tensors]
            with enable_tangents():
                return rules.tangent(saved, ctx.options, first, second)

        @staticmethod
        def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
            # By the function of all ways, not by `forward_`: there may be more transforms beneath this one.
            return _map(rules.call, info, in_dims, *inputs, batched=rules.batched)

    return Derived


@dataclass(frozen=True)
class _Operator:
    """The ways to call one operator, cheapest first."""

    kernel: Callable[..., Tensor]
    """Has no derivative."""
    differentiable: Callable[..., Tensor]
    """Has gradients; unknown to the dispatcher."""
    registered: Any
    """Has gradients; known to the dispatcher, so to compilation, modes, subclasses and autocast."""
    transformable: Callable[..., Tensor]
    """Also has tangents, and is known to `torch.func`."""


def _operator(rules: _Rules) -> _Operator:
    """Make an operator of its rules, and register it with torch."""

    @functools.wraps(rules.value)
    def registered_kernel(*inputs: Any) -> Tensor:
        if forward_mode_active() and tangents_enabled():  # torch would drop the tangent without a word
            raise NotImplementedError(
                f"torch.ops.inverseflow.{rules.name} has no forward-mode derivative; "
                "call the function of inverseflow.ops"
            )
        if torch.is_autocast_enabled(inputs[0].device.type):  # a backend must not be cast to low precision within
            with torch.autocast(inputs[0].device.type, enabled=False):
                return rules.value(*inputs)
        return rules.value(*inputs)

    direct: Any = _autograd_function(rules, rules.value)
    registered = custom_op(f"inverseflow::{rules.name}", registered_kernel, mutates_args=())
    registered.register_fake(lambda *inputs: _empty_like(rules.like(*inputs)))
    registered.register_autograd(direct.backward, setup_context=direct.setup_context)
    registered.register_vmap(functools.partial(_map, registered, batched=rules.batched))
    # A transform may wrap tensors that a mode or a subclass still has to see: compute by the registered operator.
    transformable: Any = _autograd_function(rules, registered)
    return _Operator(rules.value, bare_apply(direct), registered, transformable.apply)


def _call(operator: _Operator, first: Tensor, second: Tensor, *rest: Any) -> Tensor:
    """Call an operator in the cheapest way that everything active around the call allows.

    The direct ways pay for small images: one of 2×4×4×4 takes 29 µs by the kernel and 89 µs by the registered operator,
    with gradients 290 and 384 µs (and 480 µs by the transformable function), where conv2d takes 75 and 432 µs.
    """
    if torch.compiler.is_compiling():
        if transforms_active() or forward_mode_active():
            # Where the graph may break, the compiler catches this and runs the part uncompiled.
            raise NotImplementedError(
                "torch.func transforms and forward-mode derivatives of the invertible convolution can't be compiled; "
                "leave them outside of the compiled function, or compile it without fullgraph=True"
            )
        way = operator.registered
    elif forward_mode_active() or transforms_active():
        way = operator.transformable
    elif not only_autograd_at_work(first, second):
        way = operator.registered
    elif torch.is_grad_enabled() and (first.requires_grad or second.requires_grad):
        way = operator.differentiable
    else:
        way = operator.kernel
    result: Tensor = way(first, second, *rest)
    return result


_CONVOLUTION = _operator(
    _Rules(
        name="causal_conv2d",
        call=convolve,
        value=_convolution,
        like=lambda x, *rest: x,
        saved=lambda inputs, output: inputs[:2],
        options=2,
        gradients=_gradients_of_convolution,
        tangent=_tangent_of_convolution,
        batched=True,
    )
)
_SOLVE = _operator(
    _Rules(
        name="inv_conv2d",
        call=solve,
        value=_solution,
        like=lambda y, *rest: y,
        saved=lambda inputs, output: (output, inputs[1]),  # the right-hand side is not needed again
        options=2,
        gradients=_gradients_of_solve,
        tangent=_tangent_of_solve,
        batched=True,
    )
)
_CORRELATION = _operator(
    _Rules(
        name="causal_conv2d_weight",
        call=correlate,
        value=_correlation,
        like=lambda x, grad, weight, *rest: weight,
        saved=lambda inputs, output: inputs[:3],  # a tangent needs the shape of the weight
        options=3,
        gradients=_gradients_of_correlation,
        tangent=_tangent_of_correlation,
        batched=False,
    )
)
