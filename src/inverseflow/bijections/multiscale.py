"""Bijections at several scales, onto one flat latent."""

import math
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from inverseflow.bijections.base import Bijection, LogDet, Shape, TypedModuleList
from inverseflow.utils.arguments import whole_shape


class Multiscale(Bijection):
    r"""Factor out half of the channels at the end of every scale but the last; the latent is all of them, flat.

    With a bijection :math:`f_l` for each of L scales: :math:`(h_l, z_l) = \mathrm{split}(f_l(h_{l-1}))`,
    :math:`h_0 = x`, and :math:`z = (z_1, \dots, z_L)` with :math:`z_L = f_L(h_{L-1})`. A split drops nothing, so the
    whole is a bijection. The first half of the channels (rounded down) goes on, the rest is factored out.

    Args:
        scales: one bijection for each scale, the finest first.
        event_shape: shape ``(C, *spatial)`` of the data, to which this layer is tied.

    Shape:
        x: ``(B, *event_shape)``; z: ``(B, D)`` with D the number of elements of an event.

    Raises:
        TypeError: if a scale is not a bijection.
        ValueError: if a scale can't take its input's shape, or has only one channel left to split.

    Reference:
        Dinh et al., RealNVP, 2017, section 3.6, https://arxiv.org/abs/1605.08803.

    Example:
        >>> flow = Multiscale([Squeeze(), Squeeze()], (1, 4, 4))
        >>> z, log_det = flow(torch.randn(2, 1, 4, 4))
        >>> z.shape, flow.latent_slices
        (torch.Size([2, 16]), {'scale_1': slice(0, 8, None), 'scale_2': slice(8, 16, None)})
    """

    def __init__(self, scales: Sequence[Bijection], event_shape: Shape) -> None:
        super().__init__()
        if not scales:
            raise ValueError("scales must hold at least one bijection, got none")
        for scale in scales:
            if not isinstance(scale, Bijection):
                raise TypeError(f"scales must hold bijections, got {scale!r}")
        self.scales: TypedModuleList[Bijection] = TypedModuleList(scales)
        self.event_shape = whole_shape("event_shape", event_shape)
        self.latent_shapes: list[Shape] = []
        shape = self.event_shape
        for number, scale in enumerate(scales, start=1):
            shape = scale.output_shape(shape)
            if number < len(scales):
                if shape[0] < 2:
                    raise ValueError(f"scale {number} leaves {shape[0]} channel, nothing to split; use fewer scales")
                self.latent_shapes.append((shape[0] - shape[0] // 2, *shape[1:]))
                shape = (shape[0] // 2, *shape[1:])
        self.latent_shapes.append(shape)
        self.dims = sum(math.prod(latent) for latent in self.latent_shapes)

    @property
    def latent_slices(self) -> dict[str, slice]:
        """The part of the flat latent that belongs to each scale, ``scale_1`` the finest."""
        ends = list(accumulate(math.prod(shape) for shape in self.latent_shapes))
        starts = [0, *ends[:-1]]
        return {
            f"scale_{number}": slice(start, end)
            for number, (start, end) in enumerate(zip(starts, ends, strict=True), start=1)
        }

    def by_scale(self, x: Tensor, context: Tensor | None = None) -> list[tuple[Tensor, LogDet]]:
        """Return the flat latent of each scale, the finest first, with the log-determinant of the scale's layers.

        Unlike `forward`, it does not check its arguments.
        """
        parts: list[tuple[Tensor, LogDet]] = []
        for scale, shape in zip(self.scales, self.latent_shapes, strict=True):
            x, log_det = scale(x, context)
            x, leaving = x.tensor_split([x.shape[1] - shape[0]], dim=1)  # at the last scale, everything leaves
            parts.append((leaving.flatten(1), log_det))
        return parts

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        latents, log_dets = zip(*self.by_scale(x, context), strict=True)
        return torch.cat(latents, dim=1), sum(log_dets)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        sizes = [math.prod(shape) for shape in self.latent_shapes]
        parts = [
            part.reshape(-1, *shape) for part, shape in zip(z.split(sizes, dim=1), self.latent_shapes, strict=True)
        ]
        total: LogDet = 0.0
        x = parts[-1]
        for index in reversed(range(len(self.scales))):
            if index < len(self.scales) - 1:
                x = torch.cat([x, parts[index]], dim=1)
            x, log_det = self.scales[index].inverse(x, context)
            total = total + log_det
        return x, total

    def output_shape(self, shape: Shape) -> Shape:
        """Return ``(D,)`` for the event shape that this layer is tied to, else raise."""
        if shape != self.event_shape:
            raise ValueError(f"Multiscale is built for events of shape {self.event_shape}, got {shape}")
        return (self.dims,)

    def input_shape(self, shape: Shape) -> Shape:
        """Return the event shape for ``(D,)``, else raise."""
        if shape != (self.dims,):
            raise ValueError(f"Multiscale has latents of shape {(self.dims,)}, got {shape}")
        return self.event_shape
