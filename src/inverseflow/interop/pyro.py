"""Flows as distributions in `Pyro <https://pyro.ai>`_, and Pyro's conditional transforms as bijections.

Pyro's other transforms and its distributions are those of `torch.distributions`; see `inverseflow.interop.torch`.
"""

from torch import Tensor
from torch.distributions import Transform

from inverseflow.bijections import Bijection
from inverseflow.densities import Density, DensityDistribution
from inverseflow.interop._foreign import check_kind
from inverseflow.interop.torch import TransformBijection
from inverseflow.utils.arguments import whole_number
from inverseflow.utils.packages import packages_for

with packages_for("inverseflow.interop.pyro"):
    from pyro.distributions import ConditionalTransform
    from pyro.distributions.torch_distribution import TorchDistributionMixin


def from_density(density: Density, context: Tensor | None = None) -> "PyroDistribution":
    """Return a density as a distribution of Pyro, for `pyro.sample` in a model or a guide.

    Register the parameters with ``pyro.module(name, density)``. A guide needs a density whose samples have gradients,
    such as a flow of continuous data.

    Args:
        density: the density.
        context: None, one context ``(K,)``, or contexts ``(*batch_shape, K)``; under a plate of size N ``(N, K)``.

    Raises:
        TypeError: if the density is none, or the context neither None nor a tensor.
        ValueError: if a context holds nan.

    Example:
        >>> import pyro
        >>> flow = Flow(ActNorm(2), (2,))
        >>> def guide():
        ...     pyro.module("flow", flow)
        ...     with pyro.plate("data", 5):
        ...         return pyro.sample("z", from_density(flow))
        >>> guide().shape
        torch.Size([5, 2])
    """
    check_kind("density", density, Density)
    return PyroDistribution(density, context)


def as_bijection(transform: ConditionalTransform, *, context_channels: int) -> Bijection:
    """Return a conditional transform of Pyro as a bijection whose `forward` is the call of the transform.

    Pyro's distributions run from latent to data: pass ``transform.inv`` to get their density.

    Args:
        transform: the transform; its parameters are shared.
        context_channels: length of the context.

    Raises:
        TypeError: if it is no conditional transform.
        ValueError: if it does not take the events or the context that reach it.

    Example:
        >>> from pyro.distributions.transforms import conditional_spline
        >>> layer = as_bijection(conditional_spline(3, context_dim=2).inv, context_channels=2)
        >>> Flow(layer, (3,)).sample(4, torch.zeros(1, 2)).shape
        torch.Size([4, 3])
    """
    return PyroBijection(transform, ConditionalTransform, whole_number("context_channels", context_channels))


class PyroDistribution(DensityDistribution, TorchDistributionMixin):
    """A density with a fixed context, as a distribution of Pyro; see `DensityDistribution`."""


class PyroBijection(TransformBijection):
    """A conditional transform of Pyro as a bijection."""

    @staticmethod
    def given(transform: ConditionalTransform, context: Tensor | None) -> Transform:
        """Return the transform for a context."""
        return transform.condition(context)
