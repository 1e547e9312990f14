"""Bijections as transforms of `torch.distributions`."""

import math
from collections.abc import Callable

from torch import Tensor
from torch.distributions import constraints
from torch.distributions.transforms import Transform

from inverseflow.bijections.base import Bijection, Shape
from inverseflow.utils.arguments import whole_shape


class BijectionTransform(Transform):
    r"""View of a bijection as a `torch.distributions.transforms.Transform`, for events in any batch shape.

    Use it in a `torch.distributions.TransformedDistribution`. The parameters are shared with the bijection, and the
    last values and log-determinant are cached, so that sampling and its density cost one pass.

    Args:
        bijection: the bijection f.
        event_shape: shape ``(C, *spatial)`` of an event that f takes.
        context: ``(K,)``, or ``(*batch, K)`` for the batches to come; None for an unconditional bijection.
        cache_size: 1 to cache the last values, 0 not to.

    Shape:
        x: ``(*batch, *event_shape)``; y: ``(*batch, *output_shape)``; the batch may be empty.

    Example:
        >>> from torch.distributions import Independent, Normal, TransformedDistribution
        >>> transform = BijectionTransform(InverseConv2d(2), (2, 4, 4))
        >>> base = Independent(Normal(torch.zeros(2, 4, 4), 1), 3)
        >>> density = TransformedDistribution(base, [transform.inv])
        >>> density.log_prob(density.sample((5, 3))).shape
        torch.Size([5, 3])
    """

    bijective = True

    def __init__(
        self, bijection: Bijection, event_shape: Shape, *, context: Tensor | None = None, cache_size: int = 1
    ) -> None:
        super().__init__(cache_size=cache_size)
        self.bijection = bijection
        self.context = context
        self.input_shape: Shape = whole_shape("event_shape", event_shape)
        self.output_shape: Shape = bijection.output_shape(self.input_shape)
        self.domain = constraints.independent(constraints.real, len(self.input_shape))
        self.codomain = constraints.independent(constraints.real, len(self.output_shape))
        self._last: tuple[Tensor, Tensor, Tensor] | None = None

    def with_cache(self, cache_size: int = 1) -> "BijectionTransform":
        """Return the same view with another cache size."""
        return BijectionTransform(self.bijection, self.input_shape, context=self.context, cache_size=cache_size)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Return :math:`\log|\det \partial y/\partial x|`, of the batch shape."""
        if self._last is not None and self._last[0] is x and self._last[1] is y:
            return self._last[2]
        return self._run(self.bijection, x, self.input_shape)[1]

    def forward_shape(self, shape: Shape) -> Shape:
        """Return the shape of y for a shape of x."""
        return (*_batch_shape(shape, self.input_shape), *self.output_shape)

    def inverse_shape(self, shape: Shape) -> Shape:
        """Return the shape of x for a shape of y."""
        return (*_batch_shape(shape, self.output_shape), *self.input_shape)

    def _call(self, x: Tensor) -> Tensor:
        y, log_det = self._run(self.bijection, x, self.input_shape)
        self._last = (x, y, log_det) if self._cache_size else None
        return y

    def _inverse(self, y: Tensor) -> Tensor:
        x, log_det = self._run(self.bijection.inverse, y, self.output_shape)
        self._last = (x, y, -log_det) if self._cache_size else None
        return x

    def _run(
        self, direction: Callable[..., tuple[Tensor, Tensor]], x: Tensor, event_shape: Shape
    ) -> tuple[Tensor, Tensor]:
        batch = _batch_shape(tuple(x.shape), event_shape)
        context = self.context
        if context is not None:
            context = context.expand(*batch, context.shape[-1]).reshape(math.prod(batch), -1)
        y, log_det = direction(x.reshape(math.prod(batch), *event_shape), context)
        return y.reshape(*batch, *y.shape[1:]), log_det.reshape(batch)


def _batch_shape(shape: Shape, event_shape: Shape) -> Shape:
    split = len(shape) - len(event_shape)
    if split < 0 or tuple(shape[split:]) != event_shape:
        raise ValueError(f"the last axes must have the event shape {event_shape}, got shape {tuple(shape)}")
    return tuple(shape[:split])
