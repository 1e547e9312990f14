"""The k×k layers that the image flows are made with, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
from inverseflow.ops import CORNERS, Corner

KERNEL_SIZE = 3
"""Side of the kernels where none is asked for."""
MAX_RANK = 16
"""Rank of the low-rank updates, where the axis is longer."""


@dataclass(frozen=True)
class Place:
    """Where in a flow a layer stands, and what is asked of it."""

    channels: int
    size: tuple[int, int]
    """Height and width of the image there."""
    index: int
    """Number of the step, from 0: corners and levels cycle with it."""
    kernel_size: int
    bound: float | None
    mixed: bool
    """Whether the step has a 1×1 convolution of its own."""
    width: int
    """Hidden channels."""

    @property
    def corner(self) -> Corner:
        """The corner of this step."""
        return CORNERS[self.index % 4]

    @property
    def opposite_corner(self) -> Corner:
        """The corner across from it."""
        return CORNERS[3 - self.index % 4]

    @property
    def adjacent_corner(self) -> Corner:
        """The other corner of its row."""
        return CORNERS[self.index % 4 ^ 1]

    @property
    def butterfly_level(self) -> int:
        """The level of this step, cycling through all that the number of elements allows."""
        count = self.channels * self.size[0] * self.size[1]
        halvings = (count & -count).bit_length() - 1
        return self.index % max(halvings, 1)


@dataclass(frozen=True)
class Kind:
    """A kind of layer: how it is built, and which options it has."""

    build: Callable[[Place], Bijection | None]
    kernel_size: bool = True
    bound: bool = False


def _rational(at: Place, inverse_corner: Corner) -> Bijection:
    return RationalConv2d(
        at.channels,
        at.kernel_size,
        corner=at.corner,
        inverse_corner=inverse_corner,
        diagonal="unit" if at.mixed else "free",  # beside a 1×1 convolution it could do nothing more
        max_row_sum=at.bound,
    )


LAYERS: dict[str, Kind] = {
    "none": Kind(lambda at: None, kernel_size=False),
    "inverse": Kind(
        lambda at: InverseConv2d(at.channels, at.kernel_size, corner=at.corner, max_row_sum=at.bound),
        bound=True,
    ),
    "cinc": Kind(
        lambda at: CausalConv2d(at.channels, at.kernel_size, corner=at.corner, diagonal="free", max_row_sum=at.bound),
        bound=True,
    ),
    "finc": Kind(lambda at: FInCConv2d(at.channels, at.kernel_size, max_row_sum=at.bound), bound=True),
    "emerging": Kind(
        lambda at: EmergingConv2d(
            at.channels, at.kernel_size, conv1x1="none" if at.mixed else "lu", max_row_sum=at.bound
        ),
        bound=True,
    ),
    "arma": Kind(lambda at: _rational(at, at.opposite_corner), bound=True),
    "arma-adjacent": Kind(lambda at: _rational(at, at.adjacent_corner), bound=True),
    "arma-same": Kind(lambda at: _rational(at, at.corner), bound=True),
    "periodic": Kind(lambda at: PeriodicConv2d(at.channels, at.kernel_size)),
    "exponential": Kind(
        lambda at: ExponentialConv2d(
            at.channels, at.kernel_size, max_spectral_norm=0.9 if at.bound is None else at.bound
        ),
        bound=True,
    ),
    "exact": Kind(lambda at: ExactConv2d(at.channels, at.kernel_size)),
    "self-normalizing": Kind(lambda at: SelfNormalizingConv2d(at.channels, at.kernel_size)),
    "woodbury": Kind(
        lambda at: Woodbury(
            at.channels,
            size=at.size,
            channel_rank=min(at.channels, MAX_RANK),
            spatial_rank=min(at.size[0] * at.size[1], MAX_RANK),
        ),
        kernel_size=False,
    ),
    "memory-efficient-woodbury": Kind(
        lambda at: MemoryEfficientWoodbury(
            at.channels,
            size=at.size,
            channel_rank=min(at.channels, MAX_RANK),
            spatial_rank=min(*at.size, MAX_RANK),
        ),
        kernel_size=False,
    ),
    "butterfly": Kind(
        lambda at: Butterfly(at.channels, size=at.size, factors=(at.butterfly_level,)),
        kernel_size=False,
    ),
    "macow": Kind(lambda at: Compose(*(MaCow(at.channels, (2, at.kernel_size)) for _ in range(2)))),
    "mintnet": Kind(
        lambda at: Compose(
            *(
                MintNet(
                    at.channels,
                    at.kernel_size,
                    size=at.size,
                    width=max(at.width // at.channels, 1) * at.channels,
                    order=order,
                )
                for order in ("A", "B")
            )
        )
    ),
}


def build_layer(
    name: str,
    shape: Shape,
    *,
    index: int = 0,
    kernel_size: int | None = None,
    bound: float | None = None,
    mixed: bool = False,
    width: int = 64,
) -> Bijection | None:
    r"""Build a layer for one step of a flow.

    Args:
        name: a key of `LAYERS`: ``"inverse"``, ``"finc"``, ``"macow"``, …, or ``"none"``.
        shape: the event ``(C, H, W)`` at this step.
        index: number of the step, from 0. One-sided convolutions start at each corner of the image in turn, and
            butterflies couple at each level in turn.
        kernel_size: side of the kernel, None for 3. For ``"macow"`` the side across the rows; it sees two rows.
        bound: None, or the bound ρ < 1 on the taps' row sums, for ``"exponential"`` the largest spectral norm (0.9 by
            default).
        mixed: whether the step has a 1×1 convolution of its own, so that ``"emerging"`` goes without.
        width: hidden channels of ``"mintnet"``, which has width / C copies of each of the C channels, at least one.

    Returns:
        The layer, or None for ``"none"``.

    Raises:
        ValueError: there is no such layer, or it can't do what is asked.

    Example:
        >>> build_layer("inverse", (4, 8, 8), index=3)
        InverseConv2d(
          (bijection): CausalConv2d(channels=4, kernel_size=(3, 3), corner='bottom_right')
        )
    """
    kind = layer_kind(name)
    for option, value, known in (("kernel_size", kernel_size, kind.kernel_size), ("bound", bound, kind.bound)):
        if value is not None and not known:
            able = ", ".join(repr(other) for other, its in LAYERS.items() if getattr(its, option))
            raise ValueError(
                f"the layer {name!r} has no {option}, got {option}={value}; leave it out, or choose one of {able}"
            )
    channels, height, width_of_image = shape
    place = Place(
        channels=channels,
        size=(height, width_of_image),
        index=index,
        kernel_size=KERNEL_SIZE if kernel_size is None else kernel_size,
        bound=bound,
        mixed=mixed,
        width=width,
    )
    try:
        layer = kind.build(place)
        if layer is not None:
            layer.output_shape(tuple(shape))
    except ValueError as error:
        raise ValueError(f"the layer {name!r} can't be built for an event of shape {tuple(shape)}: {error}") from error
    return layer


def layer_kind(name: str) -> Kind:
    """Return the kind of layer of this name, or raise a ValueError that lists the names."""
    if name not in LAYERS:
        raise ValueError(f"unknown layer {name!r}: choose one of {', '.join(map(repr, LAYERS))}")
    return LAYERS[name]
