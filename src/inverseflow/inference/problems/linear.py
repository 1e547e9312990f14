"""Linear problems with normal noise."""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor
from torch.distributions import MultivariateNormal, Normal

from inverseflow.inference.problem import Problem
from inverseflow.inference.problems.priors import box, gaussian
from inverseflow.inference.problems.registry import register
from inverseflow.utils.arguments import finite_number, whole_number


@register("gaussian-linear")
def gaussian_linear(
    matrix: Tensor | Sequence[Sequence[float]] | None = None,
    *,
    dims: int = 10,
    noise: float = math.sqrt(0.1),
    prior_scale: float = math.sqrt(0.1),
) -> Problem:
    r"""Return a linear problem with a normal prior, whose posterior is normal too.

    .. math:: x \sim \mathcal{N}(0, s^2 I), \quad y = Ax + \sigma n, \quad
        p(x \mid y) = \mathcal{N}(\Sigma A^\top y / \sigma^2, \Sigma), \quad
        \Sigma = (I / s^2 + A^\top A / \sigma^2)^{-1}

    The defaults are task T.1 of Lueckmann et al., 2021, https://arxiv.org/abs/2101.04653.

    Args:
        matrix: A, ``(M, D)``; the identity if None.
        dims: D if there is no matrix.
        noise: σ.
        prior_scale: s.

    Example:
        >>> problem = gaussian_linear([[1.0, 0.0], [1.0, 1.0]], noise=0.5, prior_scale=1.0)
        >>> problem.reference(torch.zeros(2), 5, None).shape
        torch.Size([5, 2])
    """
    a = torch.eye(whole_number("dims", dims, at_least=1)) if matrix is None else torch.as_tensor(matrix).float()
    if a.ndim != 2:
        raise ValueError(f"matrix must have the shape (M, D), got {tuple(a.shape)}")
    noise, prior_scale = finite_number("noise", noise, above=0), finite_number("prior_scale", prior_scale, above=0)
    a64 = a.double()
    precision = torch.eye(a.shape[1]).double() / prior_scale**2 + a64.T @ a64 / noise**2
    covariance: Tensor = torch.linalg.inv(precision)
    factor: Tensor = torch.linalg.cholesky(covariance)

    def mean(y: Tensor) -> Tensor:
        return y.double() @ a64 @ covariance / noise**2

    def reference(y: Tensor, n: int, generator: Generator | None = None) -> Tensor:
        draws = torch.randn(n, a.shape[1], dtype=torch.float64, generator=generator)
        return (mean(y) + draws @ factor.T).to(y.dtype)

    def log_prob(x: Tensor, y: Tensor) -> Tensor:
        density: Tensor = MultivariateNormal(mean(y), scale_tril=factor).log_prob(x.double())
        return density.to(x.dtype)

    return Problem(
        name="gaussian-linear",
        prior=gaussian([prior_scale] * a.shape[1]),
        simulator=lambda x: x @ a.T,
        noise=lambda s: s + noise * torch.randn_like(s),
        reference=reference,
        log_prob=log_prob,
    )


@register("gaussian-linear-uniform")
def gaussian_linear_uniform(*, dims: int = 10, noise: float = math.sqrt(0.1)) -> Problem:
    r"""Return a problem of normal noise added to parameters in a cube, whose posterior is a truncated normal.

    .. math:: x \sim \mathcal{U}(-1, 1)^D, \quad y = x + \sigma n, \quad
        p(x \mid y) = \prod_i \frac{\mathcal{N}(x_i; y_i, \sigma^2)}
        {\Phi((1 - y_i) / \sigma) - \Phi((-1 - y_i) / \sigma)}

    The defaults are task T.2 of Lueckmann et al., 2021, https://arxiv.org/abs/2101.04653.

    Args:
        dims: D.
        noise: σ.

    Example:
        >>> gaussian_linear_uniform(dims=2).reference(torch.tensor([3.0, -3.0]), 100, None).abs().max() <= 1
        tensor(True)
    """
    dims, noise = whole_number("dims", dims, at_least=1), finite_number("noise", noise, above=0)

    def ends(distance: Tensor) -> tuple[Tensor, Tensor]:
        """Return Φ at the ends of [−1, 1] for a mean at or above 0, where small values have all digits."""
        low, high = (((distance - end) / (noise * math.sqrt(2))).erfc() / 2 for end in (-1, 1))
        return low, high

    def reference(y: Tensor, n: int, generator: Generator | None = None) -> Tensor:
        distance = y.double().abs()
        low, high = ends(distance)
        u = low + (high - low) * torch.rand(n, dims, dtype=torch.float64, generator=generator)
        x: Tensor = (distance + noise * torch.special.ndtri(u)).clamp(-1, 1)
        return (x * torch.where(y < 0, -1, 1)).to(y.dtype)

    def log_prob(x: Tensor, y: Tensor) -> Tensor:
        low, high = ends(y.double().abs())
        density: Tensor = Normal(y.double(), noise).log_prob(x.double()) - (high - low).log()
        return density.masked_fill(x.abs() > 1, -math.inf).sum(-1).to(x.dtype)

    return Problem(
        name="gaussian-linear-uniform",
        prior=box(-1, 1, dims),
        simulator=lambda x: x,
        noise=lambda s: s + noise * torch.randn_like(s),
        reference=reference,
        log_prob=log_prob,
    )
