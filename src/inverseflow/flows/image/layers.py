"""The k×k layers of the image flows, by name."""

from dataclasses import replace
from typing import Any, get_args

from inverseflow.bijections import (
    Bijection,
    Butterfly,
    CausalConv1d,
    CausalConv2d,
    CausalConv3d,
    Compose,
    EmergingConv1d,
    EmergingConv2d,
    EmergingConv3d,
    ExactConv2d,
    ExponentialConv2d,
    FInCConv1d,
    FInCConv2d,
    FInCConv3d,
    InverseConv1d,
    InverseConv2d,
    InverseConv3d,
    MaCow,
    MemoryEfficientWoodbury,
    MintNet,
    PeriodicConv2d,
    RationalConv1d,
    RationalConv2d,
    RationalConv3d,
    SelfNormalizingConv2d,
    Shape,
    Woodbury,
)
from inverseflow.bijections.convolution.emerging import Conv1x1Form
from inverseflow.flows.image.options import LAYER_OPTIONS, StepOptions
from inverseflow.names import LayerName
from inverseflow.ops import corners

_INVERSE = {1: InverseConv1d, 2: InverseConv2d, 3: InverseConv3d}
_CAUSAL = {1: CausalConv1d, 2: CausalConv2d, 3: CausalConv3d}
_FINC = {1: FInCConv1d, 2: FInCConv2d, 3: FInCConv3d}
_EMERGING = {1: EmergingConv1d, 2: EmergingConv2d, 3: EmergingConv3d}
_RATIONAL = {1: RationalConv1d, 2: RationalConv2d, 3: RationalConv3d}
_OF_ANY_AXES: tuple[LayerName, ...] = (
    *("none", "inverse", "cinc", "finc", "emerging"),
    *("arma", "arma-adjacent", "arma-same"),
)


def layer_defaults(layer: LayerName) -> dict[str, Any]:
    """Return which of `LAYER_OPTIONS` a layer has, with their defaults."""
    match layer:
        case "none" | "woodbury" | "memory-efficient-woodbury" | "butterfly":
            return {}
        case "inverse" | "cinc" | "finc" | "emerging" | "arma" | "arma-adjacent" | "arma-same":
            return {"kernel_size": 3, "max_row_sum": None}
        case "exponential":
            return {"kernel_size": 3, "max_spectral_norm": 0.9}
        case _:
            return {"kernel_size": 3}


def build_layer(options: StepOptions, shape: Shape, *, index: int = 0) -> Bijection | None:
    """Build the layer of a step for an event ``(C, *spatial)``; the number of the step decides corner and factor."""
    options = complete(options)
    try:
        layer = _build(options, shape, index)
        if layer is not None:
            layer.output_shape(tuple(shape))
    except ValueError as error:
        name = repr(options.layer)
        raise ValueError(f"the layer {name} can't be built for an event of shape {tuple(shape)}: {error}") from error
    return layer


def complete(options: StepOptions) -> StepOptions:
    """Fill in the layer's own defaults, or raise a ValueError if an option is given that the layer does not have."""
    defaults = layer_defaults(options.layer)
    for name in LAYER_OPTIONS:
        if name not in defaults and getattr(options, name) is not None:
            able = ", ".join(repr(layer) for layer in get_args(LayerName) if name in layer_defaults(layer))
            raise ValueError(
                f"the layer {options.layer!r} has no {name}, got {name}={getattr(options, name)}; leave it out, or "
                f"choose one of {able}"
            )
    return replace(options, **{name: value for name, value in defaults.items() if getattr(options, name) is None})


def _build(options: StepOptions, shape: Shape, index: int) -> Bijection | None:
    channels, *sides = shape
    axes = len(sides)
    kernel_size = options.kernel_size or 0  # a layer that has one got its default
    max_row_sum, has_conv1x1 = options.max_row_sum, options.conv1x1 in ("lu", "dense")
    start = index % 2**axes
    corner = corners(axes)[start]
    match options.layer:
        case "inverse":
            return _INVERSE[axes](channels, kernel_size, corner=corner, max_row_sum=max_row_sum)
        case "cinc":
            return _CAUSAL[axes](channels, kernel_size, corner=corner, diagonal="free", max_row_sum=max_row_sum)
        case "finc":
            return _FINC[axes](channels, kernel_size, max_row_sum=max_row_sum)
        case "emerging":
            own: Conv1x1Form = "none" if has_conv1x1 else "lu"
            return _EMERGING[axes](channels, kernel_size, conv1x1=own, max_row_sum=max_row_sum)
        case "arma" | "arma-adjacent" | "arma-same":
            others = {"arma": -1 - start, "arma-adjacent": start ^ 1, "arma-same": start}
            return _RATIONAL[axes](
                channels,
                kernel_size,
                corner=corner,
                inverse_corner=corners(axes)[others[options.layer]],
                diagonal="unit" if has_conv1x1 else "free",  # a 1×1 convolution can do all that it could
                max_row_sum=max_row_sum,
            )
        case "none":
            return None
    if axes != 2:
        able = ", ".join(map(repr, _OF_ANY_AXES))
        raise ValueError(f"it works on images alone; sequences and volumes have the layers {able}")
    height, width = size = sides[0], sides[1]
    match options.layer:
        case "periodic":
            return PeriodicConv2d(channels, kernel_size)
        case "exponential":
            return ExponentialConv2d(channels, kernel_size, max_spectral_norm=options.max_spectral_norm or 0)
        case "exact":
            return ExactConv2d(channels, kernel_size)
        case "self-normalizing":
            return SelfNormalizingConv2d(channels, kernel_size)
        case "woodbury":
            rank, spatial_rank = min(channels, 16), min(height * width, 16)
            return Woodbury(channels, size=size, channel_rank=rank, spatial_rank=spatial_rank)
        case "memory-efficient-woodbury":
            rank, spatial_rank = min(channels, 16), min(height, width, 16)
            return MemoryEfficientWoodbury(channels, size=size, channel_rank=rank, spatial_rank=spatial_rank)
        case "butterfly":  # as many factors as the number of elements can be halved
            elements = channels * height * width
            halvings = (elements & -elements).bit_length() - 1
            return Butterfly(channels, size=size, factors=(index % max(halvings, 1),))
        case "macow":
            return Compose(*(MaCow(channels, (2, kernel_size)) for _ in range(2)))
        case "mintnet":
            hidden = max(options.width // channels, 1) * channels
            blocks = (MintNet(channels, kernel_size, size=size, width=hidden, order=order) for order in ("A", "B"))
            return Compose(*blocks)
