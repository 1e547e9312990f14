"""The k×k layers of the image flows, by name."""

from dataclasses import replace
from typing import Any, get_args

from inverseflow.bijections import (
    Bijection,
    Butterfly,
    CausalConv2d,
    Compose,
    EmergingConv2d,
    ExactConv2d,
    ExponentialConv2d,
    FInCConv2d,
    InverseConv2d,
    MaCow,
    MemoryEfficientWoodbury,
    MintNet,
    PeriodicConv2d,
    RationalConv2d,
    SelfNormalizingConv2d,
    Shape,
    Woodbury,
)
from inverseflow.flows.image.options import LAYER_OPTIONS, Conv1x1Form, StepOptions
from inverseflow.names import LayerName
from inverseflow.ops import CORNERS


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
    """Build the layer of a flow's step for an event ``(C, H, W)``; the number of the step decides corner and factor."""
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
    channels, height, width = shape
    size = height, width
    kernel_size = options.kernel_size or 0  # a layer that has one got its default
    max_row_sum, has_conv1x1 = options.max_row_sum, options.conv1x1 != "none"
    corner = CORNERS[index % 4]
    match options.layer:
        case "inverse":
            return InverseConv2d(channels, kernel_size, corner=corner, max_row_sum=max_row_sum)
        case "cinc":
            return CausalConv2d(channels, kernel_size, corner=corner, diagonal="free", max_row_sum=max_row_sum)
        case "finc":
            return FInCConv2d(channels, kernel_size, max_row_sum=max_row_sum)
        case "emerging":
            own: Conv1x1Form = "none" if has_conv1x1 else "lu"
            return EmergingConv2d(channels, kernel_size, conv1x1=own, max_row_sum=max_row_sum)
        case "arma" | "arma-adjacent" | "arma-same":
            other = {"arma": CORNERS[3 - index % 4], "arma-adjacent": CORNERS[index % 4 ^ 1], "arma-same": corner}
            return RationalConv2d(
                channels,
                kernel_size,
                corner=corner,
                inverse_corner=other[options.layer],
                diagonal="unit" if has_conv1x1 else "free",  # a 1×1 convolution can do all that it could
                max_row_sum=max_row_sum,
            )
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
    return None
