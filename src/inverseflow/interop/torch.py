"""Transforms and distributions of `torch.distributions` as bijections and densities.

The way back is `inverseflow.bijections.BijectionTransform` and `inverseflow.densities.DensityDistribution`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.distributions import Distribution, Transform

from inverseflow.bijections import Bijection, Shape
from inverseflow.bijections.base import LogDet
from inverseflow.densities import Density
from inverseflow.interop._foreign import Foreign, check_kind, first_line, like_parameters


def as_bijection(transform: Transform) -> Bijection:
    """Return a transform as a bijection whose `forward` is the call of the transform.

    A flow runs forward from data to latent, and a `torch.distributions.TransformedDistribution` from latent to data:
    pass ``transform.inv`` to get its density. If the transform is a module, its parameters belong to the bijection.
    The tensors of other transforms do not: `to` and `parameters` pass them over.

    Args:
        transform: any bijective transform.

    Raises:
        TypeError: if it is no transform.
        ValueError: if it is not bijective, or does not take the events that reach it.

    Example:
        >>> from torch.distributions import AffineTransform
        >>> z, log_det = as_bijection(AffineTransform(1.0, 2.0))(torch.ones(2, 3))
        >>> z[0], log_det[0]
        (tensor([3., 3., 3.]), tensor(2.0794))
    """
    bijection = TransformBijection(transform, Transform)
    if not transform.bijective:
        raise ValueError(f"{type(transform).__name__} is not bijective, so it has no inverse; choose one that is")
    return bijection


def as_density(distribution: Distribution) -> Density:
    """Return a distribution as a density, which can also be the base of a `Flow` if its events are vectors.

    The tensors of the distribution do not belong to the density: `to` and `parameters` pass them over. A temperature
    scales the distance of samples from the mean.

    Args:
        distribution: a distribution of one event: its batch shape is empty.

    Raises:
        TypeError: if it is no distribution.
        ValueError: if it has a batch shape, or an event is a scalar.

    Example:
        >>> from torch.distributions import Independent, Laplace
        >>> base = as_density(Independent(Laplace(torch.zeros(2), 1.0), 1))
        >>> Flow(ActNorm(2), (2,), base=base).sample(3).shape
        torch.Size([3, 2])
    """
    return DistributionDensity(distribution, Distribution)


class TransformBijection(Foreign):
    """A transform of `torch.distributions`, or something that makes one of a context, as a bijection."""

    @staticmethod
    def given(transform: Any, context: Tensor | None) -> Transform:
        """Return the transform for a context."""
        return transform

    def _try(self, direction: str, shape: Shape, context: Shape | None) -> Shape:
        if isinstance(self.transform, nn.Module):
            return super()._try(direction, shape, context)
        # Device and dtype of its tensors are not known, but it can tell the shape.
        transform = self.transform if direction == "_forward" else self.transform.inv
        if transform.domain.event_dim > len(shape):
            raise ValueError(f"its events have {transform.domain.event_dim} axes")
        return tuple(transform.forward_shape(shape))

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        transform = self.given(self.transform, context)
        x = x.view_as(x)  # a new object, since transforms cache values by identity
        z = transform(x)
        return z, _sum_parts(transform.log_abs_det_jacobian(x, z))

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        transform = self.given(self.transform, context)
        z = z.view_as(z)
        x = transform.inv(z)
        return x, -_sum_parts(transform.log_abs_det_jacobian(x, z))


class DistributionDensity(Density):
    """A distribution of `torch.distributions`, or something that makes one of a context, as a density."""

    _like: Tensor

    def __init__(self, source: Any, kind: Any, context_channels: int | None = None) -> None:
        check_kind("distribution", source, kind)
        like = like_parameters(source)
        one_context = None if context_channels is None else like.new_zeros(1, context_channels)
        try:
            example = self.given(source, one_context)
            with torch.random.fork_rng([]):
                example.sample()  # a lazy one may fail only here
        except Exception as error:  # each package has errors of its own
            needs = "a context" if one_context is None else f"another context than one of {context_channels} channels"
            raise ValueError(
                f"{type(source).__name__} needs {needs} ({first_line(error)}); give context_channels, its length"
            ) from error
        batch_axes = 0 if one_context is None else 1
        if len(example.batch_shape) != batch_axes or not example.event_shape:
            raise ValueError(
                f"an event must have a shape and the batch none, got {tuple(example.event_shape)} and "
                f"{tuple(example.batch_shape[batch_axes:])}; make the batch a part of the event with "
                "torch.distributions.Independent"
            )
        super().__init__(example.event_shape, context_shape=None if context_channels is None else (context_channels,))
        self.source = source
        self._has_rsample = example.has_rsample
        self.register_buffer("_like", like.new_empty(0), persistent=False)

    @staticmethod
    def given(source: Any, context: Tensor | None) -> Distribution:
        """Return the distribution for a context."""
        return source

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log density ``(B,)`` of each datum in nats."""
        self._check_batch(x, self.event_shape)
        return self._given(context, x).log_prob(x)

    @torch.no_grad()
    def sample(
        self, n: int, context: Tensor | None = None, *, temperature: float = 1.0, generator: Generator | None = None
    ) -> Tensor:
        """Draw n data, without gradients; arguments as for `Density.sample`."""
        return self._draw("sample", n, context, temperature, generator)

    @property
    def has_rsample(self) -> bool:
        """Whether samples can carry gradients."""
        return self._has_rsample

    def rsample(
        self, n: int, context: Tensor | None = None, *, temperature: float = 1.0, generator: Generator | None = None
    ) -> Tensor:
        """Draw n data with gradients; arguments and errors as for `Density.rsample`."""
        if not self.has_rsample:
            return super().rsample(n, context)
        return self._draw("rsample", n, context, temperature, generator)

    def _draw(
        self, method: str, n: int, context: Tensor | None, temperature: float, generator: Generator | None
    ) -> Tensor:
        n, context, temperature = self._sampling_args(n, context, temperature)
        distribution = self._given(context, self._like.expand(n, 0))
        with _seeded_by(generator, self._like.device):
            x: Tensor = getattr(distribution, method)(() if distribution.batch_shape else (n,))
        if temperature != 1:
            mean = _mean(distribution)
            x = mean + temperature * (x - mean)
        return x.to(self._like)

    def _given(self, context: Tensor | None, x: Tensor) -> Distribution:
        self._check_context(context, x)
        return self.given(self.source, None if self.context_shape is None else context)


def _sum_parts(log_det: Tensor) -> Tensor:
    """Sum what each part of an event adds to its log-determinant."""
    return log_det.flatten(1).sum(1) if log_det.ndim > 1 else log_det


def _mean(distribution: Distribution) -> Tensor:
    try:
        mean = distribution.mean
        if mean.isfinite().all():
            return mean
    except NotImplementedError:
        pass
    raise ValueError(f"{type(distribution).__name__} has no mean to shrink its samples to; sample with temperature=1")


@contextmanager
def _seeded_by(generator: Generator | None, device: torch.device) -> Iterator[None]:
    """Draw the seed of what is sampled in the block from a generator, as distributions take none."""
    if generator is None:
        yield
        return
    seed = torch.randint(2**62, (), generator=generator, device=generator.device)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(int(seed))
        yield
