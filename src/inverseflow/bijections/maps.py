"""Monotone maps of single elements, whose parameters a network predicts."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from inverseflow.ops.spline import MIN_BIN, elementwise_spline
from inverseflow.utils.arguments import finite_number, whole_number


class ElementwiseMap(ABC):
    r"""A monotone map :math:`z = \phi(x; \theta)` of one number with parameters θ, applied to every element.

    A subclass MUST implement `num_parameters`, `forward` and `inverse`. Parameters that are all zero CAN be the
    identity, so that a layer whose network starts at zero starts there too. A `Coupling` takes any such map.

    Example:
        >>> class Stretch(ElementwiseMap):
        ...     num_parameters = 1
        ...     def forward(self, x, parameters):
        ...         return x * parameters[:, 0].exp(), parameters[:, 0]
        ...     def inverse(self, z, parameters):
        ...         return z * (-parameters[:, 0]).exp(), -parameters[:, 0]
        >>> z, log_det = Coupling(2, partial(MLP, width=8), map=Stretch())(torch.randn(5, 2))
    """

    @property
    @abstractmethod
    def num_parameters(self) -> int:
        """Number of parameters P for each element."""

    @abstractmethod
    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        r"""Map elements.

        Args:
            x: ``(B, *rest)``.
            parameters: ``(B, P, *rest)``.

        Returns:
            z and :math:`\log \phi'(x)`, both of the shape of x.
        """

    @abstractmethod
    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        r"""Map elements back; like `forward`, return x and the logarithm of :math:`dx/dz`."""


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


@dataclass(frozen=True)
class RationalQuadratic(ElementwiseMap):
    r"""Monotone rational-quadratic spline on [-bound, bound], the identity outside.

    Its n widths, n heights and n - 1 inner derivatives are those of `inverseflow.ops.rational_quadratic_spline`.

    Args:
        bins: number of bins n, at least 2.
        bound: half the length of the interval, positive and finite.

    Reference:
        Durkan et al., Neural Spline Flows, 2019, section 3.1, https://arxiv.org/abs/1906.04032.

    Example:
        >>> spline = RationalQuadratic(bins=4)
        >>> x, parameters = torch.randn(2, 3), torch.randn(2, spline.num_parameters, 3)
        >>> z, log_derivative = spline.forward(x, parameters)
        >>> torch.allclose(spline.inverse(z, parameters)[0], x, atol=1e-4)
        True
    """

    bins: int = 8
    bound: float = 5.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "bins", spline_bins("bins", self.bins))
        object.__setattr__(self, "bound", finite_number("bound", self.bound, above=0))

    @property
    def num_parameters(self) -> int:
        """Number of parameters P for each element: 3 bins - 1."""
        return 3 * self.bins - 1

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate the spline."""
        return elementwise_spline(x, parameters, bins=self.bins, bound=self.bound)

    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate the inverse of the spline."""
        return elementwise_spline(z, parameters, bins=self.bins, bound=self.bound, inverse=True)


def spline_bins(name: str, bins: int) -> int:
    """Return a number of bins of a spline as `int`, or raise if a spline can't have it."""
    bins = whole_number(name, bins, at_least=2)
    if bins * MIN_BIN >= 1:
        raise ValueError(
            f"{name} must be below {1 / MIN_BIN:g}, because each takes {MIN_BIN} of the interval, got {bins}"
        )
    return bins


def as_map(map: ElementwiseMap | None) -> ElementwiseMap:
    """Return the map of a layer, `Affine` for None; raise TypeError if it is of another type."""
    if not isinstance(map, ElementwiseMap | None):
        raise TypeError(f"map must be an instance of ElementwiseMap, got {map!r}")
    return Affine() if map is None else map
