"""Woodbury transformations: the identity plus a matrix of low rank, across channels and across pixels."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from inverseflow.bijections.base import Bijection, LogDet
from inverseflow.bijections.events import elements
from inverseflow.bijections.module_list import TypedModuleList
from inverseflow.ops.dense_solve import dense_solve


class _LowRankUpdate(nn.Module):
    """The matrix I + U V on the last axis, U ``(n, d)`` and V ``(d, n)``, its inverse I - U (I + V U)⁻¹ V."""

    def __init__(self, size: int, rank: int) -> None:
        super().__init__()
        if rank < 1:
            raise ValueError(f"the rank of an update is at least 1, got {rank}")
        self.left = nn.Parameter(0.01 * torch.randn(size, rank))
        self.right = nn.Parameter(0.01 * torch.randn(rank, size))

    def forward(self, x: Tensor) -> Tensor:
        """Multiply every vector along the last axis by I + U V."""
        return x + (x @ self.right.T) @ self.left.T

    def inverse(self, z: Tensor) -> Tensor:
        """Multiply every vector along the last axis by the inverse."""
        right, _ = dense_solve(self._small(), self.right)
        return z - (z @ right.T) @ self.left.T

    def log_det(self) -> Tensor:
        """Return log|det(I + V U)|, which is that of I + U V."""
        log_det: Tensor = torch.linalg.slogdet(self._small()).logabsdet
        return log_det

    def _small(self) -> Tensor:
        eye = torch.eye(len(self.right), dtype=self.right.dtype, device=self.right.device)
        return eye + self.right @ self.left

    def extra_repr(self) -> str:
        """Show the length of the axis and the rank."""
        return f"{len(self.left)}, rank={len(self.right)}"


class _LowRankUpdates(Bijection):
    """One `_LowRankUpdate` for each axis of an event, once its pixels are laid out along axes of these lengths."""

    def __init__(self, channels: int, size: tuple[int, int], layout: tuple[int, ...], ranks: tuple[int, ...]) -> None:
        super().__init__(channels=channels, spatial_axes=2, size=size)
        self.layout = (channels, *layout)
        self.updates: TypedModuleList[_LowRankUpdate] = TypedModuleList(
            _LowRankUpdate(*each) for each in zip(self.layout, ranks, strict=True)
        )

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        with torch.autocast(x.device.type, enabled=False):
            z = self._laid_out(x)
            for axis, update in self._by_axis():
                z = update(z.movedim(axis, -1)).movedim(-1, axis)
            return z.reshape(x.shape), self._log_det(x)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        with torch.autocast(z.device.type, enabled=False):
            x = self._laid_out(z)
            for axis, update in reversed(list(self._by_axis())):
                x = update.inverse(x.movedim(axis, -1)).movedim(-1, axis)
            return x.reshape(z.shape), -self._log_det(z)

    def _laid_out(self, x: Tensor) -> Tensor:
        return x.to(next(self.parameters()).dtype).reshape(len(x), *self.layout)

    def _log_det(self, x: Tensor) -> Tensor:
        vectors = [elements(x) // length for length in self.layout]  # how many there are along each axis
        log_dets = [n * update.log_det() for n, (_, update) in zip(vectors, self._by_axis(), strict=True)]
        return torch.stack(log_dets).sum()

    def _by_axis(self) -> Iterable[tuple[int, _LowRankUpdate]]:
        return enumerate(self.updates, start=1)

    def extra_repr(self) -> str:
        """Show the channels and the size."""
        return f"channels={self.channels}, size={self.size}"


class Woodbury(_LowRankUpdates):
    r"""Low-rank updates of the identity, one across channels and one across all pixels.

    .. math:: Z = (I_C + U_c V_c)\, X\, (I_P + U_s V_s)^\top, \qquad
        \log|\det| = P \log|\det(I + V_c U_c)| + C \log|\det(I + V_s U_s)|

    on the image as a C×P matrix, P = HW. The inverse of a factor is :math:`I - U (I + V U)^{-1} V`, so that both
    directions cost as much. Starts near the identity. Nothing but the likelihood keeps I + V U regular. Computed at
    full precision under autocast.

    Args:
        channels: number of channels C.
        size: height and width of the image, to which the layer is tied.
        channel_rank: rank of the update across channels.
        spatial_rank: rank of the update across pixels.

    Shape:
        x: ``(B, C, H, W)``; z: the same.

    Raises:
        ValueError: a rank below 1, or an image of another size.
        SingularError: a matrix to be inverted is singular.

    Reference:
        Lu & Huang, Woodbury Transformations for Deep Generative Flows, 2020, section 3.1.

    Example:
        >>> layer = Woodbury(4, size=(8, 6), channel_rank=2, spatial_rank=5)
        >>> x = torch.randn(2, 4, 8, 6)
        >>> z, log_det = layer(x)
        >>> torch.allclose(layer.inverse(z)[0], x, atol=1e-5)
        True
    """

    def __init__(self, channels: int, *, size: tuple[int, int], channel_rank: int = 16, spatial_rank: int = 16) -> None:
        super().__init__(channels, size, (math.prod(size),), (channel_rank, spatial_rank))


class MemoryEfficientWoodbury(_LowRankUpdates):
    r"""Low-rank updates of the identity, one across channels, one along columns and one along rows of the image.

    .. math:: \log|\det| = HW \log|\det(I + V_c U_c)| + CW \log|\det(I + V_H U_H)| + CH \log|\det(I + V_W U_W)|

    As `Woodbury`, with the update across all pixels replaced by those of its two axes: 2d(H + W) parameters where there
    were 2dHW.

    Args:
        channels: number of channels C.
        size: height and width of the image, to which the layer is tied.
        channel_rank: rank of the update across channels.
        spatial_rank: rank of the update along each axis of the image.

    Shape:
        x: ``(B, C, H, W)``; z: the same.

    Raises:
        ValueError: a rank below 1, or an image of another size.
        SingularError: a matrix to be inverted is singular.

    Reference:
        Lu & Huang, Woodbury Transformations for Deep Generative Flows, 2020, section 3.3.

    Example:
        >>> layer = MemoryEfficientWoodbury(4, size=(8, 6), channel_rank=2, spatial_rank=3)
        >>> x = torch.randn(2, 4, 8, 6)
        >>> z, log_det = layer(x)
        >>> torch.allclose(layer.inverse(z)[0], x, atol=1e-5)
        True
    """

    def __init__(self, channels: int, *, size: tuple[int, int], channel_rank: int = 16, spatial_rank: int = 16) -> None:
        super().__init__(channels, size, tuple(size), (channel_rank, spatial_rank, spatial_rank))
