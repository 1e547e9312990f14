"""A linear Gaussian problem with its exact posterior, and posteriors that are wrong in a known way."""

import torch
from torch.distributions import Independent, MultivariateNormal, Normal

from inverseflow.inference import Problem

A = torch.tensor([[1.0, 0.5, 0.0], [0.3, 1.0, -0.5]], dtype=torch.float64)
NOISE = 0.5
COVARIANCE = torch.linalg.inv(torch.eye(3, dtype=torch.float64) + A.T @ A / NOISE**2)
PARAMETERS = ("radius [m]", "mass [kg]", "spin")


def problem(reference=False):
    return Problem(
        "linear Gaussian",
        Independent(Normal(torch.zeros(3, dtype=torch.float64), 1.0), 1),
        lambda x: x @ A.T,
        noise=lambda s: s + NOISE * torch.randn_like(s),
        parameters=PARAMETERS,
        reference=exact_samples if reference else None,
    )


def mean(y):
    return y @ A @ COVARIANCE / NOISE**2


def exact_samples(y, n, generator):
    return mean(y) + torch.randn(n, 3, dtype=torch.float64, generator=generator) @ torch.linalg.cholesky(COVARIANCE).T


class Posterior:
    """The exact posterior, or one `scale` times as wide and moved by `shift`."""

    def __init__(self, scale=1.0, shift=0.0):
        self.scale, self.shift = scale, shift

    def distribution(self, y):
        return MultivariateNormal(mean(y) + self.shift, self.scale**2 * COVARIANCE)

    def sample(self, y, n):
        return self.distribution(y).sample((n,)).transpose(0, 1)

    def log_prob(self, x, y):
        return self.distribution(y).log_prob(x.transpose(0, 1)).T


class Prior:
    """A solver that ignores the observation."""

    def sample(self, y, n):
        return torch.randn(len(y), n, 3, dtype=torch.float64)

    def log_prob(self, x, y):
        return Normal(0.0, 1.0).log_prob(x).sum(-1)


class Samples:
    """A posterior without a density."""

    def __init__(self, posterior):
        self.sample = posterior.sample
