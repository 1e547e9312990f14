"""The contract of autoregressive densities."""

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor

from inverseflow.bijections import Standardize, initialize_from_data
from inverseflow.densities.density import Density
from inverseflow.distributions.heads import Head
from inverseflow.utils.arguments import whole_number


@dataclass(frozen=True)
class Choose:
    """Draw one element of each datum from its parameters.

    Example:
        >>> Choose(Bernoulli(), temperature=0.0)(torch.tensor([[-1.0], [2.0]]))
        tensor([0, 1], dtype=torch.uint8)
    """

    head: Head
    """Distribution of the element."""
    temperature: float = 1.0
    """As for `Head.sample`."""
    generator: Generator | None = None
    """Source of the noise."""

    def __call__(self, parameters: Tensor) -> Tensor:
        """Draw an element ``(B,)`` from its parameters ``(B, P)``."""
        return self.head.sample(parameters, temperature=self.temperature, generator=self.generator)


@dataclass(frozen=True)
class _Completion(Choose):
    """Take the elements that are given, in their order, and draw those behind them."""

    given: Iterator[Tensor] = field(kw_only=True)

    def __call__(self, parameters: Tensor) -> Tensor:
        for value in self.given:
            return value
        return super().__call__(parameters)


class AutoregressiveDensity(Density):
    r"""A density that predicts one element after another, each given those before it.

    .. math:: p(x \mid c) = \prod_i p(x_i \mid x_{<i}, c)

    It has no inverse, and its likelihood is exact, also that of integer data. A subclass MUST implement
    `parameters_of`. It SHOULD override `_draw`, which here evaluates the whole network for every element.

    Args:
        event_shape: the shape of one datum, ``(C, *spatial)``.
        head: the distribution of one element.
        context_channels: channels K of the context, None for an unconditional density.
        spatial_context: whether the context may be spatial too, ``(B, K, *spatial)`` with the sizes of the data.
        standardize: whether `initialize` sets a shift and a scale for every element of continuous data, and of the
            context if it is a vector. The network and the head then see standardized data; `log_prob` and samples are
            in the data's units.

    Raises:
        ValueError: if a number is out of its range.

    Example:
        >>> class Marginals(AutoregressiveDensity):  # the elements are independent
        ...     def __init__(self, event_shape):
        ...         super().__init__(event_shape, Bernoulli())
        ...         self.logits = torch.nn.Parameter(torch.zeros(1, *event_shape))
        ...     def parameters_of(self, x, context=None):
        ...         return self.logits.expand(x.shape[0], 1, *self.event_shape)
        >>> density = Marginals((3,))
        >>> density.log_prob(density.sample(2))
        tensor([-2.0794, -2.0794], grad_fn=<SumBackward1>)
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        head: Head,
        *,
        context_channels: int | None = None,
        spatial_context: bool = False,
        standardize: bool = False,
    ) -> None:
        context_shape: tuple[int] | None = None
        if context_channels is not None:
            context_channels = whole_number("context_channels", context_channels, at_least=1)
            context_shape = None if spatial_context else (context_channels,)
        super().__init__(event_shape, levels=head.levels, context_shape=context_shape)
        self.head = head
        self._context_channels = context_channels
        standardized = standardize and self.levels is None
        self.standardize = Standardize(self.event_shape) if standardized else None
        self.embedding = Standardize(context_shape, allow_constant=True) if standardize and context_shape else None

    @abstractmethod
    def parameters_of(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the parameters of the head for every element, by one evaluation of the network.

        Those of an element depend on the elements before it only, in `element_order`.

        Args:
            x: ``(B, *event_shape)``, standardized if the density does that.
            context: the contexts of a conditional density, in the dtype of the weights.

        Returns:
            ``(B, P, *event_shape)``.
        """

    @property
    def element_order(self) -> Sequence[int]:
        """The order of the elements, as indices into the flat event: position after position, at each all channels."""
        positions = math.prod(self.event_shape[1:])
        return [
            channel * positions + position for position in range(positions) for channel in range(self.event_shape[0])
        ]

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the exact log probability, or log density, of each datum in nats; arguments as for `Density.log_prob`.

        Raises:
            TypeError: if x has no integer dtype although there are levels, or another dtype than the weights.
            ValueError: if a level is out of range, or x or the context has another shape.
        """
        self._check_data(x)
        context = self._embed(context, x)
        if self.standardize is None:
            return self._log_prob(x, context)
        z, log_det = self.standardize(x)
        log_prob: Tensor = self._log_prob(z, context) + log_det
        return log_prob

    @torch.no_grad()
    def sample(
        self, n: int, context: Tensor | None = None, *, temperature: float = 1.0, generator: Generator | None = None
    ) -> Tensor:
        """Draw n data, one element after another, without gradients; arguments as for `Density.sample`.

        `Head.sample` says what the temperature does to each element.
        """
        n, context, temperature = self._sampling_args(n, context, temperature)
        context = self._embed(context, self._blank(n))
        x = self._draw(n, context, Choose(self.head, temperature, generator))
        return x if self.standardize is None else self.standardize.inverse(x)[0]

    @torch.no_grad()
    def complete(
        self,
        x: Tensor,
        known: Tensor,
        context: Tensor | None = None,
        *,
        temperature: float = 1.0,
        generator: Generator | None = None,
    ) -> Tensor:
        """Draw the unknown elements of data given the known ones, which come first in `element_order`.

        So the upper rows of an image can be known, or the beginning of a sequence. The samples follow the exact
        conditional distribution.

        Args:
            x: ``(B, *event_shape)``; unknown elements may have any value that data can have.
            known: booleans ``event_shape``, the same for all data.
            context: one context, or one for each datum.
            temperature: as for `sample`.
            generator: source of the noise.

        Returns:
            ``(B, *event_shape)``, with the known elements of x.

        Raises:
            ValueError: if an unknown element comes before a known one in `element_order`, or a shape does not fit.

        Example:
            >>> density, upper = PixelCNN((1, 4, 4), levels=2, width=4, depth=1), torch.zeros(1, 4, 4, dtype=torch.bool)
            >>> upper[:, :2] = True
            >>> density.complete(torch.ones(3, 1, 4, 4, dtype=torch.uint8), upper)[:, :, :2].min()
            tensor(1, dtype=torch.uint8)
        """
        self._check_data(x)
        if known.shape != self.event_shape or known.dtype != torch.bool:
            found = f"{known.dtype} {tuple(known.shape)}"
            raise ValueError(f"known must be a tensor of bool and of shape {self.event_shape}, got {found}")
        order = torch.tensor(self.element_order)
        first = order[: int(known.sum())]
        if not known.flatten()[first].all():
            raise ValueError(
                f"{type(self).__name__} can complete data whose known elements are the first {len(first)} in its "
                "element_order, such as the upper rows of an image, got others"
            )
        rows, context, temperature = self._sampling_args(x.shape[0], context, temperature)
        context = self._embed(context, x)
        z = x if self.standardize is None else self.standardize(x)[0]
        given = iter(z.flatten(1)[:, first].unbind(1))
        z = self._draw(rows, context, _Completion(self.head, temperature, generator, given=given))
        return z if self.standardize is None else self.standardize.inverse(z)[0].where(~known, x)

    @property
    def given_order(self) -> Sequence[int] | None:
        """`element_order`."""
        return self.element_order

    def _sample_given(
        self,
        n: int,
        first: list[int],
        values: Tensor,
        context: Tensor | None,
        temperature: float,
        generator: Generator | None,
    ) -> Tensor:
        if self.levels is not None:
            wrong = (values != values.floor()) | (values < 0) | (values >= self.levels)  # uint8 would take any
            if bool(wrong.any()):
                value = values[wrong][0]
                raise ValueError(f"a given level must be a whole number from 0 to {self.levels - 1}, got {value:g}")
        x, known = self._blank(n), torch.zeros(self.event_shape, dtype=torch.bool, device=self._blank(1).device)
        x.view(n, -1)[:, first] = values.to(x)
        known.view(-1)[first] = True
        return self.complete(x, known, context, temperature=temperature, generator=generator)

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Set the shift and the scale of data and context from a batch, if there are such and they are not yet set.

        Args:
            x: ``(B, *event_shape)``.
            context: the contexts of a conditional density.

        Raises:
            ValueError: if the batch is not finite, or an element of it is constant.
            RuntimeError: if the density is in evaluation mode.
        """
        self._check_data(x)
        initialize_from_data(self, x, context)

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Return the log probability ``(B,)`` of data that are checked and standardized."""
        return self.head.log_prob(x, self.parameters_of(x, context)).flatten(1).sum(1)

    def _draw(self, rows: int, context: Tensor | None, choose: Choose) -> Tensor:
        """Return data ``(rows, *event_shape)``, standardized if the density does that.

        `choose` draws one element of each. It is called once for each element, in `element_order`.
        """
        x = self._blank(rows)
        elements = x.view(rows, self.dims)
        for index in self.element_order:
            elements[:, index] = choose(self.parameters_of(x, context).flatten(2)[:, :, index])
        return x

    def _network_input(self, x: Tensor) -> Tensor:
        """Return data as a network sees them: levels on [-1, 1], in the dtype of the weights."""
        dtype = self._weight_dtype()
        if self.levels is None:
            return x.to(dtype)
        x = x.to(torch.promote_types(dtype, torch.float32))  # half precision ends at 65504
        return (x * (2 / (self.levels - 1)) - 1).to(dtype)

    def _blank(self, rows: int) -> Tensor:
        """Return data that are all zero."""
        like = next(self.parameters())
        return torch.zeros(rows, *self.event_shape, dtype=self.head.dtype or like.dtype, device=like.device)

    def _weight_dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def _check_data(self, x: Tensor) -> None:
        self._check_batch(x, self.event_shape)
        self.head.check(x)
        name, like = type(self).__name__, next(self.parameters())
        if x.device != like.device:
            raise ValueError(f"{name} lives on {like.device}, got input on {x.device}; move one with .to()")
        if self.levels is None and x.dtype != like.dtype:
            raise TypeError(f"{name} has parameters of {like.dtype}, got input of {x.dtype}; convert one with .to()")

    def _embed(self, context: Tensor | None, x: Tensor) -> Tensor | None:
        """Return the contexts of a batch as the network sees them; None for an unconditional density."""
        if self._context_channels is None:
            return None
        self._check_context(context, x)
        assert context is not None
        context = context.to(self._weight_dtype())
        return context if self.embedding is None else self.embedding(context)[0]

    def _check_context(self, context: Tensor | None, x: Tensor | None = None) -> None:
        super()._check_context(context, x)
        if self._context_channels is None or self.context_shape is not None or x is None:
            return
        name, expected = type(self).__name__, (x.shape[0], self._context_channels)
        spatial = (*expected, *self.event_shape[1:])
        if context is None:
            raise ValueError(f"{name} is conditional: pass a context of shape {expected} or {spatial}")
        if context.shape not in (expected, spatial):
            raise ValueError(f"{name} expects a context of shape {expected} or {spatial}, got {tuple(context.shape)}")
        if context.device != x.device:
            raise ValueError(f"{name} got input on {x.device} and a context on {context.device}; move one with .to()")
