"""Modules of `FrEIA <https://github.com/vislearn/FrEIA>`_, both ways."""

from collections.abc import Sequence

from torch import Tensor

from inverseflow.bijections import Bijection, Shape
from inverseflow.bijections.base import LogDet
from inverseflow.interop._foreign import Foreign, check_kind
from inverseflow.utils.packages import packages_for

with packages_for("inverseflow.interop.freia"):
    from FrEIA.modules import InvertibleModule


def as_bijection(module: InvertibleModule, *, context_channels: int | None = None) -> Bijection:
    """Return a module or a network of FrEIA, with one input and one output, as a bijection with the same direction.

    Args:
        module: the module, a `SequenceINN` or a `GraphINN`; its parameters are shared.
        context_channels: length of its one condition, None if it has none.

    Raises:
        TypeError: if it is no module of FrEIA.
        ValueError: if it does not take the events or the condition that reach it.

    Example:
        >>> from FrEIA.modules import AllInOneBlock
        >>> block = AllInOneBlock([(4,)], subnet_constructor=lambda i, o: MLP(i, o, width=8))
        >>> Flow(as_bijection(block), (4,)).sample(3).shape
        torch.Size([3, 4])
    """
    return FreiaBijection(module, InvertibleModule, context_channels)


def from_bijection(
    dims_in: Sequence[Shape], dims_c: Sequence[Shape] | None = None, *, bijection: Bijection
) -> InvertibleModule:
    """Return a bijection as a module of FrEIA with the same direction; pass this function where FrEIA takes a class.

    Args:
        dims_in: shape of the one input, in a list.
        dims_c: shape of the condition, in a list; empty or None for an unconditional bijection.
        bijection: the bijection; its parameters are shared.

    Raises:
        ValueError: if the bijection does not take such an input or condition.

    Example:
        >>> from FrEIA.framework import SequenceINN
        >>> network = SequenceINN(4)
        >>> network.append(from_bijection, bijection=ActNorm(4))
        >>> z, log_det = network(torch.zeros(3, 4))
    """
    check_kind("bijection", bijection, Bijection)
    return _BijectionModule(dims_in, dims_c, bijection)


class FreiaBijection(Foreign):
    """A module of FrEIA as a bijection."""

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return self._run_module(x, context, rev=False)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return self._run_module(z, context, rev=True)

    def _run_module(self, x: Tensor, context: Tensor | None, *, rev: bool) -> tuple[Tensor, LogDet]:
        condition = {} if context is None else {"c": [context]}  # some modules have no argument for it
        outputs, log_det = self.transform([x.clone()], **condition, rev=rev)  # some modules write into their input
        if isinstance(outputs, Tensor):  # a network returns its only output by itself
            return outputs, log_det
        (output,) = outputs
        return output, log_det


class _BijectionModule(InvertibleModule):
    def __init__(self, dims_in: Sequence[Shape], dims_c: Sequence[Shape] | None, bijection: Bijection) -> None:
        super().__init__(dims_in, dims_c)
        self.bijection = bijection
        conditions, channels = [shape[0] for shape in self.dims_c], bijection.context_channels
        if len(self.dims_in) != 1 or len(conditions) > 1 or (channels is not None and conditions != [channels]):
            wanted = "no condition" if channels is None else f"one condition of {channels} channels"
            raise ValueError(
                f"{type(bijection).__name__} has one input and {wanted}, "
                f"got inputs of shapes {self.dims_in} and conditions of shapes {self.dims_c}"
            )

    def forward(
        self, x_or_z: Sequence[Tensor], c: Sequence[Tensor] | None = None, rev: bool = False, jac: bool = True
    ) -> tuple[tuple[Tensor], Tensor]:
        (x,) = x_or_z
        direction = self.bijection.inverse if rev else self.bijection
        output, log_det = direction(x, c[0] if c else None)
        return (output,), log_det

    def output_dims(self, input_dims: Sequence[Shape]) -> list[Shape]:
        return [self.bijection.output_shape(tuple(shape)) for shape in input_dims]
