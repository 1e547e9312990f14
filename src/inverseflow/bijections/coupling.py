"""Coupling layers: split × elementwise map × conditioner."""

import warnings
from collections.abc import Callable, Iterator
from functools import partial

from torch import Tensor, nn

from inverseflow.bijections.actnorm import ActNorm
from inverseflow.bijections.base import Bijection, LogDet, Shape
from inverseflow.bijections.batchnorm import BatchNorm
from inverseflow.bijections.combinators import Chain
from inverseflow.bijections.events import sum_event
from inverseflow.bijections.maps import Additive, Affine, ElementwiseMap, as_map
from inverseflow.bijections.multiscale import Multiscale
from inverseflow.bijections.splits import Halves, Split
from inverseflow.nets import ZeroConv
from inverseflow.nets.conditioner import Builder, build_network, call_network, takes_context
from inverseflow.utils.arguments import whole_number


class Coupling(Bijection):
    r"""Copy some elements, and map each of the others by a monotone map whose parameters depend on the copied ones.

    .. math:: z_a = x_a, \qquad z_b = \phi(x_b;\, \theta(x_a, c)), \qquad \log|\det| = \sum \log \phi'(x_b)

    Args:
        channels: number of channels C.
        conditioner: the network θ, or a builder of it: a function of the numbers of channels that it takes and
            returns, such as ``partial(ConvNet, width=64)``. The output holds the first parameter of all
            channels, then the second, and so on. The context follows the input channels and is counted with them;
            a network whose ``forward`` has an argument ``context`` gets it there instead, and a builder with an
            argument ``context_channels`` is told its number.
        map: the map φ of every element; None for `Affine()`.
        split: which elements are copied: `Halves`, `Channels`, `Checkerboard` or `Mask`; None for `Halves()`.
        context_channels: channels of the context c, None for an unconditional layer.

    Shape:
        x: ``(B, C, *spatial)``; z: the same; context: ``(B, K)`` or ``(B, K, *spatial)``.

    Raises:
        TypeError: if the conditioner, the map or the split is of another type.
        ValueError: if the split leaves nothing to condition on or to transform, or the network's output has another
            shape.

    Reference:
        Dinh et al., RealNVP, 2017, section 3.2, https://arxiv.org/abs/1605.08803; with splines: Durkan et al., Neural
        Spline Flows, 2019, section 3.3, https://arxiv.org/abs/1906.04032.

    Example:
        >>> net = partial(ResNet, width=16)
        >>> layer = Coupling(3, net, map=RationalQuadratic(bins=4), split=Checkerboard(), context_channels=2)
        >>> z, log_det = layer(torch.randn(2, 3, 8, 8), torch.randn(2, 2))
    """

    def __init__(
        self,
        channels: int,
        conditioner: nn.Module | Builder,
        *,
        map: ElementwiseMap | None = None,
        split: Split | None = None,
        context_channels: int | None = None,
    ) -> None:
        channels = whole_number("channels", channels, at_least=1)
        super().__init__(channels=channels, context_channels=context_channels)
        self.map = as_map(map)
        split = Halves() if split is None else split
        if not isinstance(split, Split):
            raise TypeError(f"split must be an instance of Split, got {split!r}")
        seen, predicted = split.bind(channels)
        self.net = build_network(conditioner, seen, self.map.num_parameters * predicted, self.context_channels)
        self.split, self._predicted = split, predicted
        self._context_apart = self.context_channels is not None and takes_context(self.net)

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return self._apply_map(self.map.forward, x, context)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return self._apply_map(self.map.inverse, z, context)

    def _apply_map(
        self, direction: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], x: Tensor, context: Tensor | None
    ) -> tuple[Tensor, LogDet]:
        seen, changed = self.split.take(x)
        parameters = self.split.select(self._predict(seen, changed, context))
        changed, log_derivative = direction(changed, parameters)
        return self.split.put(x, changed), sum_event(log_derivative)

    def _predict(self, seen: Tensor, changed: Tensor, context: Tensor | None) -> Tensor:
        context = None if self.context_channels is None else context
        prediction = call_network(self.net, seen, context, context_apart=self._context_apart)
        expected = (seen.shape[0], self.map.num_parameters * self._predicted, *seen.shape[2:])
        if prediction.shape != expected:
            raise ValueError(
                f"the network of a coupling that changes {tuple(changed.shape)} must return {expected}, "
                f"got {tuple(prediction.shape)}"
            )
        sizes = self.map.num_parameters, self._predicted
        return prediction.to(changed.dtype).view(prediction.shape[0], *sizes, *prediction.shape[2:])

    def _check_shape(self, shape: Shape) -> None:
        super()._check_shape(shape)
        self.split.check_shape(shape)


class _CouplingOfHalves(Coupling):
    """Base class of couplings with a fixed map."""

    def __init__(
        self,
        channels: int,
        net: nn.Module | Builder,
        map: ElementwiseMap,
        num_conditioning: int | None,
        swap: bool,
        context_channels: int | None,
    ) -> None:
        split = Halves(num_conditioning, swap=swap)
        super().__init__(channels, net, map=map, split=split, context_channels=context_channels)
        self.num_conditioning, _ = split.bind(channels)
        self.swap = swap


class AffineCoupling(_CouplingOfHalves):
    r"""Scale and shift some of the channels by functions of the others: `Coupling` with `Affine` and `Halves`.

    .. math:: z_b = x_b \odot \exp(s(x_a)) + t(x_a), \qquad z_a = x_a, \qquad \log|\det| = \sum s

    with :math:`s = m \tanh(r / m)` for the network's raw scale r and the bound m, so that every scale lies in
    :math:`[e^{-m}, e^m]`.

    Args:
        channels: number of channels C, at least 2.
        net: any network, or a builder of it; see `Coupling`. It takes the conditioning channels, followed by the
            context, and returns two channels for each other channel: all raw scales, then all shifts.
        num_conditioning: number of channels that are copied and condition the others; None for C // 2. They are the
            first channels, with `swap` the last.
        swap: condition on the last channels and transform the first.
        context_channels: channels of the context, None for an unconditional layer.
        max_log_scale: the bound m, positive and finite.

    Shape:
        x: ``(B, C, *spatial)``; z: the same; context: ``(B, K)`` or ``(B, K, *spatial)``.

    Raises:
        ValueError: if the network's output has another shape.

    Reference:
        Dinh et al., RealNVP, 2017, section 3.2, https://arxiv.org/abs/1605.08803.

    Example:
        >>> z, log_det = AffineCoupling(6, ConvNet(3, 6, width=16))(torch.randn(2, 6, 8, 8))
    """

    def __init__(
        self,
        channels: int,
        net: nn.Module | Builder,
        *,
        num_conditioning: int | None = None,
        swap: bool = False,
        context_channels: int | None = None,
        max_log_scale: float = 2.0,
    ) -> None:
        map = Affine(max_log_scale)
        super().__init__(channels, net, map, num_conditioning, swap, context_channels)
        self.max_log_scale = map.max_log_scale


class AdditiveCoupling(_CouplingOfHalves):
    r"""Shift some of the channels by functions of the others: `Coupling` with `Additive` and `Halves`.

    .. math:: z_b = x_b + t(x_a), \qquad z_a = x_a, \qquad \log|\det| = 0

    The arguments, shapes and errors of `AffineCoupling` apply, but there is no scale to bound, and the network returns
    one shift for each other channel.

    Reference:
        Dinh et al., NICE, 2015, section 3.2, https://arxiv.org/abs/1410.8516.

    Example:
        >>> z, log_det = AdditiveCoupling(4, MLP(2, 2, width=16))(torch.randn(3, 4))
    """

    def __init__(
        self,
        channels: int,
        net: nn.Module | Builder,
        *,
        num_conditioning: int | None = None,
        swap: bool = False,
        context_channels: int | None = None,
    ) -> None:
        super().__init__(channels, net, Additive(), num_conditioning, swap, context_channels)


class TwoBranch(Chain):
    r"""Two couplings that change two branches of the channels in turn, each given the other.

    .. math:: h' = h + \phi(s), \qquad s' = \psi(s;\, \theta(h')), \qquad \log|\det| = \sum \log \psi'(s)

    with h the first channels and s the others. A step of the networks that hide one image in another, or part an image
    from its noise. With ``map=Additive()`` and ``swap=True`` it is a lifting step of a learned wavelet transform:
    :math:`d' = d + P(c)`, then :math:`c' = c + U(d')` for the coarse channels c and the detail d.

    Args:
        channels: number of channels C, at least 2.
        build_net: builder of the networks, as in `Coupling`; called for each of the two.
        num_first: number of channels of the first branch h; None for C // 2.
        map: the map ψ of the second branch to be changed; None for `Affine()`.
        swap: change s first, by an addition, and then h, by the map.
        context_channels: channels of the context, None for an unconditional layer.

    Shape:
        x: ``(B, C, *spatial)``; z: the same; context: ``(B, K)`` or ``(B, K, *spatial)``.

    Reference:
        Lu et al., Large-capacity image steganography based on invertible neural networks, 2021, section 3,
        https://doi.org/10.1109/CVPR46437.2021.01067; lifting: Sweldens, The lifting scheme, 1998,
        https://doi.org/10.1137/S0036141095289051.

    Example:
        >>> layer = Compose(WaveletSqueeze(), TwoBranch(12, partial(ConvNet, width=8), num_first=3))
        >>> z, log_det = layer(torch.randn(2, 3, 8, 8))
    """

    def __init__(
        self,
        channels: int,
        build_net: Builder,
        *,
        num_first: int | None = None,
        map: ElementwiseMap | None = None,
        swap: bool = False,
        context_channels: int | None = None,
    ) -> None:
        channels = whole_number("channels", channels, at_least=2)
        first = channels // 2 if num_first is None else num_first
        first = whole_number("num_first", first, at_least=1, at_most=channels - 1)
        if isinstance(build_net, nn.Module):
            raise TypeError(f"build_net must be a builder of two networks, got the network {type(build_net).__name__}")
        shift = Halves(first if swap else channels - first, swap=not swap)
        rest = Halves(channels - first if swap else first, swap=swap)
        super().__init__(
            Coupling(channels, build_net, map=Additive(), split=shift, context_channels=context_channels),
            Coupling(channels, build_net, map=map, split=rest, context_channels=context_channels),
            channels=channels,
        )
        self.context_channels = self.layers[0].context_channels
        self.num_first, self.swap = first, swap


class SplitPrior(_CouplingOfHalves):
    r"""Learned normal prior, as a bijection, of the half that `Multiscale` factors out, given the other half.

    .. math:: z_b = x_b \odot \exp(s(x_a)) + t(x_a), \qquad z_a = x_a

    with s and t one zero-initialized convolution of side 3: a standard normal on :math:`z_b` is a normal with learned
    mean and deviation on :math:`x_b`. Put it last in a scale of `Multiscale`.

    Args:
        channels: number of channels C before the split, at least 2.
        spatial_axes: number of spatial axes, from 1 to 3.
        context_channels: channels of the context, None for an unconditional layer.

    Shape:
        x: ``(B, C, *spatial)``; z: the same.

    Reference:
        Kingma and Dhariwal, Glow, 2018, section 3.4 and its public code (the learned prior of a split),
        https://arxiv.org/abs/1807.03039.

    Example:
        >>> z, log_det = SplitPrior(12)(torch.randn(2, 12, 4, 4))
    """

    def __init__(self, channels: int, *, spatial_axes: int = 2, context_channels: int | None = None) -> None:
        net = partial(ZeroConv, spatial_axes=spatial_axes)
        super().__init__(channels, net, Affine(), None, False, context_channels)
        self.spatial_axes = whole_number("spatial_axes", spatial_axes)


def warn_about_idle_elements(bijection: Bijection) -> None:
    """Warn if two couplings in a row transform the same elements, so that the others stay as they are."""
    previous: Coupling | None = None
    for layer in _flat(bijection):
        if isinstance(layer, Coupling) and not isinstance(layer, SplitPrior):
            if previous is not None and layer.split.same_as(previous.split):
                warnings.warn(
                    f"two couplings in a row transform the same elements, by {layer.split!r}, and the others stay as "
                    "they are; swap the parts of every other coupling, or put a layer that mixes between them",
                    stacklevel=3,
                )
                return
            previous = layer
        elif not isinstance(layer, (ActNorm, BatchNorm)):
            previous = None


def _flat(bijection: Bijection) -> Iterator[Bijection]:
    """Yield the layers of nested chains and of all scales one after the other."""
    if isinstance(bijection, (Chain, Multiscale)):
        for layer in bijection.layers if isinstance(bijection, Chain) else bijection.scales:
            yield from _flat(layer)
    else:
        yield bijection
