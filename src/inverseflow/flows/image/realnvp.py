"""The multi-scale flow of images made of masked couplings."""

from functools import partial
from types import MappingProxyType
from typing import Any, Literal, get_args

from inverseflow.bijections import (
    ActNorm,
    BatchNorm,
    Bijection,
    Checkerboard,
    Coupling,
    Halves,
    Multiscale,
    Shape,
    Split,
    Squeeze,
)
from inverseflow.densities import register
from inverseflow.flows.flow import Flow
from inverseflow.flows.image.options import Preprocessing
from inverseflow.flows.image.step import Step, image_preprocessing, image_scale, image_shape, seen_context
from inverseflow.nets import ResNet
from inverseflow.nets.conditioner import Builder
from inverseflow.utils.arguments import one_of, whole_number

NormName = Literal["actnorm", "batchnorm"]


@register("realnvp-image")
class ImageRealNVP(Flow):
    """RealNVP of images, sequences and volumes: affine couplings of the colors of a checkerboard, then of channels.

    Each scale but the last is K couplings on a checkerboard, a squeeze, and K couplings of channels; then half of the
    channels are factored out. The last scale is K + 1 couplings on a checkerboard. The parts of a coupling change
    places from one to the next, behind each stands a normalization, and its network is a `ResNet`. `RealNVP` is the
    form for vectors.

    Args:
        event_shape: the shape ``(C, H, W)`` of an image, ``(C, T)`` of a sequence or ``(C, D, H, W)`` of a volume; each
            side is a multiple of :math:`2^{L-1}`.
        levels: number of gray levels of integer images, None for continuous data.
        scales: number of scales L.
        steps: number of couplings K of each kind in a scale.
        width: hidden channels of the networks.
        depth: residual blocks of the networks.
        norm: ``"actnorm"``, set once from data, or ``"batchnorm"`` as published: then `log_prob` in training depends on
            the batch, which must hold two events, and the flow is invertible after ``eval()``.
        preprocessing: ``"logit"``, or ``"center"`` to [-1, 1); continuous data are taken as they are.
        alpha: the squash before the logit.
        context_channels: channels of the context, None for an unconditional flow; see `ImageFlow`. The networks of all
            couplings see it.

    Raises:
        ValueError: if the shape can't be squeezed that often, or an argument is out of its range.

    Reference:
        Dinh et al., `RealNVP <https://arxiv.org/abs/1605.08803>`_, 2017, sections 3.4 to 3.7.

    Example:
        >>> flow = ImageRealNVP((1, 8, 8), levels=17, width=8, depth=1)
        >>> images = torch.randint(17, (4, 1, 8, 8), dtype=torch.uint8)
        >>> flow.initialize(images)
        >>> torch.equal(flow.decode(flow.encode(images)), images)
        True
    """

    paper_options = MappingProxyType[str, Any]({"norm": "batchnorm"})

    def __init__(
        self,
        event_shape: Shape,
        *,
        levels: int | None = 256,
        scales: int = 2,
        steps: int = 3,
        width: int = 32,
        depth: int = 2,
        norm: NormName = "actnorm",
        preprocessing: Preprocessing = "logit",
        alpha: float = 0.05,
        context_channels: int | None = None,
    ) -> None:
        shape = image_shape(event_shape, scales, steps)
        if context_channels is not None:
            whole_number("context_channels", context_channels, at_least=1)
        one_of("norm", norm, get_args(NormName))
        axes = len(shape) - 1
        net = partial(ResNet, width=width, depth=depth, spatial_axes=axes)
        couple = partial(_couple, net=net, norm=norm, context_channels=seen_context(context_channels))
        built: list[Bijection] = []
        for scale in range(scales):
            last = scale == scales - 1
            layers = [couple(Checkerboard(index % 2), shape) for index in range(steps + last)]
            if not last:
                squeeze = Squeeze(spatial_axes=axes)
                folded = squeeze.output_shape(shape)
                layers += [squeeze, *(couple(Halves(swap=index % 2 == 1), folded) for index in range(steps))]
            built.append(image_scale(layers, context_channels, shape[1:]))
            shape = built[-1].output_shape(shape)
            shape = (shape[0] // 2, *shape[1:])
        prepared = image_preprocessing(preprocessing, alpha, levels)
        super().__init__(Multiscale(built, event_shape), event_shape, levels=levels, preprocessing=prepared)


def _couple(split: Split, shape: Shape, *, net: Builder, norm: NormName, context_channels: int | None) -> Bijection:
    """Build a coupling and the normalization behind it."""
    coupling = Coupling(shape[0], net, split=split, context_channels=context_channels)
    return Step(coupling, ActNorm(shape[0]) if norm == "actnorm" else BatchNorm(shape[0]))
