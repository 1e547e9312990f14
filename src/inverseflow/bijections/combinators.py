"""Bijections made of bijections."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from inverseflow.bijections.base import Bijection, Direction, LogDet, Shape, TypedModuleList


class Chain(Bijection):
    """Base class of layers that apply other layers one after the other, with attributes and errors of their own."""

    layers: TypedModuleList[Bijection]

    def __init__(self, *layers: Bijection, channels: int | None = None, spatial_axes: int | None = None) -> None:
        super().__init__(channels=channels, spatial_axes=spatial_axes)
        for layer in layers:
            if not isinstance(layer, Bijection):
                raise TypeError(
                    f"{type(self).__name__} takes bijections, got {layer!r}; pass several as Compose(*layers)"
                )
        self.layers = TypedModuleList(layers)

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        total: LogDet = 0.0
        for layer in self.layers:
            x, log_det = layer(x, context)
            total = _sum(total, log_det)
        return x, total

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        total: LogDet = 0.0
        for index in reversed(range(len(self.layers))):  # torch 2.6 can't compile a reversed ModuleList
            z, log_det = self.layers[index].inverse(z, context)
            total = _sum(total, log_det)
        return z, total

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape that the last layer returns."""
        self._check_shape(shape)
        for layer in self.layers:
            shape = layer.output_shape(shape)
        return shape

    def input_shape(self, shape: Shape) -> Shape:
        """Return the shape that the first layer takes."""
        self._check_shape(shape)
        for index in reversed(range(len(self.layers))):
            shape = self.layers[index].input_shape(shape)
        return shape


def _sum(total: LogDet, log_det: LogDet) -> LogDet:
    """Add log-determinants; nothing is added to the first."""
    return log_det if isinstance(total, float) else total + log_det


class Compose(Chain):
    r"""Apply bijections one after the other.

    .. math:: z = f_n(\dots f_2(f_1(x))), \qquad \log|\det| = \sum_j \log|\det J_{f_j}|

    Args:
        layers: the bijections, first applied first.

    Shape:
        x: any that the first layer takes; z: the one that the last layer returns.

    Example:
        >>> flow = Compose(ActNorm(4), Permute.reverse(4))
        >>> z, log_det = flow(torch.randn(2, 4))
        >>> x, _ = flow.inverse(z)
    """

    def __init__(self, *layers: Bijection) -> None:
        super().__init__(*layers)

    # Each layer checks its own input and results, so that every check is made once, however deep the nesting.

    def _run(self, direction: Direction, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        z, log_det = direction(x, context)
        return (z, log_det) if isinstance(log_det, Tensor) else super()._run(direction, x, context)

    def _check_forward(self, x: Tensor, context: Tensor | None) -> None:
        if not self.layers:
            super()._check_forward(x, context)

    def _check_inverse(self, z: Tensor, context: Tensor | None) -> None:
        if not self.layers:
            super()._check_inverse(z, context)


class CheckpointedCompose(Compose):
    """Apply bijections one after the other, and on demand recompute their activations in the backward pass.

    With ``gradient_checkpointing = True`` only the input is stored for the backward pass, in either direction. This
    takes less memory and about a third more time. Values and gradients stay the same, and so do the arguments and
    shapes of `Compose`.

    Raises:
        RuntimeError: if the parameters are replaced before the backward pass, by `torch.func.functional_call` for
            example, so that other activations would be recomputed.

    Reference:
        Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016, https://arxiv.org/abs/1604.06174.

    Example:
        >>> step = CheckpointedCompose(ActNorm(4), LUConv1x1(4))
        >>> step.gradient_checkpointing = True
        >>> step(torch.randn(2, 4))[1].sum().backward()
    """

    gradient_checkpointing: bool = False
    """Whether activations are recomputed."""

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return self._recomputed(super()._forward, x, context)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return self._recomputed(super()._inverse, z, context)

    def _recomputed(self, direction: Direction, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        if not (self.gradient_checkpointing and torch.is_grad_enabled()):
            return direction(x, context)
        parameters = list(self.parameters())

        def run(x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
            if any(now is not then for now, then in zip(self.parameters(), parameters, strict=True)):
                raise RuntimeError(
                    "the parameters were replaced before their activations were recomputed, as functional_call does; "
                    "set gradient_checkpointing = False"
                )
            return direction(x, context)

        z, log_det = checkpoint(run, x, context, use_reentrant=False)
        return z, log_det


class ReversibleCompose(Compose):
    """Apply bijections one after the other, and keep only the result for the backward pass.

    The backward pass recomputes the input of each layer by its inverse, one layer at a time: the memory of a training
    step does not grow with the number of layers, for about a third more time. Gradients are those of `Compose` up to
    the rounding of the inverses, in either direction. Arguments and shapes are those of `Compose`.

    Layers must give the same result whenever they are called: no dequantization or batch normalization. There are no
    second derivatives, and it can't be compiled or mapped. With ``reversible = False`` it is `Compose`.

    Raises:
        RuntimeError: if a parameter is changed before the backward pass.

    Reference:
        Gomez et al., The Reversible Residual Network: Backpropagation Without Storing Activations, 2017,
        https://arxiv.org/abs/1707.04585.

    Example:
        >>> net = partial(ConvNet, width=8)
        >>> deep = ReversibleCompose(*(AffineCoupling(4, net, swap=bool(i % 2)) for i in range(8)))
        >>> deep(torch.randn(2, 4, 6, 6))[1].sum().backward()
    """

    reversible: bool = True
    """Whether activations are recomputed by inverses."""

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return self._reversible(super()._forward, x, context, inverse=False)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return self._reversible(super()._inverse, z, context, inverse=True)

    def _reversible(
        self, direction: Direction, x: Tensor, context: Tensor | None, *, inverse: bool
    ) -> tuple[Tensor, LogDet]:
        if not (self.reversible and self.layers and torch.is_grad_enabled()):
            return direction(x, context)
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        z, log_det = _Reversible.apply(self.layers, inverse, x, context, *parameters)  # type: ignore[no-untyped-call]
        return z, log_det


class _Reversible(torch.autograd.Function):
    """A chain whose backward pass inverts layer after layer."""

    @staticmethod
    def forward(
        ctx: Any,
        layers: TypedModuleList[Bijection],
        inverse: bool,
        x: Tensor,
        context: Tensor | None,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        steps = [(layer.inverse, layer.forward) if inverse else (layer.forward, layer.inverse) for layer in layers]
        steps = steps[::-1] if inverse else steps
        total: Tensor | None = None
        for there, _ in steps:
            x, log_det = there(x, context)
            total = log_det if total is None else total + log_det
        assert total is not None
        ctx.steps, ctx.has_context = steps, context is not None
        ctx.save_for_backward(x, *(() if context is None else (context,)), *parameters)
        return x, total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, grad_log_det: Tensor) -> tuple[Tensor | None, ...]:
        z, *others = ctx.saved_tensors
        context = others.pop(0) if ctx.has_context else None
        wanted = [*([] if context is None else [context.detach().requires_grad_(ctx.needs_input_grad[3])]), *others]
        seen = wanted[0] if context is not None else None
        asked = [tensor for tensor in wanted if tensor.requires_grad]
        sums: list[Tensor | None] = [None] * len(asked)
        for there, back in reversed(ctx.steps):
            with torch.no_grad():
                x, _ = back(z, context)
            with torch.enable_grad():
                x = x.requires_grad_()
                again, log_det = there(x, seen)
                outputs, gradients = zip(
                    *(pair for pair in ((again, grad), (log_det, grad_log_det)) if pair[0].requires_grad), strict=True
                )
                grad, *found = torch.autograd.grad(outputs, (x, *asked), gradients, allow_unused=True)
            sums = [
                new if old is None else old if new is None else old + new for old, new in zip(sums, found, strict=True)
            ]
            z = x.detach()
        of_context = sums.pop(0) if context is not None and ctx.needs_input_grad[3] else None
        return None, None, grad, of_context, *sums


class Inverse(Bijection):
    r"""The same bijection with its directions swapped.

    .. math:: z = f^{-1}(x)

    Args:
        bijection: the bijection f. Its parameters are shared, not copied.

    Shape:
        x: any that f returns; z: any that f takes.

    Example:
        >>> layer, x = ActNorm(3), torch.randn(2, 3, 4, 4)
        >>> torch.equal(Inverse(layer)(x)[0], layer.inverse(x)[0])
        True
    """

    def __init__(self, bijection: Bijection) -> None:
        super().__init__()
        if not isinstance(bijection, Bijection):
            raise TypeError(f"Inverse takes a bijection, got {bijection!r}")
        self.bijection = bijection

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return self.bijection.inverse(x, context)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        x, log_det = self.bijection(z, context)
        return x, log_det

    def output_shape(self, shape: Shape) -> Shape:
        """Return the shape that the inner bijection takes to return this one."""
        return self.bijection.input_shape(shape)

    def input_shape(self, shape: Shape) -> Shape:
        """Return the shape that the inner bijection returns for this one."""
        return self.bijection.output_shape(shape)

    # The inner bijection checks the input of both directions.

    def _check_forward(self, x: Tensor, context: Tensor | None) -> None: ...

    def _check_inverse(self, z: Tensor, context: Tensor | None) -> None: ...
