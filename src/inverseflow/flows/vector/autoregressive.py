"""Flows of vectors made of autoregressive layers."""

from collections.abc import Callable, Sequence
from functools import partial

from typing_extensions import Unpack

from inverseflow.bijections import Affine, Autoregressive, Bijection, ElementwiseMap, Inverse, RationalQuadratic
from inverseflow.densities import register
from inverseflow.flows.vector.flow import VectorFlow, VectorKwargs, VectorOptions
from inverseflow.nets import MaskedMLP
from inverseflow.nets.masked import NamedOrder


@register("maf")
class MAF(VectorFlow):
    """Masked autoregressive flow: each column is scaled and shifted given those before it; steps alternate the order.

    `log_prob` evaluates the network of each step once. Sampling computes one column after another, at the price of one
    evaluation for all. One column is enough.

    Args:
        event_shape: the shape ``(D,)`` of a vector.
        options: `VectorFlow` explains ``steps``, ``width``, ``depth``, ``context_channels``, ``standardize`` and
            ``integer_columns``. ``zero_start`` is False by default. With a width below D - 1, columns miss some of
            those before them.

    Raises:
        ValueError: if the event is no vector, or an argument is out of its range.

    Reference:
        Papamakarios et al., `Masked Autoregressive Flow <https://arxiv.org/abs/1705.07057>`_, 2017, section 3.

    Example:
        >>> flow, x, context = MAF((3,), steps=2, context_channels=1), torch.randn(100, 3), torch.rand(100, 1)
        >>> flow.initialize(x, context)
        >>> flow.log_prob(x, context).shape, flow.sample(5, context[0]).shape
        (torch.Size([100]), torch.Size([5, 3]))
    """

    def __init__(self, event_shape: Sequence[int], **options: Unpack[VectorKwargs]) -> None:
        given: VectorKwargs = {"zero_start": False, **options}
        super().__init__(event_shape, alternating(Affine()), mixing=False, **given)


@register("iaf")
class IAF(VectorFlow):
    """Inverse autoregressive flow: `MAF` with the two directions of each step swapped.

    Sampling, and the log density of samples, evaluate the network of each step once; that suits variational inference.
    The log density of given data computes one column after another, and its gradient takes up to D more evaluations:
    to fit data by maximum likelihood, take `MAF`. The arguments and errors of `MAF` apply.

    Reference:
        Kingma et al., `Inverse Autoregressive Flow <https://arxiv.org/abs/1606.04934>`_, 2016, section 4.

    Example:
        >>> x, log_prob = IAF((3,), steps=2).sample_with_log_prob(5)
        >>> x.shape, log_prob.shape
        (torch.Size([5, 3]), torch.Size([5]))
    """

    def __init__(self, event_shape: Sequence[int], **options: Unpack[VectorKwargs]) -> None:
        layer = alternating(Affine())
        super().__init__(event_shape, lambda *arguments: Inverse(layer(*arguments)), mixing=False, **options)


@register("nsf-ar")
class AutoregressiveNSF(VectorFlow):
    """Neural spline flow in its autoregressive form: `MAF` with rational-quadratic splines.

    Args:
        event_shape: the shape ``(D,)`` of a vector.
        spline_bins: bins of each spline.
        spline_bound: half the interval of each spline, in deviations of the data if standardized. Outside, splines are
            the identity.
        spline_gain: factor of the parameters of each spline. A higher one learns sharp densities of much data in fewer
            steps, a lower one overfits little data later.
        options: as for `MAF`.

    Raises:
        ValueError: if the event is no vector, or an argument is out of its range.

    Reference:
        Durkan et al., `Neural Spline Flows <https://arxiv.org/abs/1906.04032>`_, 2019, section 3, in its autoregressive
        form.

    Example:
        >>> AutoregressiveNSF((3,), steps=2, spline_bins=4).sample(5).shape
        torch.Size([5, 3])
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        spline_bins: int = 8,
        spline_bound: float = 5.0,
        spline_gain: float = 2.0,
        **options: Unpack[VectorKwargs],
    ) -> None:
        spline = RationalQuadratic(spline_bins, spline_bound, spline_gain)
        super().__init__(event_shape, alternating(spline), mixing=False, **options)


def alternating(map: ElementwiseMap) -> Callable[[int, int, VectorOptions], Bijection]:
    """Return the builder of autoregressive layers in the natural and the reversed order by turns."""

    def build(channels: int, index: int, options: VectorOptions) -> Bijection:
        net = partial(MaskedMLP, width=options.width, depth=options.depth, zero_start=options.zero_start)
        order: NamedOrder = "reversed" if index % 2 else "natural"
        return Autoregressive(channels, net, map=map, order=order, context_channels=options.context_channels)

    return build
