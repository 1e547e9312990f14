"""What the flows of vectors share: their options, standardization, steps, and mixing between them."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal, TypedDict, get_args

from typing_extensions import Unpack

from inverseflow.bijections import Bijection, CheckpointedCompose, Compose, Householder, LUConv1x1, Standardize
from inverseflow.distributions import Base
from inverseflow.flows.flow import Flow
from inverseflow.utils.arguments import one_of, whole_number, whole_shape

LinearName = Literal["lu", "householder", "none"]


class VectorKwargs(TypedDict, total=False):
    """The options of every flow of vectors; `VectorFlow` explains them."""

    steps: int
    width: int
    depth: int
    context_channels: int | None
    standardize: bool
    integer_columns: Sequence[int]
    linear: LinearName | None
    zero_start: bool


@dataclass(frozen=True)
class VectorOptions:
    """The options of every flow of vectors with their defaults.

    Raises:
        TypeError: if a number is not of its type.
        ValueError: if a number is out of its range.
    """

    steps: int = 5
    width: int = 64
    depth: int = 2
    context_channels: int | None = None
    standardize: bool = True
    integer_columns: Sequence[int] = ()
    linear: LinearName | None = None
    zero_start: bool = True

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("width", 1), ("depth", 0)):
            whole_number(name, getattr(self, name), at_least=least)
        if self.context_channels is not None:
            whole_number("context_channels", self.context_channels, at_least=1)
        if self.linear is not None:
            one_of("linear", self.linear, get_args(LinearName))


class VectorFlow(Flow):
    """Base class of flows of vectors ``(D,)``: a standardization, then steps of one layer each.

    Args:
        event_shape: the shape ``(D,)``.
        build_layer: builds the layer of a step from the number of columns D, the number of the step and the options.
        mixing: whether three and more columns are mixed between steps unless `linear` says otherwise. Two take turns.
        base: density of the latent; a standard normal by default.
        steps: number of steps.
        width: hidden units in each layer of a network.
        depth: hidden layers of a network.
        context_channels: length of the context vector, None for an unconditional flow.
        standardize: whether `Flow.initialize` sets a shift and a scale for every column of data and context, so that
            densities and samples are in the data's units.
        integer_columns: columns that hold whole numbers. They are dequantized; `log_prob` is then a bound.
        linear: the map that mixes the columns between steps: ``"lu"`` (`LUConv1x1`, any matrix), ``"householder"``
            (`Householder`, any orthogonal one) or ``"none"``. None leaves it to the flow.
        zero_start: whether the layers start as the identity, because the networks of couplings and of autoregressive
            layers start at zero. Without it affine ones can learn more in their first hundreds of steps.

    Raises:
        ValueError: if the event is no vector, or an argument is out of its range.
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        build_layer: Callable[[int, int, VectorOptions], Bijection],
        *,
        mixing: bool = True,
        base: Base | None = None,
        **given: Unpack[VectorKwargs],
    ) -> None:
        shape = whole_shape("event_shape", event_shape)
        if len(shape) != 1:
            raise ValueError(
                f"a flow of vectors takes events (D,), got {shape}; flatten them, or take an image flow such as "
                "realnvp-image or glow"
            )
        options = VectorOptions(**given)
        if options.linear is None:
            options = replace(options, linear="lu" if mixing and shape[0] > 2 else "none")
        layers: list[Bijection] = []
        for index in range(options.steps):
            mix = _linear(options, shape[0]) if index else []
            layers.append(CheckpointedCompose(*mix, build_layer(shape[0], index, options)))
        context_shape = None if options.context_channels is None else (options.context_channels,)
        embedding = Standardize(context_shape, allow_constant=True) if options.standardize and context_shape else None
        super().__init__(
            Compose(*layers),
            shape,
            preprocessing=Standardize(shape) if options.standardize else None,
            base=base,
            integer_columns=options.integer_columns,
            embedding=embedding,
            context_shape=context_shape,
        )
        self.resolved_options = asdict(options)


def _linear(options: VectorOptions, channels: int) -> list[Bijection]:
    if options.linear == "none":
        return []
    return [LUConv1x1(channels) if options.linear == "lu" else Householder(channels)]
