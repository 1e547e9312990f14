"""Residual flow of vectors."""

from collections.abc import Sequence
from functools import partial

from typing_extensions import Unpack

from inverseflow.bijections import ActNorm, Bijection, Compose, Residual
from inverseflow.bijections.residual import ResidualLogDet
from inverseflow.densities import register
from inverseflow.flows.vector.flow import VectorFlow, VectorKwargs, VectorOptions
from inverseflow.nets import LipschitzNet


@register("iresnet")
class IResNet(VectorFlow):
    """Invertible residual network: each step adds a contraction of all columns to them, behind an `ActNorm`.

    No column is copied and none comes first. One column is enough. Sampling iterates each step to its fixed point. The
    likelihood of up to 64 columns is exact, that of more is an estimate; see `Residual`.

    Args:
        event_shape: the shape ``(D,)`` of a vector.
        max_lipschitz: bound of the Lipschitz constant of each step's network, below 1. The closer to 1, the more a step
            can do, and the more iterations and terms of a series it takes.
        log_det: how the log-determinant is computed in training: ``"auto"``, ``"exact"``, ``"series"`` or
            ``"roulette"``; see `Residual`.
        options: as for `MAF`, but with 10 ``steps``.

    Raises:
        ValueError: if the event is no vector, or an argument is out of its range.

    Reference:
        Behrmann et al., `Invertible Residual Networks <https://arxiv.org/abs/1811.00995>`_, 2019; Chen et al.,
        `Residual Flows <https://arxiv.org/abs/1906.02735>`_, 2019, for the activation and the unbiased estimate.

    Example:
        >>> flow, x, context = IResNet((3,), steps=2, context_channels=1), torch.randn(100, 3), torch.rand(100, 1)
        >>> flow.initialize(x, context)
        >>> flow.log_prob(x, context).shape, flow.sample(5, context[0]).shape
        (torch.Size([100]), torch.Size([5, 3]))
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        max_lipschitz: float = 0.9,
        log_det: ResidualLogDet = "auto",
        **options: Unpack[VectorKwargs],
    ) -> None:
        def build(channels: int, index: int, options: VectorOptions) -> Bijection:
            net = partial(LipschitzNet, width=options.width, depth=options.depth, max_lipschitz=max_lipschitz)
            residual = Residual(channels, net, log_det=log_det, context_channels=options.context_channels)
            return Compose(ActNorm(channels), residual)

        given: VectorKwargs = {"steps": 10, **options}
        super().__init__(event_shape, build, mixing=False, **given)
