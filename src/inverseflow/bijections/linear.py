"""Invertible linear maps across channels."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inverseflow.bijections.base import Bijection, LogDet
from inverseflow.bijections.events import at_least_single, pixels
from inverseflow.ops.dense_solve import dense_solve
from inverseflow.utils.arguments import whole_number


class Conv1x1(Bijection):
    r"""The same invertible C×C matrix at every pixel, without structure.

    .. math:: z = W x, \qquad \log|\det| = HW \log|\det W|

    Starts at a random rotation. Only the likelihood keeps W regular; `LUConv1x1` is regular by construction. Computed
    in at least single precision, under autocast too.

    Args:
        channels: number of channels C.

    Shape:
        x: ``(B, C, *spatial)``; z: the same.

    Raises:
        SingularError: if the matrix to be inverted is singular.

    Reference:
        Kingma and Dhariwal, Glow, 2018, section 3.2, https://arxiv.org/abs/1807.03039.

    Example:
        >>> z, log_det = Conv1x1(4)(torch.randn(2, 4, 5, 5))
    """

    full_precision = True

    def __init__(self, channels: int) -> None:
        super().__init__(channels=channels)
        self.weight = nn.Parameter(_random_rotation(channels))

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        weight = at_least_single(self.weight)
        return mix(weight, x), pixels(x) * torch.linalg.slogdet(weight).logabsdet

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        weight = at_least_single(self.weight)
        inverse, log_det = dense_solve(weight, torch.eye(len(weight), dtype=weight.dtype, device=weight.device))
        return mix(inverse, z), -pixels(z) * log_det


class Householder(Bijection):
    r"""The same orthogonal C×C matrix at every pixel, as a product of K reflections. Log-determinant 0.

    .. math:: z = H_1 \cdots H_K x, \qquad H_k = I - 2 v_k v_k^T / \lVert v_k \rVert^2

    Its inverse is its transpose, and its condition number 1. With K = C it can be any orthogonal matrix whose
    determinant is :math:`(-1)^C`. Starts at random; computed in at least single precision, under autocast too.

    Args:
        channels: number of channels C.
        reflections: number of reflections K, None for C.

    Shape:
        x: ``(B, C, *spatial)``; z: the same.

    Reference:
        Tomczak and Welling, Improving Variational Auto-Encoders using Householder Flow, 2016,
        https://arxiv.org/abs/1611.09630.

    Example:
        >>> layer, x = Householder(6, reflections=2), torch.randn(5, 6)
        >>> torch.allclose(layer(x)[0].norm(dim=1), x.norm(dim=1))
        True
    """

    full_precision = True

    def __init__(self, channels: int, *, reflections: int | None = None) -> None:
        super().__init__(channels=channels)
        self.reflections = whole_number("reflections", channels if reflections is None else reflections, at_least=1)
        self.vectors = nn.Parameter(torch.randn(channels, self.reflections))

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return mix(self._matrix(), x), 0.0

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        return mix(self._matrix().T, z), 0.0

    def _matrix(self) -> Tensor:
        # The product is I - V T⁻¹ Vᵀ with T upper triangular: one solve instead of K reflections one after the other.
        vectors = at_least_single(self.vectors)
        vectors = vectors / vectors.norm(dim=0)
        products = vectors.T @ vectors
        triangle = products.triu(1) + 0.5 * torch.eye(self.reflections, dtype=products.dtype, device=products.device)
        eye = torch.eye(vectors.shape[0], dtype=products.dtype, device=products.device)
        matrix: Tensor = eye - vectors @ torch.linalg.solve_triangular(triangle, vectors.T, upper=True)
        return matrix


class LUConv1x1(Bijection):
    r"""The same invertible C×C matrix at every pixel, as a product of triangular matrices.

    .. math:: W = P L (U + \operatorname{diag}(\sigma \odot e^{s})), \qquad \log|\det| = HW \sum_c s_c

    P is a fixed permutation and σ are fixed signs, both from a random rotation; L is unit lower triangular, U
    strictly upper. Regular by construction. Computed in at least single precision, under autocast too.

    Args:
        channels: number of channels C.

    Shape:
        x: ``(B, C, *spatial)``; z: the same.

    Reference:
        Kingma and Dhariwal, Glow, 2018, section 3.2, https://arxiv.org/abs/1807.03039.

    Example:
        >>> z, log_det = LUConv1x1(4)(torch.randn(2, 4, 5, 5))
        >>> torch.allclose(log_det, torch.zeros(2), atol=1e-4)  # it starts at a rotation
        True
    """

    full_precision = True
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
        lower, upper, permutation = self._factors()
        return mix(permutation @ lower @ upper, x), pixels(x) * at_least_single(self.log_diagonal).sum()

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        lower, upper, permutation = self._factors()
        inverse = torch.linalg.solve_triangular(lower, permutation.T, upper=False, unitriangular=True)
        inverse = torch.linalg.solve_triangular(upper, inverse, upper=True)
        return mix(inverse, z), -pixels(z) * at_least_single(self.log_diagonal).sum()

    def _factors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return L, U with its diagonal, and P, in at least single precision."""
        diagonal = self.signs * at_least_single(self.log_diagonal).exp()
        eye = torch.eye(len(diagonal), dtype=diagonal.dtype, device=diagonal.device)
        upper = torch.where(eye > 0, diagonal, at_least_single(self.upper).triu(1))  # ONNX knows no torch.diag
        return at_least_single(self.lower).tril(-1) + eye, upper, at_least_single(self.permutation)


def _random_rotation(channels: int) -> Tensor:
    rotation: Tensor = torch.linalg.qr(torch.randn(channels, channels)).Q
    return rotation


def mix(matrix: Tensor, x: Tensor) -> Tensor:
    """Multiply the channels of every pixel by a matrix."""
    if x.ndim == 2:
        return F.linear(x, matrix)
    mixed: Tensor = matrix @ x.reshape(*x.shape[:2], pixels(x))
    return mixed.view(x.shape)
