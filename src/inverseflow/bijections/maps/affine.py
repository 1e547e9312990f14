"""Scale and shift of single elements, and the choice of a layer's map."""

from dataclasses import dataclass

import torch
from torch import Tensor

from inverseflow.bijections.maps.base import ElementwiseMap
from inverseflow.utils.arguments import finite_number


@dataclass(frozen=True)
class Affine(ElementwiseMap):
    r"""Scale and shift: :math:`z = x\,e^s + t`, with parameters r and t.

    :math:`s = m \tanh(r / m)` for the bound m, so that every scale lies in :math:`[e^{-m}, e^m]`.

    Args:
        max_log_scale: the bound m, positive and finite.

    Reference:
        Dinh et al., RealNVP, 2017, section 3.2, https://arxiv.org/abs/1605.08803.

    Example:
        >>> Affine().forward(torch.ones(1, 3), torch.zeros(1, 2, 3))
        (tensor([[1., 1., 1.]]), tensor([[0., 0., 0.]]))
    """

    max_log_scale: float = 2.0
    num_parameters = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "max_log_scale", finite_number("max_log_scale", self.max_log_scale, above=0))

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Scale, then shift."""
        log_scale, shift = self._scale_and_shift(parameters)
        return torch.addcmul(shift, x, log_scale.exp()), log_scale

    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Shift back, then scale."""
        log_scale, shift = self._scale_and_shift(parameters)
        log_derivative = -log_scale
        return (z - shift) * log_derivative.exp(), log_derivative

    def _scale_and_shift(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        raw_scale, shift = parameters.unbind(1)
        return self.max_log_scale * torch.tanh(raw_scale / self.max_log_scale), shift


@dataclass(frozen=True)
class Additive(ElementwiseMap):
    r"""Shift: :math:`z = x + t`. Its log-derivative is 0.

    Reference:
        Dinh et al., NICE, 2015, section 3.2, https://arxiv.org/abs/1410.8516.

    Example:
        >>> Additive().forward(torch.ones(1, 3), torch.full((1, 1, 3), 0.5))[0]
        tensor([[1.5000, 1.5000, 1.5000]])
    """

    num_parameters = 1

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Shift."""
        return x + parameters[:, 0], torch.zeros_like(x)

    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Shift back."""
        return z - parameters[:, 0], torch.zeros_like(z)


def as_map(map: ElementwiseMap | None) -> ElementwiseMap:
    """Return the map of a layer, `Affine` for None; raise TypeError if it is of another type."""
    if not isinstance(map, ElementwiseMap | None):
        raise TypeError(f"map must be an instance of ElementwiseMap, got {map!r}")
    return Affine() if map is None else map
