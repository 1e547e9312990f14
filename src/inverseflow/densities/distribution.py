"""A density as a distribution of `torch.distributions`."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from inverseflow.densities.density import Density

_Shape = torch.Size | list[int] | tuple[int, ...]


class _Table(constraints.Constraint):
    """Vectors of finite numbers, whole in some columns."""

    event_dim = 1

    def __init__(self, integer_columns: tuple[int, ...]) -> None:
        self.integer_columns = list(integer_columns)

    def check(self, value: Tensor) -> Tensor:
        """Return for each row whether it is one."""
        whole = value[..., self.integer_columns]
        valid: Tensor = value.isfinite().all(-1) & (whole == whole.floor()).all(-1)
        return valid


class DensityDistribution(Distribution):
    """A density with a fixed context, as a distribution of `torch.distributions`.

    In Pyro use `inverseflow.interop.pyro.from_density`, which expands under plates.

    Args:
        density: the density.
        context: None, one context ``(K,)``, or contexts ``(*batch_shape, K)``; or spatial ones, ``(*batch_shape, K,
            *spatial)`` with the spatial axes of the data.
        validate_args: whether values and contexts are checked, None for the default of `torch.distributions`.

    Raises:
        ValueError: if a context holds nan.

    Example:
        >>> from inverseflow.bijections import ActNorm
        >>> from inverseflow.flows import Flow
        >>> p = DensityDistribution(Flow(ActNorm(2), (2,)))
        >>> p
        DensityDistribution(Flow, batch_shape=(), event_shape=(2,))
        >>> p.expand((3,)).log_prob(p.sample((5, 1))).shape
        torch.Size([5, 3])
    """

    def __init__(self, density: Density, context: Tensor | None = None, *, validate_args: bool | None = None) -> None:
        if context is not None and (not isinstance(context, Tensor) or context.ndim == 0):
            raise TypeError(f"a context is None or a tensor of shape (*batch_shape, K), got {context!r}")
        self.density = density
        self.context = context
        batch_shape = torch.Size() if context is None else context.shape[: context.ndim - density.context_axes(context)]
        if context is not None and context.numel() == 0:  # torch can't check an empty tensor
            validate_args = False
        super().__init__(batch_shape, torch.Size(density.event_shape), validate_args=validate_args)

    @property
    def arg_constraints(self) -> dict[str, constraints.Constraint]:
        """Contexts are made of numbers."""
        if self.context is None:
            return {}
        return {"context": constraints.independent(constraints.real, self.density.context_axes(self.context))}

    @property
    def support(self) -> constraints.Constraint:
        """Gray levels for a density of discrete data, else the reals, and whole numbers in integer columns."""
        levels = self.density.levels
        if self.density.integer_columns:
            return _Table(self.density.integer_columns)
        single = constraints.real if levels is None else constraints.integer_interval(0, levels - 1)
        return constraints.independent(single, len(self.event_shape))

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether samples can carry gradients: not if they are gray levels."""
        return self.density.has_rsample

    def expand(self, batch_shape: _Shape, _instance: Any = None) -> "DensityDistribution":
        """Return this distribution with its batch expanded, sharing density and context."""
        new: DensityDistribution = self._get_checked_instance(DensityDistribution, _instance)  # type: ignore[no-untyped-call]
        batch_shape = torch.Size(batch_shape)
        new.density = self.density
        new.context = self._expanded(batch_shape)
        super(DensityDistribution, new).__init__(batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def sample(self, sample_shape: _Shape = ()) -> Tensor:
        """Draw samples of shape ``(*sample_shape, *batch_shape, *event_shape)``."""
        return self._draw(self.density.sample, sample_shape)

    def rsample(self, sample_shape: _Shape = ()) -> Tensor:
        """Draw samples with gradients to parameters and context; a NotImplementedError says why there are none."""
        return self._draw(self.density.rsample, sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log probability of each event, in nats; for gray levels an estimate of its lower bound."""
        events = len(self.event_shape)
        if not isinstance(value, Tensor) or value.shape[-events:] != self.event_shape:
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            wanted = tuple(self.event_shape)
            raise ValueError(f"a value must be a tensor whose shape ends in the event shape {wanted}, got {got}")
        if self._validate_args and value.numel():  # torch can't check an empty tensor
            self._validate_sample(value)
        shape = torch.broadcast_shapes(value.shape[:-events], self.batch_shape)
        flat = value.expand(shape + self.event_shape).reshape(-1, *self.event_shape)
        return self.density.log_prob(flat, self._contexts(shape)).reshape(shape)

    def entropy(self) -> Tensor:
        """Raise NotImplementedError, as `mean` and `variance` do: none of them has a closed form."""
        name = type(self.density).__name__
        raise NotImplementedError(f"{name} has no mean, variance or entropy in closed form; estimate it from samples")

    mean = variance = property(entropy)

    def _draw(self, sample: Callable[[int, Tensor | None], Tensor], sample_shape: _Shape) -> Tensor:
        shape = torch.Size(sample_shape) + self.batch_shape
        return sample(math.prod(shape), self._contexts(shape)).reshape(shape + self.event_shape)

    def _contexts(self, shape: torch.Size) -> Tensor | None:
        context = self._expanded(shape)
        return None if context is None else context.reshape(-1, *context.shape[len(shape) :])

    def _expanded(self, shape: torch.Size) -> Tensor | None:
        """Return the contexts, each the same as before, in a larger batch shape."""
        if self.context is None:
            return None
        return self.context.expand(*shape, *self.context.shape[len(self.batch_shape) :])

    def __repr__(self) -> str:
        shapes = f"batch_shape={tuple(self.batch_shape)}, event_shape={tuple(self.event_shape)}"
        return f"{type(self).__name__}({type(self.density).__name__}, {shapes})"
