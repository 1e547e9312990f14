"""The k×k layers that the image flows are made with, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

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
from inverseflow.flows.image.options import LAYER_OPTIONS, StepOptions
from inverseflow.names import LayerName
from inverseflow.ops import CORNERS, Corner

MAX_RANK = 16
"""Largest rank of the low-rank updates; a shorter axis has the rank of its length."""


@dataclass(frozen=True)
class LayerSpec:
    """Where in a flow a layer stands, and with which options."""

    channels: int
    size: tuple[int, int]
    """Height and width of the image there."""
    index: int
    """Number of the step, from 0: corners and factors cycle with it."""
    options: StepOptions

    @property
    def kernel_size(self) -> int:
        """Side of the kernel."""
        assert self.options.kernel_size is not None  # filled in by `complete`
        return self.options.kernel_size

    @property
    def max_row_sum(self) -> float | None:
        """Bound on the taps' row sums."""
        return self.options.max_row_sum

    @property
    def max_spectral_norm(self) -> float:
        """Largest spectral norm."""
        assert self.options.max_spectral_norm is not None  # filled in by `complete`
        return self.options.max_spectral_norm

    @property
    def has_conv1x1(self) -> bool:
        """Whether the step has a 1×1 convolution of its own."""
        return self.options.conv1x1 != "none"

    @property
    def corner(self) -> Corner:
        """The corner of this step."""
        return CORNERS[self.index % 4]

    @property
    def opposite_corner(self) -> Corner:
        """The corner diagonally opposite."""
        return CORNERS[3 - self.index % 4]

    @property
    def adjacent_corner(self) -> Corner:
        """The other corner of the same row."""
        return CORNERS[self.index % 4 ^ 1]

    @property
    def butterfly_factor(self) -> int:
        """The butterfly factor of this step, cycling through all that the number of elements allows."""
        count = self.channels * self.size[0] * self.size[1]
        halvings = (count & -count).bit_length() - 1
        return self.index % max(halvings, 1)


KERNEL: dict[str, Any] = {"kernel_size": 3}
ONE_SIDED: dict[str, Any] = {**KERNEL, "max_row_sum": None}
SPECTRAL: dict[str, Any] = {**KERNEL, "max_spectral_norm": 0.9}


@dataclass(frozen=True)
class LayerFactory:
    """How a layer is built, and which of `LAYER_OPTIONS` it has, with their defaults."""

    build: Callable[[LayerSpec], Bijection | None]
    defaults: Mapping[str, Any]


def _rational(spec: LayerSpec, inverse_corner: Corner) -> Bijection:
    return RationalConv2d(
        spec.channels,
        spec.kernel_size,
        corner=spec.corner,
        inverse_corner=inverse_corner,
        diagonal="unit" if spec.has_conv1x1 else "free",  # a 1×1 convolution can do all that it could
        max_row_sum=spec.max_row_sum,
    )


LAYERS: dict[LayerName, LayerFactory] = {
    "none": LayerFactory(lambda spec: None, {}),
    "inverse": LayerFactory(
        lambda spec: InverseConv2d(spec.channels, spec.kernel_size, corner=spec.corner, max_row_sum=spec.max_row_sum),
        ONE_SIDED,
    ),
    "cinc": LayerFactory(
        lambda spec: CausalConv2d(
            spec.channels, spec.kernel_size, corner=spec.corner, diagonal="free", max_row_sum=spec.max_row_sum
        ),
        ONE_SIDED,
    ),
    "finc": LayerFactory(
        lambda spec: FInCConv2d(spec.channels, spec.kernel_size, max_row_sum=spec.max_row_sum), ONE_SIDED
    ),
    "emerging": LayerFactory(
        lambda spec: EmergingConv2d(
            spec.channels, spec.kernel_size, conv1x1="none" if spec.has_conv1x1 else "lu", max_row_sum=spec.max_row_sum
        ),
        ONE_SIDED,
    ),
    "arma": LayerFactory(lambda spec: _rational(spec, spec.opposite_corner), ONE_SIDED),
    "arma-adjacent": LayerFactory(lambda spec: _rational(spec, spec.adjacent_corner), ONE_SIDED),
    "arma-same": LayerFactory(lambda spec: _rational(spec, spec.corner), ONE_SIDED),
    "periodic": LayerFactory(lambda spec: PeriodicConv2d(spec.channels, spec.kernel_size), KERNEL),
    "exponential": LayerFactory(
        lambda spec: ExponentialConv2d(spec.channels, spec.kernel_size, max_spectral_norm=spec.max_spectral_norm),
        SPECTRAL,
    ),
    "exact": LayerFactory(lambda spec: ExactConv2d(spec.channels, spec.kernel_size), KERNEL),
    "self-normalizing": LayerFactory(lambda spec: SelfNormalizingConv2d(spec.channels, spec.kernel_size), KERNEL),
    "woodbury": LayerFactory(
        lambda spec: Woodbury(
            spec.channels,
            size=spec.size,
            channel_rank=min(spec.channels, MAX_RANK),
            spatial_rank=min(spec.size[0] * spec.size[1], MAX_RANK),
        ),
        {},
    ),
    "memory-efficient-woodbury": LayerFactory(
        lambda spec: MemoryEfficientWoodbury(
            spec.channels,
            size=spec.size,
            channel_rank=min(spec.channels, MAX_RANK),
            spatial_rank=min(*spec.size, MAX_RANK),
        ),
        {},
    ),
    "butterfly": LayerFactory(
        lambda spec: Butterfly(spec.channels, size=spec.size, factors=(spec.butterfly_factor,)),
        {},
    ),
    "macow": LayerFactory(
        lambda spec: Compose(*(MaCow(spec.channels, (2, spec.kernel_size)) for _ in range(2))),
        KERNEL,
    ),
    "mintnet": LayerFactory(
        lambda spec: Compose(
            *(
                MintNet(
                    spec.channels,
                    spec.kernel_size,
                    size=spec.size,
                    width=max(spec.options.width // spec.channels, 1) * spec.channels,
                    order=order,
                )
                for order in ("A", "B")
            )
        ),
        KERNEL,
    ),
}


def build_layer(options: StepOptions, shape: Shape, *, index: int = 0) -> Bijection | None:
    r"""Build the k×k layer of one step of a flow.

    Args:
        options: the options of the step.
        shape: the event ``(C, H, W)`` at this step.
        index: number of the step, from 0. One-sided convolutions start at each corner of the image in turn, and
            butterflies take each of their factors in turn.

    Returns:
        The layer, or None for ``"none"``.

    Raises:
        ValueError: if the layer does not have an option that is given, or can't take the shape.

    Example:
        >>> build_layer(StepOptions("inverse"), (4, 8, 8), index=3)
        InverseConv2d(channels=4, kernel_size=(3, 3), corner='bottom_right')
    """
    options = complete(options)
    channels, height, width = shape
    spec = LayerSpec(channels, (height, width), index, options)
    try:
        layer = LAYERS[options.layer].build(spec)
        if layer is not None:
            layer.output_shape(tuple(shape))
    except ValueError as error:
        raise ValueError(
            f"the layer {options.layer!r} can't be built for an event of shape {tuple(shape)}: {error}"
        ) from error
    return layer


def complete(options: StepOptions) -> StepOptions:
    """Fill in the layer's own defaults, or raise a ValueError if an option is given that the layer does not have."""
    defaults = LAYERS[options.layer].defaults
    for name in LAYER_OPTIONS:
        if name not in defaults and getattr(options, name) is not None:
            able = ", ".join(repr(layer) for layer, factory in LAYERS.items() if name in factory.defaults)
            raise ValueError(
                f"the layer {options.layer!r} has no {name}, got {name}={getattr(options, name)}; leave it out, or "
                f"choose one of {able}"
            )
    return replace(options, **{name: value for name, value in defaults.items() if getattr(options, name) is None})
