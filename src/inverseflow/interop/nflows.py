"""Transforms of `nflows <https://github.com/bayesiains/nflows>`_, both ways."""

from torch import Tensor

from inverseflow.bijections import Bijection
from inverseflow.bijections.base import LogDet
from inverseflow.interop._foreign import Foreign, check_kind
from inverseflow.utils.packages import packages_for

with packages_for("inverseflow.interop.nflows"):
    from nflows.transforms import Transform


def as_bijection(transform: Transform, *, context_channels: int | None = None) -> Bijection:
    """Return a transform of nflows as a bijection with the same direction: both run forward from data to latent.

    Args:
        transform: the transform; its parameters are shared.
        context_channels: length of the context, None for an unconditional transform.

    Raises:
        TypeError: if it is no transform of nflows.
        ValueError: if it does not take the events or the context that reach it.

    Example:
        >>> from nflows.transforms import MaskedAffineAutoregressiveTransform
        >>> layer = as_bijection(MaskedAffineAutoregressiveTransform(3, 16, context_features=2), context_channels=2)
        >>> Flow(layer, (3,)).sample(4, torch.zeros(1, 2)).shape
        torch.Size([4, 3])
    """
    return NflowsBijection(transform, Transform, context_channels)


def from_bijection(bijection: Bijection) -> Transform:
    """Return a bijection as a transform of nflows with the same direction.

    Args:
        bijection: the bijection; its parameters are shared.

    Example:
        >>> import nflows.distributions, nflows.flows
        >>> flow = nflows.flows.Flow(from_bijection(ActNorm(3)), nflows.distributions.StandardNormal([3]))
        >>> flow.log_prob(torch.zeros(4, 3)).shape
        torch.Size([4])
    """
    check_kind("bijection", bijection, Bijection)
    return _BijectionTransform(bijection)


class NflowsBijection(Foreign):
    """A transform of nflows as a bijection."""

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return self.transform(x, context)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return self.transform.inverse(z, context)


class _BijectionTransform(Transform):
    def __init__(self, bijection: Bijection) -> None:
        super().__init__()
        self.bijection = bijection

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.bijection(inputs, context)

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.bijection.inverse(inputs, context)
