"""Flows of vectors made of couplings."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, get_args

from typing_extensions import Unpack

from inverseflow.bijections import (
    Affine,
    Bijection,
    Channels,
    Coupling,
    ElementwiseMap,
    Halves,
    RationalQuadratic,
    Split,
)
from inverseflow.densities import register
from inverseflow.flows.vector.flow import VectorFlow, VectorKwargs, VectorOptions
from inverseflow.nets import MLP
from inverseflow.utils.arguments import one_of

MaskName = Literal["halves", "alternating"]


@register("nsf")
class NSF(VectorFlow):
    """Neural spline flow of couplings: rational-quadratic splines of one half of the columns given the other.

    Args:
        event_shape: the shape ``(D,)`` of a vector of at least 2 columns.
        spline_bins: bins of each spline.
        spline_bound: half the interval of each spline, in deviations of the data if standardized. Outside, splines are
            the identity.
        spline_gain: factor of the parameters of each spline. A higher one learns sharp densities of much data in fewer
            steps, a lower one overfits little data later.
        mask: which columns condition: ``"halves"``, the first or the last half, or ``"alternating"``, every other
            column. They change places from step to step.
        options: `VectorFlow` explains ``steps``, ``width``, ``depth``, ``context_channels``, ``standardize``,
            ``integer_columns`` and ``linear``.

    Raises:
        ValueError: if the event is no vector of at least 2 columns, or an argument is out of its range.

    Reference:
        Durkan et al., `Neural Spline Flows <https://arxiv.org/abs/1906.04032>`_, 2019, section 3, in its coupling form.

    Example:
        >>> flow, x = NSF((3,), steps=2, context_channels=1), torch.randn(100, 3) * torch.tensor([1e-6, 1.0, 1e9])
        >>> context = torch.rand(100, 1)
        >>> flow.initialize(x, context)
        >>> flow.log_prob(x, context).shape, flow.sample(5, context[0]).shape
        (torch.Size([100]), torch.Size([5, 3]))
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        spline_bins: int = 8,
        spline_bound: float = 5.0,
        spline_gain: float = 2.0,
        mask: MaskName = "halves",
        **options: Unpack[VectorKwargs],
    ) -> None:
        spline = RationalQuadratic(spline_bins, spline_bound, spline_gain)
        super().__init__(event_shape, alternating(spline, mask), **options)


@register("realnvp")
class RealNVP(VectorFlow):
    """Flow of affine couplings, which scale and shift one half of the columns given the other.

    The arguments and errors of `NSF` apply, but there is no spline, and by default the networks do not start at zero,
    from where scales and shifts learn slowly at first. `ImageRealNVP` is its form for images.

    Reference:
        Dinh et al., `RealNVP <https://arxiv.org/abs/1605.08803>`_, 2017, section 3.

    Example:
        >>> RealNVP((2,), steps=8).sample(5).shape
        torch.Size([5, 2])
    """

    def __init__(
        self, event_shape: Sequence[int], *, mask: MaskName = "halves", **options: Unpack[VectorKwargs]
    ) -> None:
        given: VectorKwargs = {"zero_start": False, **options}
        super().__init__(event_shape, alternating(Affine(), mask), **given)


def alternating(map: ElementwiseMap, mask: MaskName) -> Callable[[int, int, VectorOptions], Bijection]:
    """Return the builder of couplings that take turns in transforming either part of the columns."""
    one_of("mask", mask, get_args(MaskName))

    def build(channels: int, index: int, options: VectorOptions) -> Bijection:
        if channels < 2:
            raise ValueError(
                f"couplings need at least 2 columns, got {channels}; use an elementwise or autoregressive flow (maf, "
                "nsf-ar, rosenblatt)"
            )
        net = partial(MLP, width=options.width, depth=options.depth, zero_start=options.zero_start)
        swap = index % 2
        split: Split = Halves(swap=swap == 1) if mask == "halves" else Channels(range(swap, channels, 2))
        return Coupling(channels, net, map=map, split=split, context_channels=options.context_channels)

    return build
