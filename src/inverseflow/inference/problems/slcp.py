"""A simple likelihood with a complex posterior."""

import numpy as np
import torch
from torch import Generator, Tensor
from torch.distributions import Chi2

from inverseflow.inference.problem import Problem
from inverseflow.inference.problems.priors import box
from inverseflow.inference.problems.registry import register
from inverseflow.utils.seeding import seeded

_BOUND, _POINTS, _JITTER = 3.0, 4, 1e-6
_DISTRACTORS, _COMPONENTS, _DEGREES = 92, 20, 2


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return mean ``(B, 2)`` and covariance ``(B, 2, 2)`` of the points that parameters ``(B, 5)`` lead to.

    .. math:: \mu = (x_1, x_2), \quad S = \begin{pmatrix} s_1^2 & \rho s_1 s_2 \\ \rho s_1 s_2 & s_2^2 \end{pmatrix},
        \quad s_1 = x_3^2, \quad s_2 = x_4^2, \quad \rho = \tanh x_5

    Both variances are enlarged by 1e-6.
    """
    s1, s2, rho = x[:, 2] ** 2, x[:, 3] ** 2, x[:, 4].tanh()
    entries = torch.stack([s1**2 + _JITTER, rho * s1 * s2, rho * s1 * s2, s2**2 + _JITTER], 1)
    return x[:, :2], entries.view(-1, 2, 2)


@register("slcp")
def simple_likelihood() -> Problem:
    r"""Return the problem with a simple likelihood and a complex posterior: four points of a normal distribution.

    Parameters in [−3, 3]⁵ are mean and covariance of the points, see `moments`. The posterior has four modes, as the
    signs of x₃ and x₄ cannot be told. The reference is rejection sampling from an inverse Wishart distribution.

    Task T.3 of Lueckmann et al., 2021, https://arxiv.org/abs/2101.04653.

    Example:
        >>> x, y = simple_likelihood().simulate(10)
        >>> x.shape, y.shape
        (torch.Size([10, 5]), torch.Size([10, 8]))
    """
    return Problem(name="slcp", prior=box(-_BOUND, _BOUND, dims=5), simulator=_points, reference=_reference)


@register("slcp-distractors")
def simple_likelihood_with_distractors() -> Problem:
    """Return the same problem with 92 numbers of pure noise among the observations, in a fixed random order.

    The noise is a mixture of 20 multivariate Student distributions with two degrees of freedom. Task T.4 of Lueckmann
    et al., 2021, https://arxiv.org/abs/2101.04653.

    Example:
        >>> simple_likelihood_with_distractors().simulate(3)[1].shape
        torch.Size([3, 100])
    """
    locations, factors, order = distractors()
    informative = order.argsort()[: 2 * _POINTS]  # where the points are

    def simulator(x: Tensor) -> Tensor:
        component = torch.randint(_COMPONENTS, (len(x),))
        chi2 = Chi2(float(_DEGREES)).sample((len(x), 1))
        normal = torch.randn(len(x), _DISTRACTORS, 1)
        noise = torch.empty(len(x), _DISTRACTORS)
        for k in range(_COMPONENTS):
            mine = component == k
            student = (factors[k] @ normal[mine]).squeeze(-1) * (_DEGREES / chi2[mine]).sqrt()
            noise[mine] = locations[k] + student
        return torch.cat([_points(x), noise.to(x)], 1)[:, order]

    return Problem(
        name="slcp-distractors",
        prior=box(-_BOUND, _BOUND, dims=5),
        simulator=simulator,
        reference=lambda y, n, generator: _reference(y[informative], n, generator),
    )


def distractors() -> tuple[Tensor, Tensor, Tensor]:
    """Return locations ``(20, 92)`` and factors ``(20, 92, 92)`` of the noise, and the order of all observations.

    They are random numbers, fixed by the seed with which the task was published.
    """
    random, size = np.random.RandomState(42), _DISTRACTORS
    locations = np.stack([15 * random.normal(size=size) for _ in range(_COMPONENTS)])
    factors = [
        np.tril(random.normal(size=(size, size))) + np.diag(np.exp(random.normal(size=size)))
        for _ in range(_COMPONENTS)
    ]
    order = random.permutation(size + 2 * _POINTS)
    return torch.from_numpy(locations).float(), torch.from_numpy(3 * np.stack(factors)).float(), torch.from_numpy(order)


def _points(x: Tensor) -> Tensor:
    mean, covariance = moments(x)
    noise = torch.randn(len(x), _POINTS, 2, dtype=x.dtype)
    factor: Tensor = torch.linalg.cholesky(covariance)
    return (mean[:, None] + noise @ factor.mT).flatten(1)


def _reference(y: Tensor, n: int, generator: Generator | None = None) -> Tensor:
    r"""Draw from the exact posterior (for variances far above 1e-6) by rejection.

    Integrated over the mean, the likelihood of S is :math:`|S|^{-3/2} e^{-tr(S^{-1} W) / 2}`, where W is the scatter
    of the points. The prior density of S is ∝ :math:`|S|^{-1} (s_1 s_2)^{-1/2} = |S|^{-5/4} (1 - \rho^2)^{1/4}`. So
    S is drawn from the inverse Wishart distribution of W with 2.5 degrees of freedom, and accepted with probability
    :math:`(1 - \rho^2)^{1/4}` inside of the prior.
    """
    points = y.double().view(_POINTS, 2)
    center = points.mean(0)
    root = torch.linalg.cholesky((points - center).T @ (points - center))
    count, accepted = 0, []
    with seeded(int(torch.randint(2**31, (), generator=generator)), "slcp"):
        for _ in range(1000):
            # S = R A⁻ᵀ A⁻¹ Rᵀ for W = R Rᵀ and a Wishart matrix A Aᵀ
            a = torch.zeros(4 * n, 2, 2, dtype=torch.float64)
            a[:, 0, 0], a[:, 1, 1] = (Chi2(torch.tensor(k).double()).sample((4 * n,)).sqrt() for k in (2.5, 1.5))
            a[:, 1, 0] = torch.randn(4 * n)
            factor = root @ torch.linalg.inv(a).mT
            s11, s12, _, s22 = (factor @ factor.mT).flatten(1).unbind(1)
            rho = s12 / (s11 * s22).sqrt()
            mean = center + (factor @ torch.randn(4 * n, 2, 1).double()).squeeze(-1) / _POINTS**0.5
            signs = torch.randint(2, (4 * n, 2)) * 2 - 1
            x = torch.cat([mean, signs * torch.stack([s11, s22], 1) ** 0.25, rho.atanh()[:, None]], 1)
            keep = (torch.rand(4 * n) < (1 - rho**2) ** 0.25) & (x.abs() <= _BOUND).all(1)
            accepted.append(x[keep])
            count += int(keep.sum())
            if count >= n:
                return torch.cat(accepted)[:n].to(y.dtype)
    raise ValueError(f"hardly any parameters lead to {y.tolist()}")
