"""The step and the multi-scale architecture that the image flows share."""

from collections.abc import Callable
from functools import partial
from typing import get_args

from torch import Tensor

from inverseflow.bijections import (
    ActNorm,
    AdditiveCoupling,
    Affine,
    AffineCoupling,
    Bijection,
    CheckpointedCompose,
    Compose,
    ComposedMap,
    ContextAffine,
    Conv1x1,
    Coupling,
    Logit,
    LUConv1x1,
    MixtureCDF,
    Multiscale,
    PatchAutoregressive,
    Permute,
    QuadCoupling,
    RationalQuadratic,
    Scale,
    Shape,
    SplineActivation,
    SplitPrior,
    Squeeze,
    VariationalDequantize,
)
from inverseflow.bijections.base import LogDet
from inverseflow.flows.image.layers import build_layer
from inverseflow.flows.image.options import Dequantization, Preprocessing, StepOptions
from inverseflow.nets import CausalTransformer, ContextMaps, ConvNet, GatedResNet, ResNet, ViT
from inverseflow.nets.conditioner import Builder
from inverseflow.utils.arguments import one_of, whole_number, whole_shape

_CONTEXT_MAPS = 16


class Step(CheckpointedCompose):
    """One step of a flow: its layers, whose activations can be recomputed in the backward pass to save memory."""


class ConditionalScale(Compose):
    """The layers of a scale, which see the context with maps of it; see `ContextMaps`."""

    def __init__(self, *layers: Bijection, maps: ContextMaps, context_channels: int) -> None:
        super().__init__(*layers)
        self.maps = maps
        self.context_channels = context_channels

    # The layers see another context than this one, which is checked here.
    _check_forward = Bijection._check_forward
    _check_inverse = Bijection._check_inverse

    def _at_size(self, context: Tensor | None, x: Tensor) -> Tensor | None:
        return context  # the maps average it to their own size, which is neither that of x nor of z in general

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return super()._forward(x, self.maps(context))

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return super()._inverse(z, self.maps(context))


def image_step(options: StepOptions, shape: Shape, index: int) -> Step:
    """Build k×k layer → spline → ActNorm → 1×1 convolution → coupling, each of which may be left out."""
    layer = build_layer(options, shape, index=index)
    # The coupling draws its weights before the 1×1 convolution. Another order would change every seeded flow.
    coupling = _coupling(options, shape, index)
    parts = [layer, _spline(options, shape), ActNorm(shape[0]) if options.actnorm else None, _conv1x1(options, shape)]
    return Step(*(part for part in [*parts, coupling] if part is not None))


def image_multiscale(
    build_step: Callable[[Shape, int], Step],
    event_shape: Shape,
    *,
    scales: int,
    steps: int,
    context_channels: int | None,
) -> Multiscale:
    """Build scales of squeeze, steps and, at every scale but the last, a learned prior of the half that leaves.

    The steps are built of their shape and number, for the `seen_context`.
    """
    shape = image_shape(event_shape, scales, steps)
    built: list[Bijection] = []
    seen = seen_context(context_channels)
    for scale in range(scales):
        squeeze = Squeeze(spatial_axes=len(event_shape) - 1)
        shape = squeeze.output_shape(shape)
        layers = [squeeze, *(build_step(shape, index) for index in range(steps))]
        if scale < scales - 1:
            layers.append(SplitPrior(shape[0], spatial_axes=len(shape) - 1, context_channels=seen))
        elif seen is not None:
            layers.append(ContextAffine(shape[0], seen, spatial_axes=len(shape) - 1))
        built.append(image_scale(layers, context_channels, shape[1:]))
        shape = (shape[0] // 2, *shape[1:])
    return Multiscale(built, event_shape)


def image_scale(layers: list[Bijection], context_channels: int | None, size: Shape) -> Compose:
    """Chain the layers of a scale, which were built for `seen_context`: the context and maps of it of some size."""
    if context_channels is None:
        return Compose(*layers)
    maps = ContextMaps(context_channels, _CONTEXT_MAPS, size)
    return ConditionalScale(*layers, maps=maps, context_channels=context_channels)


def seen_context(context_channels: int | None) -> int | None:
    """Return the number of context channels that the layers of an `image_scale` see."""
    return None if context_channels is None else context_channels + _CONTEXT_MAPS


def image_shape(event_shape: Shape, scales: int, steps: int) -> Shape:
    """Return the shape of a sequence, an image or a volume as a tuple, or raise; there are scales and steps."""
    if len(event_shape) not in (2, 3, 4):
        raise ValueError(
            f"a sequence has the shape (C, T), an image (C, H, W) and a volume (C, D, H, W), got {tuple(event_shape)}; "
            "of vectors take a flow such as nsf or maf"
        )
    whole_number("scales", scales, at_least=1)
    whole_number("steps", steps, at_least=1, at_most=10_000)
    return whole_shape("event_shape", event_shape)


def image_preprocessing(kind: Preprocessing, alpha: float, levels: int | None) -> Bijection | None:
    """Build the map from [0, 1) to what the first scale sees: the logit, or [-1, 1); None for continuous data."""
    one_of("preprocessing", kind, get_args(Preprocessing))
    if levels is None:
        return None
    return Logit(alpha) if kind == "logit" else Scale(2.0, shift=-0.5)


def image_dequantization(
    kind: Dequantization, width: int, event_shape: Shape, levels: int | None
) -> VariationalDequantize | None:
    """Build learned noise from networks of half the width, as they work on all pixels; None for uniform noise."""
    if one_of("dequantization", kind, get_args(Dequantization)) == "uniform":
        return None
    if levels is None:
        raise ValueError("dequantization='variational' is of gray levels, got levels=None; leave it out")
    build_net = partial(ConvNet, width=max(width // 2, 1), spatial_axes=len(event_shape) - 1)
    return VariationalDequantize(levels, event_shape[0], build_net)


def _spline(options: StepOptions, shape: Shape) -> SplineActivation | None:
    bins, bound = options.spline_bins, options.spline_bound
    if options.spline == "none":
        return None
    if options.spline == "shared":
        return SplineActivation(bins=bins, bound=bound)
    size = shape[1:] if options.spline == "element" else None
    return SplineActivation(shape[0], size=size, bins=bins, bound=bound)


def _conv1x1(options: StepOptions, shape: Shape) -> Bijection | None:
    match options.conv1x1:
        case "none":
            return None
        case "permutation":
            return Permute.random(shape[0])
        case "lu":
            return LUConv1x1(shape[0])
        case "dense":
            return Conv1x1(shape[0])


def _coupling(options: StepOptions, shape: Shape, index: int) -> Bijection | None:
    channels, context_channels = shape[0], options.context_channels
    build_net = _conditioner(options, shape)
    match options.coupling:
        case "none":
            return None
        case "quad":
            return QuadCoupling(channels, build_net, context_channels=context_channels)
        case "affine":
            return AffineCoupling(channels, build_net, context_channels=context_channels)
        case "additive":
            return AdditiveCoupling(channels, build_net, context_channels=context_channels)
        case "spline":
            spline = RationalQuadratic(options.spline_bins, options.spline_bound)
            return Coupling(channels, build_net, map=spline, context_channels=context_channels)
        case "mixture":
            mixture = ComposedMap((MixtureCDF(options.components), Affine()))
            return Coupling(channels, build_net, map=mixture, context_channels=context_channels)
        case "autoregressive":
            transformer = partial(CausalTransformer, width=options.width, depth=options.depth, heads=options.heads)
            return PatchAutoregressive(
                channels,
                transformer,
                size=shape[1:],
                patch_size=options.patch_size,
                order="reversed" if index % 2 else "natural",
                context_channels=context_channels,
            )


def _conditioner(options: StepOptions, shape: Shape) -> Builder:
    width, depth, axes = options.width, options.depth, len(shape) - 1
    match options.conditioner:
        case "conv":
            return partial(ConvNet, width=width, spatial_axes=axes)
        case "resnet":
            return partial(ResNet, width=width, depth=depth, spatial_axes=axes)
        case "gated":
            return partial(GatedResNet, width=width, depth=depth, spatial_axes=axes)
        case "vit":
            return partial(
                ViT, width=width, depth=depth, size=shape[1:], patch_size=options.patch_size, heads=options.heads
            )
