"""The contract of a method, which models p(x | y), and the registry of methods."""

import inspect
import re
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Generator, Tensor

from inverseflow.densities import Density
from inverseflow.errors import OptionError
from inverseflow.training.objective import Loss
from inverseflow.utils.arguments import whole_number

Builder = Callable[..., "Conditional"]


@dataclass(frozen=True)
class Training:
    """How a method is trained unless told otherwise; None leaves it to the number of simulations."""

    max_steps: int | None = None
    batch_size: int | None = None
    learning_rate: float = 1e-3
    patience: int | None = None
    """Validations without a new best one before the training ends, of `validations` in all."""
    validations: int = 40
    ema: float | None = None
    """Decay of the average of the weights."""
    weight_decay: float | None = 0.0
    """None decides by the validation; see `AmortizedPosterior.fit`."""
    clip_norm: float | None = 5.0


class Conditional(Density):
    r"""A model of p(x | y) in standardized, unbounded coordinates: x ``(B, D)`` given a context ``(B, K)``.

    `AmortizedPosterior` maps and standardizes parameters, and standardizes and summarizes observations, so x and
    context have about mean zero and variance one. A subclass MUST implement `sample`, and `log_prob` or, with
    ``has_density = False``, `loss`. A loss is computed for a batch of any size, one row included.

    Args:
        dims: number of unbounded parameters D.
        context_channels: length K of the context.

    Raises:
        TypeError: if a number is not whole.
        ValueError: if it is below 1.
    """

    has_density: ClassVar[bool] = True
    """Whether there is a `log_prob`."""

    def __init__(self, dims: int, context_channels: int) -> None:
        super().__init__((dims,), context_shape=(whole_number("context_channels", context_channels, at_least=1),))

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log density ``(B,)`` of rows in nats.

        Raises:
            OptionError: if the method has no density.
        """
        raise OptionError(
            f"{type(self).__name__} draws samples, but has no density; methods with one are "
            f"{', '.join(method_names(with_density=True))}"
        )

    @abstractmethod
    def sample(
        self, n: int, context: Tensor | None = None, *, temperature: float = 1.0, generator: Generator | None = None
    ) -> Tensor:
        """Draw n rows, without gradients; arguments as for `Density.sample`."""

    def predict(self, x: Tensor) -> Tensor:
        """Return the observations ``(B, K)`` that the forward part of the method gives for x, if it has such a part.

        Raises:
            OptionError: if it has none.
        """
        raise OptionError(
            f"{type(self).__name__} has no forward part from parameters to observations; methods with one are "
            f"{', '.join(method_names(with_forward=True))}"
        )

    def loss(self, x: Tensor, context: Tensor) -> Loss:
        """Return what is minimized on a batch: the mean of −log p(x | context) unless a subclass says otherwise."""
        nats = -self.log_prob(x, context).mean()
        return Loss(nats, {"nats": nats})


@dataclass(frozen=True)
class Method:
    """A registered method."""

    name: str
    build: Builder
    """From `dims`, `context_channels` and options to a `Conditional`."""
    has_density: bool
    has_forward: bool
    """Whether it has a forward part from parameters to observations."""
    training: Training

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the options; empty if it takes any."""
        parameters = list(inspect.signature(self.build).parameters.values())[2:]
        return tuple(each.name for each in parameters if each.kind is not each.VAR_KEYWORD)


_METHODS: dict[str, Method] = {}


def method(
    name: str, *, has_density: bool = True, has_forward: bool = False, training: Training | None = None
) -> Callable[[Builder], Builder]:
    """Enter a builder of a `Conditional`, a function or a class, into the registry.

    Args:
        name: the name for `AmortizedPosterior` and the command line.
        has_density: whether what it builds has a `log_prob`.
        has_forward: whether it has a `predict`.
        training: how it is trained unless told otherwise.

    Raises:
        ValueError: if the name is taken.

    Example:
        >>> build_method("cinn", 2, 3, width=16).event_shape
        (2,)
    """

    def enter(build: Builder) -> Builder:
        if name in _METHODS:
            raise ValueError(f"the method {name!r} exists already: {_METHODS[name].build.__name__}")
        _METHODS[name] = Method(name, build, has_density, has_forward, training or Training())
        return build

    return enter


def method_names(*, with_density: bool = False, with_forward: bool = False) -> list[str]:
    """Return the names of all methods, or of those with a `log_prob`, or with a `predict`."""
    return sorted(
        name
        for name, entry in _METHODS.items()
        if (entry.has_density or not with_density) and (entry.has_forward or not with_forward)
    )


def method_entry(name: str) -> Method:
    """Return a registered method.

    Raises:
        OptionError: if there is none of this name; the message lists the names.
    """
    if name not in _METHODS:
        raise OptionError(f"unknown method {name!r}: choose one of {', '.join(method_names())}")
    return _METHODS[name]


def build_method(name: str, dims: int, context_channels: int, **options: Any) -> Conditional:
    """Build the network of a method.

    Args:
        name: one of `method_names`.
        dims: number of unbounded parameters D.
        context_channels: length K of the summarized observation.
        options: options of the method.

    Raises:
        OptionError: if the name or an option is unknown, or an option has an impossible value.
    """
    entry = method_entry(name)
    known = inspect.signature(entry.build).parameters
    takes_any = any(each.kind is each.VAR_KEYWORD for each in known.values())
    if unknown := [] if takes_any else [option for option in options if option not in known]:
        raise OptionError(
            f"the method {name!r} has no option {', '.join(unknown)}; it has {', '.join(entry.options) or 'none'}"
        )
    try:
        return entry.build(dims, context_channels, **options)
    except (ValueError, TypeError) as error:
        if other := re.search(r"unexpected keyword argument '(\w+)'", str(error)):
            raise OptionError(f"the method {name!r} has no option {other[1]}") from error
        raise OptionError(f"the method {name!r} can't be built: {error}") from error
