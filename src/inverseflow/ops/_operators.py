r"""The three operators, closed under differentiation: the convolution, the solve, and the correlation.

With A the one-sided convolution, g the incoming gradient, dots for tangents, V the gradient or the tangent of the
weight, and :math:`S = A^{-T} g`:

=============  ==================================  ==============================================================
operator       gradients of image and weight       tangent
=============  ==================================  ==============================================================
y = A x        :math:`A^T g`, corr(x, g)           :math:`A \dot x + A_V x`
x = A⁻¹ y      S, -corr(x, S)                      :math:`A^{-1} (\dot y - A_V x)`
corr(x, g)     :math:`A_V^T g`, :math:`A_V x`      :math:`\mathrm{corr}(\dot x, g) + \mathrm{corr}(x, \dot g)`
=============  ==================================  ==============================================================

The transpose of A is a one-sided convolution too, from the opposite corner and with the channel axes of the kernel
swapped; its rows swap the arguments of the correlation. Each operator takes the weight as the user has it and a word
for the diagonal of its last tap: ``"free"`` (read), ``"unit"`` (ones) or ``"zero"``. Entries that are not read have
zero derivatives, so :math:`A_V` has a zero diagonal unless it is free.

From a row come a `torch.autograd.Function`, which serves `torch.func` and forward mode, and a custom operator, which
serves compilation, modes and tracing. Each call takes the cheapest way that everything active around it allows.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad
from torch.library import custom_op

from inverseflow.ops.dispatch import chosen
from inverseflow.ops.torch_internals import (
    bare_apply,
    enable_tangents,
    forward_mode_active,
    only_autograd_at_work,
    tangents_enabled,
    transforms_active,
)

_Saved = Sequence[Tensor]
_Options = Sequence[Any]
_Optional = Tensor | None
_Wanted = Sequence[bool]
_Gradients = tuple[_Optional, _Optional]


class _Rules(NamedTuple):
    """One operator of six inputs, of which the first two can have derivatives."""

    name: str
    """Name of the registered operator, in ``torch.ops.inverseflow``."""
    value: Callable[..., Tensor]
    """From the inputs; has no derivative."""
    gradients: Callable[[_Saved, _Options, Tensor, _Wanted], _Gradients]
    """From the first two saved tensors, options, incoming gradient and which of both are wanted, to both gradients."""
    tangent: Callable[[_Saved, _Options, _Optional, _Optional], Tensor]
    """From the saved tensors, options and the tangents of the first two inputs."""
    tensors: int = 2
    """Number of inputs that are tensors. The others are the options."""
    like: int = 0
    """Which input the value has the shape of."""
    saves_value: bool = False
    """Whether the derivatives need the value instead of the first input."""


def _convolution(x: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str, transposed: bool) -> Tensor:
    return chosen(x).convolve(x, weight, corner, groups, diagonal, transposed) if x.numel() else _empty_like(x)


def _gradients_of_convolution(saved: _Saved, options: _Options, grad: Tensor, wanted: _Wanted) -> _Gradients:
    x, weight = saved
    of_x = convolve(grad, weight, *_transpose(options)) if wanted[0] else None
    image, arriving = (grad, x) if options[-1] else (x, grad)
    return of_x, correlate(image, arriving, weight, *options[:-1]) if wanted[1] else None


def _tangent_of_convolution(saved: _Saved, options: _Options, along_x: _Optional, along_weight: _Optional) -> Tensor:
    x, weight = saved
    of_x = None if along_x is None else convolve(along_x, weight, *options)
    return _sum(of_x, None if along_weight is None else convolve(x, along_weight, *_of_derivative(options)))


def _solution(y: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str, transposed: bool) -> Tensor:
    return chosen(y).solve(y, weight, corner, groups, diagonal, transposed) if y.numel() else _empty_like(y)


def _gradients_of_solve(saved: _Saved, options: _Options, grad: Tensor, wanted: _Wanted) -> _Gradients:
    x, weight = saved
    of_y = solve(grad, weight, *_transpose(options))  # both gradients need it
    image, arriving = (of_y, x) if options[-1] else (x, of_y)
    return of_y, correlate(image, arriving, weight, *options[:-1]).neg_() if wanted[1] else None


def _tangent_of_solve(saved: _Saved, options: _Options, along_y: _Optional, along_weight: _Optional) -> Tensor:
    x, weight = saved
    of_weight = None if along_weight is None else -convolve(x, along_weight, *_of_derivative(options))
    return solve(_sum(along_y, of_weight), weight, *options)


def _correlation(x: Tensor, grad: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str) -> Tensor:
    if x.numel() == 0:
        return torch.zeros_like(weight, memory_format=torch.contiguous_format)
    return chosen(x).weight_gradient(x, grad, weight, corner, groups, diagonal)


def _gradients_of_correlation(saved: _Saved, options: _Options, of_weight: Tensor, wanted: _Wanted) -> _Gradients:
    (x, grad), options = saved, (*_of_derivative(options), False)
    of_x = convolve(grad, of_weight, *_transpose(options)) if wanted[0] else None
    return of_x, convolve(x, of_weight, *options) if wanted[1] else None


def _tangent_of_correlation(saved: _Saved, options: _Options, along_x: _Optional, along_grad: _Optional) -> Tensor:
    x, grad, weight = saved
    if along_x is None and along_grad is None:
        return torch.zeros_like(weight)
    of_x = None if along_x is None else correlate(along_x, grad, weight, *options)
    return _sum(of_x, None if along_grad is None else correlate(x, along_grad, weight, *options))


def _transpose(options: _Options) -> _Options:
    """Return the options of the transposed convolution or solve."""
    return *options[:-1], not options[-1]


def _of_derivative(options: _Options) -> _Options:
    """Return the options for the derivative of a kernel, whose diagonal is zero unless it is free."""
    corner, groups, diagonal, *transposed = options
    return corner, groups, diagonal if diagonal == "free" else "zero", *transposed


def _sum(*terms: _Optional) -> Tensor:
    """Add two terms, one of which may be absent."""
    return functools.reduce(torch.add, (term for term in terms if term is not None))


def _empty_like(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, memory_format=torch.contiguous_format)


def _map(rules: _Rules, call: Callable[..., Tensor], info: Any, in_dims: Any, *inputs: Any) -> tuple[Tensor, int]:
    """Serve `torch.vmap`: fold the mapped axis of an image into its batch, or call once for each slice."""
    inputs = tuple(x if axis is None else x.movedim(axis, 0) for x, axis in zip(inputs, in_dims, strict=True))
    if rules.like == 0 and in_dims[1] is None:
        result = call(inputs[0].flatten(0, 1), *inputs[1:])
        return result.unflatten(0, inputs[0].shape[:2]), 0
    each = (
        [x if axis is None else x[n] for x, axis in zip(inputs, in_dims, strict=True)] for n in range(info.batch_size)
    )
    return torch.stack([call(*slices) for slices in each]), 0


def _autograd_function(rules: _Rules, forward_: Callable[..., Tensor], mapped: Callable[..., Tensor]) -> type[Function]:
    """Make a `torch.autograd.Function` that computes by `forward_`, in a mapped call by `mapped`."""

    class Derived(Function):
        forward = staticmethod(forward_)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
            # A missing gradient stays None: the derivatives skip a term where zeros would cost a solve.
            ctx.set_materialize_grads(False)
            ctx.options = inputs[rules.tensors :]
            first = output if rules.saves_value else inputs[0]
            ctx.save_for_backward(first, inputs[1])
            ctx.save_for_forward(first, *inputs[1 : rules.tensors])

        @staticmethod
        def backward(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, ...]:
            gradients: _Gradients = (None, None)
            if grad is not None:
                gradients = rules.gradients(ctx.saved_tensors, ctx.options, grad, ctx.needs_input_grad)
            return *gradients, None, None, None, None

        @staticmethod
        def jvp(ctx: Any, first: Tensor | None, second: Tensor | None, *_: None) -> Tensor:
            # What was saved carries tangents of the level that is differentiated here; these are in `first` and
            # `second` already. Tangents of outer levels must propagate, which torch turns off inside of this method.
            saved = [forward_ad.unpack_dual(tensor).primal for tensor in ctx.saved_tensors]
            with enable_tangents():
                return rules.tangent(saved, ctx.options, first, second)

        @staticmethod
        def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
            return _map(rules, mapped, info, in_dims, *inputs)

    return Derived


def _operator(rules: _Rules) -> Callable[..., Tensor]:
    """Make an operator of its rules, and register it with torch.

    The direct ways pay for small images: one of 2×4×4×4 takes 29 µs by the value alone and 89 µs by the registered
    operator, with gradients 290 and 384 µs (and 480 µs by the transformable function); conv2d takes 75 and 432 µs.
    """

    @functools.wraps(rules.value)
    def registered_kernel(*inputs: Any) -> Tensor:
        if forward_mode_active() and tangents_enabled():  # torch would drop the tangent without a word
            raise NotImplementedError(
                f"torch.ops.inverseflow.{rules.name} has no forward-mode derivative; call it through inverseflow.ops"
            )
        if torch.is_autocast_enabled(inputs[0].device.type):  # a backend must not be cast to low precision within
            with torch.autocast(inputs[0].device.type, enabled=False):
                return rules.value(*inputs)
        return rules.value(*inputs)

    def call(first: Tensor, second: Tensor, *rest: Any) -> Tensor:
        if torch.compiler.is_compiling():
            if transforms_active() or forward_mode_active():
                # Where the graph may break, the compiler catches this and runs the part uncompiled.
                raise NotImplementedError(
                    "torch.func transforms and forward-mode derivatives of the invertible convolution can't be "
                    "compiled; leave them outside of the compiled function, or compile it without fullgraph=True"
                )
            way = registered
        elif forward_mode_active() or transforms_active():
            way = transformable
        elif not only_autograd_at_work(first, second):
            way = registered
        elif torch.is_grad_enabled() and (first.requires_grad or second.requires_grad):
            way = differentiable
        else:
            way = rules.value
        result: Tensor = way(first, second, *rest)
        return result

    # In a mapped call there may be more transforms beneath the one that is served.
    direct: Any = _autograd_function(rules, rules.value, call)
    differentiable = bare_apply(direct)
    registered: Any = custom_op(f"inverseflow::{rules.name}", registered_kernel, mutates_args=())
    registered.register_fake(lambda *inputs: _empty_like(inputs[rules.like]))
    registered.register_autograd(direct.backward, setup_context=direct.setup_context)
    registered.register_vmap(functools.partial(_map, rules, registered))
    # A transform may wrap tensors that a mode or a subclass still has to see: compute by the registered operator.
    transformable: Any = _autograd_function(rules, registered, call).apply
    return call


convolve = _operator(_Rules("causal_conv2d", _convolution, _gradients_of_convolution, _tangent_of_convolution))
"""A x, or the transpose of A times x, from the arguments of `_convolution`."""
solve = _operator(_Rules("inv_conv2d", _solution, _gradients_of_solve, _tangent_of_solve, saves_value=True))
"""The x with A x = y, or with the transpose of A times x equal to y, from the arguments of `_solution`."""
correlate = _operator(
    _Rules("causal_conv2d_weight", _correlation, _gradients_of_correlation, _tangent_of_correlation, tensors=3, like=2)
)
"""The gradient of <grad, A x> by the weight, of which only the shape is read, from the arguments of `_correlation`."""
