"""Transforms and flows of `zuko <https://zuko.readthedocs.io>`_, both ways."""

from torch import Tensor
from torch.distributions import Distribution, Transform

from inverseflow.bijections import Bijection, BijectionTransform, Shape
from inverseflow.densities import Density
from inverseflow.interop._foreign import check_kind
from inverseflow.interop.torch import DistributionDensity, TransformBijection
from inverseflow.utils.arguments import whole_shape
from inverseflow.utils.packages import packages_for

with packages_for("inverseflow.interop.zuko"):
    import zuko


def as_bijection(transform: "zuko.lazy.LazyTransform", *, context_channels: int | None = None) -> Bijection:
    """Return a lazy transform of zuko as a bijection with the same direction: both run forward from data to latent.

    Args:
        transform: the transform, such as the attribute `transform` of a flow of zuko. Its parameters are shared.
        context_channels: length of the context, None for an unconditional transform.

    Raises:
        TypeError: if it is no lazy transform.
        ValueError: if it does not take the events or the context that reach it.

    Example:
        >>> flow = zuko.flows.NSF(features=3, context=2, transforms=2)
        >>> bijection = as_bijection(flow.transform, context_channels=2)
        >>> Flow(bijection, (3,)).sample(4, torch.zeros(1, 2)).shape
        torch.Size([4, 3])
    """
    return ZukoBijection(transform, zuko.lazy.LazyTransform, context_channels)


def as_density(flow: "zuko.lazy.LazyDistribution", *, context_channels: int | None = None) -> Density:
    """Return a lazy distribution of zuko, such as a flow, as a density.

    Args:
        flow: the distribution; its parameters are shared.
        context_channels: length of the context, None for an unconditional distribution.

    Raises:
        TypeError: if it is no lazy distribution.
        ValueError: if it does not take such a context, or an event is a scalar.

    Example:
        >>> density = as_density(zuko.flows.NSF(features=3, context=2, transforms=2), context_channels=2)
        >>> density.log_prob(torch.zeros(4, 3), torch.zeros(4, 2)).shape
        torch.Size([4])
    """
    return ZukoDensity(flow, zuko.lazy.LazyDistribution, context_channels)


def from_bijection(bijection: Bijection, event_shape: Shape) -> "zuko.lazy.LazyTransform":
    """Return a bijection as a lazy transform of zuko with the same direction.

    Args:
        bijection: the bijection; its parameters are shared.
        event_shape: shape ``(C, *spatial)`` of an event.

    Raises:
        ValueError: if the bijection does not take events of this shape.

    Example:
        >>> normal = zuko.lazy.UnconditionalDistribution(zuko.distributions.DiagNormal, torch.zeros(3), torch.ones(3))
        >>> flow = zuko.lazy.Flow([from_bijection(ActNorm(3), (3,))], normal)
        >>> flow().log_prob(torch.zeros(4, 3)).shape
        torch.Size([4])
    """
    return _BijectionLazyTransform(bijection, event_shape)


class ZukoBijection(TransformBijection):
    """A lazy transform of zuko as a bijection."""

    @staticmethod
    def given(transform: "zuko.lazy.LazyTransform", context: Tensor | None) -> Transform:
        """Return what the lazy one makes of a context."""
        return transform(context)


class ZukoDensity(DistributionDensity):
    """A lazy distribution of zuko as a density."""

    @staticmethod
    def given(source: "zuko.lazy.LazyDistribution", context: Tensor | None) -> Distribution:
        """Return what the lazy one makes of a context."""
        return source(context)


class _BijectionLazyTransform(zuko.lazy.LazyTransform):
    def __init__(self, bijection: Bijection, event_shape: Shape) -> None:
        super().__init__()
        check_kind("bijection", bijection, Bijection)
        self.event_shape = whole_shape("event_shape", event_shape)
        bijection.output_shape(self.event_shape)
        self.bijection = bijection

    def forward(self, c: Tensor | None = None) -> Transform:
        return BijectionTransform(self.bijection, self.event_shape, context=c)
