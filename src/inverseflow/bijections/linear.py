"""Invertible linear maps across channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from inverseflow.bijections.base import Bijection, LogDet
from inverseflow.bijections.events import pixels
from inverseflow.ops.dense_solve import dense_solve


class Conv1x1(Bijection):
    r"""The same invertible C×C matrix at every pixel, free of structure.

    .. math:: z = W x, \qquad \log|\det| = HW \log|\det W|

    Starts at a random rotation. Nothing but the likelihood keeps W regular; `LUConv1x1` is regular by construction.
    Computed at full precision under autocast, so that both directions stay each other's inverse.

    Args:
        channels: number of channels C.

    Shape:
        x: ``(B, C, *spatial)``; z: the same.

    Raises:
        SingularError: the matrix to be inverted is singular.

    Reference:
        Kingma & Dhariwal, Glow, 2018, section 3.2.

    Example:
        >>> layer = Conv1x1(4)
        >>> x = torch.randn(2, 4, 5, 5)
        >>> torch.allclose(layer.inverse(layer(x)[0])[0], x, atol=1e-5)
        True
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels=channels)
        self.weight = nn.Parameter(_random_rotation(channels))

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        with torch.autocast(x.device.type, enabled=False):
            return _mix(self.weight, x), pixels(x) * torch.linalg.slogdet(self.weight).logabsdet

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        with torch.autocast(z.device.type, enabled=False):
            inverse, log_det = dense_solve(self.weight, torch.eye(len(self.weight)).to(self.weight))
            return _mix(inverse, z), -pixels(z) * log_det

    def extra_repr(self) -> str:
        """Show the channels."""
        return f"channels={self.channels}"


class LUConv1x1(Bijection):
    r"""The same invertible C×C matrix at every pixel, as a product of triangular ones.

    .. math:: W = P L (U + \operatorname{diag}(\sigma \odot e^{s})), \qquad \log|\det| = HW \sum_c s_c

    P is a fixed permutation and σ are fixed signs, both from a random rotation; L is unit lower triangular, U
    strictly upper. Regular by construction. Computed at full precision under autocast.

    Args:
        channels: number of channels C.

    Shape:
        x: ``(B, C, *spatial)``; z: the same.

    Reference:
        Kingma & Dhariwal, Glow, 2018, section 3.2.

    Example:
        >>> layer = LUConv1x1(4)
        >>> z, log_det = layer(torch.randn(2, 4, 5, 5))
        >>> torch.allclose(log_det, torch.zeros(2), atol=1e-4)  # it starts at a rotation
        True
    """

    permutation: Tensor
    signs: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__(channels=channels)
        permutation, lower, upper = torch.linalg.lu(_random_rotation(channels))
        self.register_buffer("permutation", permutation)
        self.register_buffer("signs", upper.diagonal().sign())
        self.lower = nn.Parameter(lower.tril(-1))
        self.upper = nn.Parameter(upper.triu(1))
        self.log_diagonal = nn.Parameter(upper.diagonal().abs().log())

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        with torch.autocast(x.device.type, enabled=False):
            lower, upper = self._factors()
            return _mix(self.permutation @ lower @ upper, x), pixels(x) * self.log_diagonal.sum()

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        with torch.autocast(z.device.type, enabled=False):
            lower, upper = self._factors()
            inverse = torch.linalg.solve_triangular(lower, self.permutation.T, upper=False, unitriangular=True)
            inverse = torch.linalg.solve_triangular(upper, inverse, upper=True)
            return _mix(inverse, z), -pixels(z) * self.log_diagonal.sum()

    def _factors(self) -> tuple[Tensor, Tensor]:
        eye = torch.eye(len(self.signs), dtype=self.lower.dtype, device=self.lower.device)
        upper = self.upper.triu(1) + torch.diag(self.signs * self.log_diagonal.exp())
        return self.lower.tril(-1) + eye, upper

    def extra_repr(self) -> str:
        """Show the channels."""
        return f"channels={self.channels}"


def _random_rotation(channels: int) -> Tensor:
    rotation: Tensor = torch.linalg.qr(torch.randn(channels, channels)).Q
    return rotation


def _columns(x: Tensor, like: Tensor) -> Tensor:
    return x.to(like.dtype).reshape(*x.shape[:2], pixels(x))


def _mix(matrix: Tensor, x: Tensor) -> Tensor:
    mixed: Tensor = matrix @ _columns(x, matrix)
    return mixed.view(x.shape)
