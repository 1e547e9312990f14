"""The contract of every density model."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType
from typing import Any, Literal, TypeVar

import torch
from torch import Generator, Tensor, nn

from inverseflow.bijections import Shape
from inverseflow.bijections.base import is_multiple
from inverseflow.utils.arguments import finite_number, whole_number, whole_numbers, whole_shape

DensityT = TypeVar("DensityT", bound="Density")
Likelihood = Literal["exact", "bound", "estimate"]


@dataclass(frozen=True)
class Metric:
    """How the likelihood of one kind of data is reported; less is better."""

    name: str
    """In the names of columns and fields, such as ``test_bits_per_dim``."""
    unit: str
    """After a number, such as ``3.21 bits/dim``."""


BITS_PER_DIM = Metric("bits_per_dim", "bits/dim")
"""−log p(x) / (D log 2), for gray levels."""
BITS_PER_SAMPLE = Metric("bits_per_dim", "bits/sample")
"""The same for levels of a sequence, such as audio."""
NATS = Metric("nats", "nats")
"""−log p(x) of a datum in its own units, for continuous data."""


class Density(nn.Module, ABC):
    r"""A model of a probability density or mass function :math:`p(x)`, or :math:`p(x \mid c)` given a context.

    A subclass MUST implement `log_prob` and `sample`. It CAN override `initialize` if its parameters are set from
    data, `rsample` together with `has_rsample` if its samples are differentiable, and `likelihood` if `log_prob` is a
    bound.

    Args:
        event_shape: the shape of one datum, ``(C, *spatial)``.
        levels: number of gray levels of integer data, None for continuous data.
        integer_columns: columns of a table ``(D,)`` that hold whole numbers, of floating-point dtype as the others.
        context_shape: shape of the context of one datum, None if there is none or the layers check it.

    Shape:
        x: ``(B, *event_shape)``; context: ``(B, K)`` or ``(B, K, *spatial)``; log_prob: ``(B,)`` in nats.

    Raises:
        TypeError: if a size of the event is not an integer.
        ValueError: if an event has no elements, or there are integer columns in what is no table.

    Example:
        >>> class Uniform(Density):
        ...     def log_prob(self, x, context=None):
        ...         return torch.zeros(len(x))
        ...     def sample(self, n, context=None, *, temperature=1.0, generator=None):
        ...         return torch.rand(n, *self.event_shape, generator=generator)
        >>> density = Uniform((3, 2))
        >>> density.log_prob(density.sample(4))
        tensor([0., 0., 0., 0.])
    """

    config: dict[str, Any] | None = None
    """Name and constructor arguments of a registered density: ``{"density": name, "options": {...}}``."""

    resolved_options: Mapping[str, Any] = MappingProxyType({})
    """Values that a constructor with ``**options`` chose for the options that were left out; they are saved too."""

    _context_channels: int | None = None
    """Channels of a context whose shape the layers check, None if there is none or they are not known."""

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        levels: int | None = None,
        integer_columns: Sequence[int] = (),
        context_shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.event_shape: Shape = whole_shape("event_shape", event_shape)
        self.levels = None if levels is None else whole_number("levels", levels)
        last = self.event_shape[0] - 1
        self.integer_columns = whole_numbers("integer_columns", integer_columns, at_least=0, at_most=last)
        if self.integer_columns and (len(self.event_shape) > 1 or levels is not None):
            raise ValueError(
                f"integer_columns are columns of a table (D,) without levels, got event_shape={self.event_shape} and "
                f"levels={levels}"
            )
        self.context_shape: Shape | None = (
            None if context_shape is None else whole_shape("context_shape", context_shape)
        )

    @property
    def dims(self) -> int:
        """Number of elements D of one datum."""
        return math.prod(self.event_shape)

    @property
    def likelihood(self) -> Likelihood:
        """Whether `log_prob` is exact, or draws noise.

        A ``"bound"`` is a lower bound in expectation. An ``"estimate"`` has the likelihood, or a lower bound, as its
        mean, up to a small stated bias.
        """
        return "exact"

    @property
    def continuous(self) -> bool:
        """Whether `log_prob` is a density of real numbers, which has no bound on data in equal steps."""
        return self.levels is None

    @abstractmethod
    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log density ``(B,)`` of each datum in nats.

        Args:
            x: ``(B, *event_shape)``.
            context: ``(B, K)`` or ``(B, K, *spatial)`` for a conditional density; an unconditional one ignores it.
        """

    @abstractmethod
    def sample(
        self, n: int, context: Tensor | None = None, *, temperature: float = 1.0, generator: Generator | None = None
    ) -> Tensor:
        """Draw n data ``(n, *event_shape)``, without gradients.

        Args:
            n: number of samples.
            context: n contexts, one for each sample, or one for all, with or without a batch axis: ``(K,)``, or
                ``(K, *spatial)`` with the spatial axes of the data. `sample_each` draws n for each of several.
            temperature: spread of the samples: 1 samples the model itself, below 1 its more likely part.
            generator: source of the noise.

        Raises:
            TypeError: if n is not an integer.
            ValueError: if n or the temperature is negative, or the number of contexts is neither 1 nor n.
        """

    def sample_each(
        self, n: int, contexts: Tensor, *, temperature: float = 1.0, generator: Generator | None = None
    ) -> Tensor:
        """Draw n data for each of m contexts, without gradients; arguments and errors as for `sample`.

        Returns:
            ``(m, n, *event_shape)``: ``[i]`` are those of ``contexts[i]``.

        Example:
            >>> NSF((2,), context_channels=3).sample_each(5, torch.eye(3)).shape
            torch.Size([3, 5, 2])
        """
        n = whole_number("the number of samples", n, at_least=0)
        if contexts is None:
            raise ValueError("sample_each needs contexts to draw samples of each; without contexts use sample()")
        contexts = self._contexts(contexts)
        repeated = contexts.repeat_interleave(n, 0)
        samples = self.sample(len(repeated), repeated, temperature=temperature, generator=generator)
        return samples.reshape(len(contexts), n, *samples.shape[1:])

    @property
    def given_order(self) -> Sequence[int] | None:
        """The order, as indices into the flat event, whose first elements `sample_given` takes; None: it takes none."""
        return None

    @torch.no_grad()
    def sample_given(
        self,
        n: int,
        given: Mapping[int, float | Tensor],
        context: Tensor | None = None,
        *,
        temperature: float = 1.0,
        generator: Generator | None = None,
    ) -> Tensor:
        """Draw n data from the conditional density of the other elements given some, without gradients.

        It is exact, which takes a density that is a product of conditionals in one order, with the given elements
        first: an autoregressive density of one network, or a flow whose layers are all autoregressive in one order.

        Args:
            n: number of samples.
            given: the values of some elements by their indices in the flat event, such as the columns of a table: a
                number, or a tensor ``(n,)`` of one for each sample. `impute` is for rows with different gaps.
            context: as for `sample`.
            temperature: as for `sample`.
            generator: source of the noise.

        Raises:
            ValueError: if the density has no such order, other elements come before those that are given, or a value is
                not finite.

        Example:
            >>> MAF((3,), steps=1).sample_given(2, {0: 1.5})[:, 0]
            tensor([1.5000, 1.5000])
        """
        order = self.given_order
        if order is None:
            raise ValueError(
                f"{type(self).__name__} can't be sampled given some of its elements: they must come first in one order "
                "of all its layers, as in MAF((D,), steps=1) or MADE; or train it with them as context"
            )
        first = list(order[: len(given)])
        if {*first} != {*given}:
            raise ValueError(
                f"elements can be given if they come first in the order {list(order[:8])}{' ...' * (len(order) > 8)}, "
                f"got {sorted(given)}; give all before the last of them, or train with them as context"
            )
        n, context, temperature = self._sampling_args(n, context, temperature)
        values = torch.zeros(n, len(first), dtype=torch.float64, device="cpu")
        for column, place in enumerate(first):
            values[:, column] = _given_values(place, given[place], n)
        return self._sample_given(n, first, values, context, temperature, generator)

    def _sample_given(
        self,
        n: int,
        first: list[int],
        values: Tensor,
        context: Tensor | None,
        temperature: float,
        generator: Generator | None,
    ) -> Tensor:
        """Draw data whose first elements in `given_order` have these values ``(n, K)``, where that is not None."""
        raise NotImplementedError

    def _log_density(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Return the log density ``(B,)`` of real numbers, also in place of whole numbers that are dequantized."""
        return self.log_prob(x, context)

    @property
    def has_rsample(self) -> bool:
        """Whether `rsample` is available."""
        return False

    def rsample(
        self, n: int, context: Tensor | None = None, *, temperature: float = 1.0, generator: Generator | None = None
    ) -> Tensor:
        """Draw n data with gradients to parameters and context; arguments as for `sample`.

        Raises:
            NotImplementedError: if the samples of this density have no gradient.
        """
        reason = "it has no reparametrization"
        if self.levels is not None or self.integer_columns:
            reason = "gray levels are integers" if self.levels is not None else "some columns hold whole numbers"
        raise NotImplementedError(f"samples of {type(self).__name__} carry no gradient: {reason}; use sample()")

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return `log_prob`, so that wrappers for parallel training and compilation see the likelihood."""
        return self.log_prob(x, context)

    def bits_per_dim(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        r"""Return :math:`-\log p(x) / (D \log 2)` for each datum: the mean number of bits per element.

        For gray levels these are bits of the discrete image. For continuous data they depend on the unit of the data.
        """
        return self.to_bits_per_dim(self.log_prob(x, context))

    def to_bits_per_dim(self, log_prob: Tensor) -> Tensor:
        """Convert nats per datum to bits per dimension."""
        return -log_prob / (self.dims * math.log(2))

    @property
    def metric(self) -> Metric:
        """What reports of this density show: bits per dimension, or sample, of levels, nats of continuous data."""
        if self.levels is None:
            return NATS
        return BITS_PER_SAMPLE if len(self.event_shape) == 2 else BITS_PER_DIM

    def to_metric(self, log_prob: Tensor) -> Tensor:
        """Convert nats per datum to `metric`."""
        return -log_prob if self.levels is None else self.to_bits_per_dim(log_prob)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Set parameters that depend on data from one large batch, before training. By default there are none."""

    def _check_batch(self, x: Tensor, shape: Shape) -> None:
        """Raise unless x is a batch of tensors of a shape."""
        name = type(self).__name__
        if not isinstance(x, Tensor):
            raise TypeError(f"{name} takes tensors, got {type(x).__name__}; convert with torch.as_tensor(x)")
        if tuple(x.shape[1:]) != shape:
            sizes = ", ".join(map(str, shape))
            raise ValueError(f"{name} takes batches of shape (B, {sizes}), got {tuple(x.shape)}")

    def _check_context(self, context: Tensor | None, x: Tensor | None = None) -> None:
        """Raise unless a context is None or a tensor and, if the density knows its shape, fits a batch x."""
        if context is not None and not isinstance(context, Tensor):
            raise TypeError(f"a context is a tensor, got {type(context).__name__}; convert with torch.as_tensor(...)")
        if self.context_shape is None or x is None:
            return
        name, expected = type(self).__name__, (x.shape[0], *self.context_shape)
        if context is None:
            raise ValueError(f"{name} is conditional: pass a context of shape {expected}")
        if context.shape != expected:
            raise ValueError(f"{name} expects a context of shape {expected}, got {tuple(context.shape)}")
        if context.device != x.device:
            raise ValueError(f"{name} got input on {x.device} and a context on {context.device}; move one with .to()")

    def _sampling_args(self, n: int, context: Tensor | None, temperature: float) -> tuple[int, Tensor | None, float]:
        """Return n as `int`, the contexts as a batch of n and the temperature as `float`, or raise if they are none."""
        if not (type(n) is int and n >= 0):  # torch.compile can't look into an int that it keeps dynamic
            n = whole_number("the number of samples", n, at_least=0)
        if not (type(temperature) is float and 0 <= temperature < math.inf):
            temperature = finite_number("temperature", temperature, at_least=0)
        self._check_context(context)
        if context is not None:
            context = self._contexts(context)
            if context.shape[0] not in (1, n):
                raise ValueError(f"{n} samples need one context or {n} of them, got shape {tuple(context.shape)}")
            context = context.expand(n, *context.shape[1:])
        return n, context, temperature

    def context_axes(self, context: Tensor) -> int:
        """Return how many of the last axes make up one context: 1 for a vector, those of an event if it is spatial.

        Unless `context_shape` tells, it is spatial if its last axes have the spatial sizes of the data. If the number
        of channels is known, it must have as many, and multiples of the sizes will do; ``(B, K)`` are vectors.
        """
        if self.context_shape is not None:
            return len(self.context_shape)
        axes, sizes, channels = len(self.event_shape), self.event_shape[1:], self._context_channels
        if axes == 1 or context.ndim < axes:
            return 1
        found, last = tuple(context.shape[1 - axes :]), context.shape[-1]
        if channels is None:
            return axes if found == sizes else 1
        are_vectors = context.ndim == 2 and last == channels
        return axes if context.shape[-axes] == channels and is_multiple(found, sizes) and not are_vectors else 1

    def _contexts(self, context: Tensor) -> Tensor:
        """Return one context, or contexts in any batch shape, as a batch."""
        self._check_context(context)
        axes = self.context_axes(context)
        if context.ndim <= axes:
            context = torch.atleast_1d(context)[None]
        return context.flatten(0, -1 - axes)


def example_context_shape(density: Density) -> Shape | None:
    """Return the shape of a context that a density takes, a vector if several would do; None if it takes none."""
    if density.context_shape is not None:
        return density.context_shape
    found = chain([density._context_channels], context_sizes(density))
    return next(((channels,) for channels in found if channels is not None), None)


def context_sizes(module: nn.Module) -> Iterator[int]:
    """Yield the channels of the context that each part of a module sees, if it is given from outside."""
    if size := getattr(module, "context_channels", None):
        yield size
    if not getattr(module, "makes_context", False):
        for child in module.children():
            yield from context_sizes(child)


def _given_values(place: int, value: float | Tensor, n: int) -> float | Tensor:
    """Return the values of a given element, one or ``(n,)``, or raise if they are none."""
    if not (isinstance(value, Tensor) and value.ndim):
        return finite_number(f"the given element {place}", value)
    if value.shape != (n,) or not bool(value.isfinite().all()):
        found = "some that are not" if value.shape == (n,) else f"a tensor of shape {tuple(value.shape)}"
        raise ValueError(f"the given element {place} must be a number or ({n},) finite numbers, got {found}")
    return value.cpu()
