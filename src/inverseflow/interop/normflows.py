"""Flows of `normflows <https://vincentstimper.github.io/normalizing-flows>`_, both ways.

In normflows a flow runs forward from latent to data, here from data to latent: both functions swap the directions.
"""

from torch import Tensor

from inverseflow.bijections import Bijection, Compose
from inverseflow.bijections.base import LogDet
from inverseflow.interop._foreign import Foreign, check_kind
from inverseflow.utils.packages import packages_for

with packages_for("inverseflow.interop.normflows"):
    import normflows
    from normflows import NormalizingFlow
    from normflows.flows import Flow


def as_bijection(
    flow: "normflows.flows.Flow | normflows.NormalizingFlow", *, context_channels: int | None = None
) -> Bijection:
    """Return a flow of normflows as a bijection from data to latent.

    Args:
        flow: one of its layers, or a model, of which all layers are taken but not the base. Parameters are shared.
        context_channels: length of the context, None for an unconditional flow.

    Raises:
        TypeError: if it is no flow of normflows.
        ValueError: if it does not take the events or the context that reach it.

    Example:
        >>> from normflows.flows import AutoregressiveRationalQuadraticSpline
        >>> layer = as_bijection(AutoregressiveRationalQuadraticSpline(3, 1, 16))
        >>> layer(torch.zeros(4, 3))[1].shape
        torch.Size([4])
    """
    if isinstance(flow, NormalizingFlow):
        return Compose(*(as_bijection(layer, context_channels=context_channels) for layer in reversed(flow.flows)))
    return NormflowsBijection(flow, Flow, context_channels)


def from_bijection(bijection: Bijection) -> Flow:
    """Return a bijection as a flow of normflows, from latent to data.

    Args:
        bijection: the bijection; its parameters are shared.

    Example:
        >>> import normflows
        >>> model = normflows.NormalizingFlow(normflows.distributions.DiagGaussian(3), [from_bijection(ActNorm(3))])
        >>> model.log_prob(torch.zeros(4, 3)).shape
        torch.Size([4])
    """
    check_kind("bijection", bijection, Bijection)
    return _BijectionFlow(bijection)


class NormflowsBijection(Foreign):
    """A flow of normflows, run backwards, as a bijection."""

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return self.transform.inverse(x) if context is None else self.transform.inverse(x, context=context)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return self.transform(z) if context is None else self.transform(z, context=context)


class _BijectionFlow(Flow):
    def __init__(self, bijection: Bijection) -> None:
        super().__init__()
        self.bijection = bijection

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.bijection.inverse(z, context)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.bijection(z, context)
