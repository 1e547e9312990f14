"""Bernstein polynomials as maps of single elements."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from inverseflow.bijections.maps.root import MIN_SLOPE, RootMap
from inverseflow.utils.arguments import finite_number, whole_number


@dataclass(frozen=True)
class Bernstein(RootMap):
    r"""Increasing polynomial on [-bound, bound], continued by straight lines of the same slope outside.

    .. math:: z = \sum_{k=0}^n \alpha_k \binom nk t^k (1 - t)^{n-k}, \qquad t = \frac{x + B}{2B}, \qquad
        \alpha_0 < \alpha_1 < \dots < \alpha_n

    The parameters are a shift of all coefficients, then n raw increments, made positive by softplus. The slope is at
    least 0.02. Parameters that are all zero are the identity. The inverse inside of the interval is a root,
    `inverseflow.ops.monotone_root`.

    Args:
        degree: degree n of the polynomial, from 2 to 64.
        bound: half the length B of the interval, positive and finite.

    Reference:
        Ramasinghe et al., Robust normalizing flows using Bernstein-type polynomials, 2021, section 3,
        https://arxiv.org/abs/2102.03509.

    Example:
        >>> map = Bernstein(degree=4)
        >>> x, parameters = 4 * torch.randn(2, 3), torch.randn(2, map.num_parameters, 3)
        >>> z, log_derivative = map.forward(x, parameters)
        >>> torch.allclose(map.inverse(z, parameters)[0], x, atol=1e-4)
        True
    """

    degree: int = 16
    bound: float = 5.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "degree", whole_number("degree", self.degree, at_least=2, at_most=64))
        object.__setattr__(self, "bound", finite_number("bound", self.bound, above=0))

    @property
    def num_parameters(self) -> int:
        """Number of parameters P for each element: degree + 1."""
        return self.degree + 1

    def _prepare(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first n coefficients and the n increments."""
        shift, raw = parameters.split([1, self.degree])
        positive = F.softplus(raw + math.log(math.expm1(1)))
        increments = (2 * self.bound / self.degree) * (MIN_SLOPE + (1 - MIN_SLOPE) * positive)
        sums = increments.cumsum(0)
        return shift - 0.5 * sums[-1:] + sums - increments, increments

    def _evaluate(self, x: Tensor, *prepared: Tensor) -> tuple[Tensor, Tensor]:
        coefficients, increments = prepared
        inside = x.clamp(-self.bound, self.bound)
        t = (inside + self.bound) / (2 * self.bound)
        basis = self._basis(t)
        slope = (self.degree / (2 * self.bound)) * (basis * increments).sum(0)
        z = (basis * (coefficients + t * increments)).sum(0)
        return z + slope * (x - inside), slope

    def _basis(self, t: Tensor) -> Tensor:
        """Return the Bernstein polynomials of degree n - 1 at t, ``(n, *shape)``."""
        n = self.degree - 1
        powers, others = [torch.ones_like(t)], [torch.ones_like(t)]
        for _ in range(n):
            powers.append(powers[-1] * t)
            others.append(others[-1] * (1 - t))
        return torch.stack([math.comb(n, k) * powers[k] * others[n - k] for k in range(n + 1)])

    def _bracket(self, z: Tensor, *prepared: Tensor) -> tuple[Tensor, float]:
        coefficients, increments = prepared
        # Start where the polygon of the coefficients, continued by its outer edges, has the value z.
        edge = ((z >= coefficients).sum(0, keepdim=True) - 1).clamp_min(0)
        within = (z - coefficients.gather(0, edge)) / increments.gather(0, edge)
        return self.bound * (2 * (edge + within)[0] / self.degree - 1), self.bound
