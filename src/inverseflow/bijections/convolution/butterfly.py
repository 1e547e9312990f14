"""Butterfly layers: invertible 2×2 blocks on pairs of elements, factor by factor."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from inverseflow.bijections.base import Bijection, LogDet, Shape, TypedModuleList
from inverseflow.bijections.events import at_least_single, elements
from inverseflow.utils.arguments import whole_number


class Butterfly(Bijection):
    r"""Multiply pairs of elements by 2×2 blocks; the distance of the partners halves from factor to factor.

    .. math:: \begin{pmatrix} z_j \\ z_{j + l/2} \end{pmatrix} =
        \begin{pmatrix} \cos\theta & -\sin\theta \\ \sin\theta & \cos\theta \end{pmatrix}
        \begin{pmatrix} e^{a} & u \\ 0 & e^{b} \end{pmatrix}
        \begin{pmatrix} x_j \\ x_{j + l/2} \end{pmatrix}, \qquad \log|\det| = \sum (a + b)

    The flattened event of D = CHW elements is cut in factor i into :math:`2^i` stretches of length
    :math:`l = D / 2^i`. Factor 0 couples the two halves of the event, the last one couples neighbors. Every 2×2 matrix
    of positive determinant is such a product, and no value of the parameters makes one singular. Both directions cost
    O(D) for each factor. Starts at the identity.

    Args:
        channels: number of channels C.
        size: spatial shape, ``(H, W)`` for images; with `shared` None for any size that the factors divide.
        factors: indices of the factors, first applied first; an index may come twice.
        shared: one block for each stretch instead of one for each pair.

    Shape:
        x: ``(B, C, *spatial)``; z: the same.

    Raises:
        ValueError: if blocks that are not shared have no size, or :math:`2^{i+1}` does not divide D.

    Reference:
        Meng et al., ButterflyFlow, 2022, section 3, https://arxiv.org/abs/2209.13774.

    Example:
        >>> z, log_det = Butterfly(4, size=(8, 6), factors=(0, 1, 2))(torch.randn(2, 4, 8, 6))
    """

    def __init__(
        self, channels: int, *, size: Shape | None = None, factors: Sequence[int] = (0,), shared: bool = False
    ) -> None:
        super().__init__(channels=channels, size=size)
        if self.size is None and not shared:
            raise ValueError(
                "a butterfly with a block for each pair of elements is tied to a size; pass size=(H, W), or shared=True"
            )
        self.factor_indices = tuple(whole_number("an index of factors", index, at_least=0) for index in factors)
        if not self.factor_indices:
            raise ValueError("factors must name at least one factor, counted from 0, got none")
        self.shared = shared
        if self.size is not None:
            self._check_shape((channels, *self.size))
        elements_built_for = channels * math.prod(self.size or ())
        self.factors: TypedModuleList[_Blocks] = TypedModuleList(
            _Blocks(2**index, 1 if shared else elements_built_for // 2 ** (index + 1)) for index in self.factor_indices
        )

    def _forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        z = x.flatten(1)
        for factor in self.factors:
            z = factor(z)
        return z.view(x.shape), self._log_det(x)

    def _inverse(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, LogDet]:
        x = z.flatten(1)
        for index in reversed(range(len(self.factors))):  # torch 2.6 can't compile a reversed ModuleList
            x = self.factors[index].inverse(x)
        return x.view(z.shape), -self._log_det(z)

    def _log_det(self, x: Tensor) -> Tensor:
        pairs = elements(x) // 2
        log_dets = [pairs // factor.angle.numel() * at_least_single(factor.log_scale).sum() for factor in self.factors]
        return torch.stack(log_dets).sum()

    def _check_shape(self, shape: Shape) -> None:
        super()._check_shape(shape)
        deepest, count = max(self.factor_indices), math.prod(shape)
        if count % 2 ** (deepest + 1):
            raise ValueError(
                f"factor {deepest} of a butterfly needs a number of elements that {2 ** (deepest + 1)} divides, "
                f"got an event of shape {shape} with {count}; leave the factor out, or squeeze or pad the event"
            )

    def extra_repr(self) -> str:
        """Show the arguments of the constructor."""
        size = "" if self.size is None else f", size={self.size}"
        return f"channels={self.channels}{size}, factors={self.factor_indices}, shared={self.shared}"


class _Blocks(nn.Module):
    """One factor: a rotation after an upper triangular matrix of positive diagonal, for each pair or each stretch."""

    def __init__(self, stretches: int, pairs: int) -> None:
        super().__init__()
        self.angle = nn.Parameter(torch.zeros(stretches, pairs))
        self.log_scale = nn.Parameter(torch.zeros(2, stretches, pairs))
        self.shear = nn.Parameter(torch.zeros(stretches, pairs))

    def forward(self, x: Tensor) -> Tensor:
        """Multiply every pair by its block."""
        first, second = self._split(x)
        scale = self.log_scale.exp()
        first, second = scale[0] * first + self.shear * second, scale[1] * second
        cos, sin = self.angle.cos(), self.angle.sin()
        return self._join(cos * first - sin * second, sin * first + cos * second)

    def inverse(self, z: Tensor) -> Tensor:
        """Multiply every pair by the inverse of its block."""
        first, second = self._split(z)
        cos, sin = self.angle.cos(), self.angle.sin()
        first, second = cos * first + sin * second, cos * second - sin * first
        scale = (-self.log_scale).exp()
        second = scale[1] * second
        return self._join(scale[0] * (first - self.shear * second), second)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, second = x.unflatten(1, (len(self.angle), 2, -1)).unbind(2)  # (B, stretches, l / 2) each
        return first, second

    def _join(self, first: Tensor, second: Tensor) -> Tensor:
        return torch.stack([first, second], dim=2).flatten(1)
