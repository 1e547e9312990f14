"""Flows of vectors made of couplings."""

from collections.abc import Callable, Sequence
from functools import partial

from typing_extensions import Unpack

from inverseflow.bijections import Affine, Bijection, Coupling, ElementwiseMap, Halves, RationalQuadratic
from inverseflow.densities import register
from inverseflow.flows.vector.flow import VectorFlow, VectorKwargs, VectorOptions
from inverseflow.nets import MLP


@register("nsf")
class NSF(VectorFlow):
    """Neural spline flow of couplings: rational-quadratic splines of one half of the columns given the other.

    Args:
        event_shape: the shape ``(D,)`` of a vector of at least 2 columns.
        spline_bins: bins of each spline.
        spline_bound: half the interval of each spline, in deviations of the data if standardized. Outside, splines are
            the identity.
        options: `VectorFlow` explains ``steps``, ``width``, ``depth``, ``context_channels``, ``standardize`` and
            ``integer_columns``.

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
        **options: Unpack[VectorKwargs],
    ) -> None:
        super().__init__(event_shape, _coupling(RationalQuadratic(spline_bins, spline_bound)), **options)


@register("realnvp")
class RealNVP(VectorFlow):
    """Flow of affine couplings, which scale and shift one half of the columns given the other.

    The arguments and errors of `NSF` apply, but there is no spline.

    Reference:
        Dinh et al., `RealNVP <https://arxiv.org/abs/1605.08803>`_, 2017, section 3.

    Example:
        >>> RealNVP((2,), steps=8).sample(5).shape
        torch.Size([5, 2])
    """

    def __init__(self, event_shape: Sequence[int], **options: Unpack[VectorKwargs]) -> None:
        super().__init__(event_shape, _coupling(Affine()), **options)


def _coupling(map: ElementwiseMap) -> Callable[[int, int, VectorOptions], Bijection]:
    """Return the builder of couplings that take turns in transforming either half of the columns."""

    def build(channels: int, index: int, options: VectorOptions) -> Bijection:
        net = partial(MLP, width=options.width, depth=options.depth)
        split = Halves(swap=index % 2 == 1)
        return Coupling(channels, net, map=map, split=split, context_channels=options.context_channels)

    return build
