"""Woodbury transformations: the identity plus a matrix of low rank, across channels and across pixels."""

import math

import torch
from torch import Tensor, nn

from inverseflow.bijections.base import Bijection, LogDet, TypedModuleList
from inverseflow.bijections.events import at_least_single, elements
from inverseflow.ops.dense_solve import dense_solve
from inverseflow.utils.arguments import whole_number


class _LowRankUpdate(nn.Module):
    """The matrix I + U V on the last axis, U ``(n, d)`` and V ``(d, n)``, its inverse I - U (I + V U)⁻¹ V."""

    def __init__(self, size: int, rank: int) -> None:
        super().__init__()
        self.left = nn.Parameter(0.01 * torch.randn(size, rank))
        self.right = nn.Parameter(0.01 * torch.randn(rank, size))

    def forward(self, x: Tensor) -> Tensor:
        """Multiply every vector along the last axis by I + U V."""
        left, right = at_least_single(self.left), at_least_single(self.right)
        return x + (x @ right.T) @ left.T

    def inverse(self, z: Tensor) -> Tensor:
        """Multiply every vector along the last axis by the inverse."""
        right, _ = dense_solve(self._small(), at_least_single(self.right))
        return z - (z @ right.T) @ at_least_single(self.left).T

    def log_det(self) -> Tensor:
        """Return log|det(I + V U)| = log|det(I + U V)|."""
        log_det: Tensor = torch.linalg.slogdet(self._small()).logabsdet
        return log_det

    def _small(self) -> Tensor:
        left, right = at_least_single(self.left), at_least_single(self.right)
        return torch.eye(len(right), dtype=right.dtype, device=right.device) + right @ left


class _LowRankUpdates(Bijection):
    """One `_LowRankUpdate` for the channels, and one for all pixels joined or for each axis of the image."""

    full_precision = True

    joined: bool
    """Whether one update serves all pixels."""

    def __init__(self, channels: int, *, size: tuple[int, int], channel_rank: int = 16, spatial_rank: int = 16) -> None:
        channels = whole_number("channels", channels, at_least=1)
        super().__init__(channels=channels, spatial_axes=2, size=size)
        self.channel_rank = whole_number("channel_rank", channel_rank, at_least=1)
        self.spatial_rank = whole_number("spatial_rank", spatial_rank, at_least=1)
        axes = tuple(size) if self.size is None else self.size
        self.layout = (channels, math.prod(axes)) if self.joined else (channels, *axes)
        ranks = (self.channel_rank, *[self.spatial_rank] * (len(self.layout) - 1))
        self.updates: TypedModuleList[_LowRankUpdate] = TypedModuleList(
            _LowRankUpdate(*each) for each in zip(self.layout, ranks, strict=True)
        )

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        z = x.reshape(x.shape[0], *self.layout)
        for axis, update in enumerate(self.updates, start=1):
            z = update(z.movedim(axis, -1)).movedim(-1, axis)
        return z.reshape(x.shape), self._log_det(x)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        x = z.reshape(z.shape[0], *self.layout)
        for axis, update in reversed(list(enumerate(self.updates, start=1))):
            x = update.inverse(x.movedim(axis, -1)).movedim(-1, axis)
        return x.reshape(z.shape), -self._log_det(z)

    def _log_det(self, x: Tensor) -> Tensor:
        vectors = [elements(x) // length for length in self.layout]  # the number along each axis
        return torch.stack([n * update.log_det() for n, update in zip(vectors, self.updates, strict=True)]).sum()


class Woodbury(_LowRankUpdates):
    r"""Low-rank updates of the identity, one across channels and one across all pixels.

    .. math:: Z = (I_C + U_c V_c)\, X\, (I_P + U_s V_s)^\top, \qquad
        \log|\det| = P \log|\det(I + V_c U_c)| + C \log|\det(I + V_s U_s)|

    on the image as a C×P matrix, P = HW. The inverse of a factor is :math:`I - U (I + V U)^{-1} V`, so both directions
    cost the same. Starts near the identity. Only the likelihood keeps I + V U regular. Computed in at least single
    precision, under autocast too.

    Args:
        channels: number of channels C.
        size: height and width of the image, to which the layer is tied.
        channel_rank: rank of the update across channels.
        spatial_rank: rank of the update across pixels.

    Shape:
        x: ``(B, C, H, W)``; z: the same.

    Raises:
        SingularError: if a matrix to be inverted is singular.

    Reference:
        Lu and Huang, Woodbury Transformations for Deep Generative Flows, 2020, section 3.1,
        https://arxiv.org/abs/2002.12229.

    Example:
        >>> z, log_det = Woodbury(4, size=(8, 6), channel_rank=2, spatial_rank=5)(torch.randn(2, 4, 8, 6))
    """

    joined = True


class MemoryEfficientWoodbury(_LowRankUpdates):
    r"""Low-rank updates of the identity, one across channels, one along columns and one along rows of the image.

    .. math:: \log|\det| = HW \log|\det(I + V_c U_c)| + CW \log|\det(I + V_H U_H)| + CH \log|\det(I + V_W U_W)|

    The spatial updates have 2d(H + W) parameters, instead of the 2dHW of `Woodbury`. Starts near the identity. Only the
    likelihood keeps I + V U regular. Computed in at least single precision, under autocast too.

    Args:
        channels: number of channels C.
        size: height and width of the image, to which the layer is tied.
        channel_rank: rank of the update across channels.
        spatial_rank: rank d of the update along each axis of the image.

    Shape:
        x: ``(B, C, H, W)``; z: the same.

    Raises:
        SingularError: if a matrix to be inverted is singular.

    Reference:
        Lu and Huang, Woodbury Transformations for Deep Generative Flows, 2020, section 3.3,
        https://arxiv.org/abs/2002.12229.

    Example:
        >>> layer = MemoryEfficientWoodbury(4, size=(8, 6), channel_rank=2, spatial_rank=3)
        >>> x = torch.randn(2, 4, 8, 6)
        >>> torch.allclose(layer.inverse(layer(x)[0])[0], x, atol=1e-5)
        True
    """

    joined = False
