"""Bijections that only move elements."""

from collections.abc import Sequence

import torch
from torch import Tensor

from inverseflow.bijections.base import Bijection, LogDet, Shape
from inverseflow.utils.arguments import whole_number, whole_numbers


class Squeeze(Bijection):
    r"""Fold every block of pixels into channels: ``(C, H, W)`` becomes ``(C f², H/f, W/f)``. Log-determinant 0.

    Channel c of the pixel (dy, dx) in its block becomes channel :math:`f^2 c + f\,dy + dx`. Sequences and volumes are
    folded in the same way along their one or three axes.

    Args:
        factor: side f of a block.
        spatial_axes: number n of spatial axes, from 1 to 3.

    Shape:
        x: ``(B, C, *spatial)``; z: ``(B, C fⁿ, *spatial / f)``.

    Raises:
        ValueError: if a side is not a multiple of the factor.

    Reference:
        Dinh et al., RealNVP, 2017, section 3.6, https://arxiv.org/abs/1605.08803.

    Example:
        >>> Squeeze()(torch.randn(2, 3, 8, 8))[0].shape
        torch.Size([2, 12, 4, 4])
        >>> Squeeze(4, spatial_axes=1)(torch.randn(2, 3, 100))[0].shape
        torch.Size([2, 12, 25])
    """

    spatial_axes: int

    def __init__(self, factor: int = 2, *, spatial_axes: int = 2) -> None:
        super().__init__(spatial_axes=whole_number("spatial_axes", spatial_axes, at_least=1, at_most=3))
        self.factor = whole_number("factor", factor, at_least=1)

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        # Not torch's pixel_unshuffle, which returns an empty batch in its old shape.
        axes = self.spatial_axes
        for axis in range(1 + axes, 1, -1):
            x = x.unflatten(axis, (-1, self.factor))  # (B, C, H/f, f, W/f, f)
        return x.permute(0, 1, *range(3, 3 + 2 * axes, 2), *range(2, 2 + 2 * axes, 2)).flatten(1, 1 + axes), 0.0

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        axes = self.spatial_axes
        z = z.unflatten(1, (-1, *[self.factor] * axes))  # (B, C, f, f, H/f, W/f)
        z = z.permute(0, 1, *(axis for n in range(2, 2 + axes) for axis in (axes + n, n)))
        for axis in range(2, 2 + axes):
            z = z.flatten(axis, axis + 1)
        return z, 0.0

    def output_shape(self, shape: Shape) -> Shape:
        """Return ``(C fⁿ, *spatial / f)``."""
        self._check_shape(shape)
        channels, *sides = shape
        names = ("depth", "height", "width")[-len(sides) :] if len(sides) > 1 else ("length",)
        for name, side in zip(names, sides, strict=True):
            if side % self.factor:
                raise ValueError(
                    f"{type(self).__name__} can't fold the {name} {side} of an event of shape {shape} by "
                    f"{self.factor}: pad it to {side + -side % self.factor}, or use fewer scales"
                )
        return (channels * self.factor ** len(sides), *(side // self.factor for side in sides))

    def input_shape(self, shape: Shape) -> Shape:
        """Return ``(C, *spatial)`` for ``(C fⁿ, *spatial / f)``."""
        self._check_shape(shape)
        channels, *sides = shape
        block = self.factor ** len(sides)
        if channels % block:
            raise ValueError(
                f"{type(self).__name__} can't unfold {channels} channels of shape {shape} into blocks of {block} pixels"
            )
        return (channels // block, *(side * self.factor for side in sides))


class Permute(Bijection):
    r"""Reorder the channels: :math:`z_c = x_{\pi(c)}`. Log-determinant 0.

    Args:
        permutation: π as a list that holds each of the channels 0 … C-1 once.

    Shape:
        x: ``(B, C, *spatial)``; z: the same.

    Example:
        >>> Permute([2, 0, 1])(torch.tensor([[10.0, 11.0, 12.0]]))[0]
        tensor([[12., 10., 11.]])
    """

    permutation: Tensor
    unpermutation: Tensor

    def __init__(self, permutation: Sequence[int]) -> None:
        numbers = whole_numbers("permutation", permutation)
        super().__init__(channels=len(numbers))
        if sorted(numbers) != list(range(len(numbers))):
            raise ValueError(f"permutation must hold each of 0 … {len(numbers) - 1} once, got {numbers}")
        order = torch.tensor(numbers, dtype=torch.int64)
        self.register_buffer("permutation", order)
        self.register_buffer("unpermutation", order.argsort())

    @classmethod
    def reverse(cls, channels: int) -> "Permute":
        """Return the layer that reverses the order of the channels."""
        return cls(list(range(channels))[::-1])

    @classmethod
    def random(cls, channels: int, *, generator: torch.Generator | None = None) -> "Permute":
        """Draw a permutation once; it is saved with the layer."""
        device = "cpu" if generator is None else generator.device
        return cls(torch.randperm(channels, generator=generator, device=device).tolist())

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return x.index_select(1, self.permutation), 0.0

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return z.index_select(1, self.unpermutation), 0.0

    def extra_repr(self) -> str:
        """Show the permutation."""
        return f"channels={self.channels}" if self.permutation.is_meta else f"{self.permutation.tolist()}"
