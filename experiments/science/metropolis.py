"""Metropolis–Hastings sampler for references."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.distributions import Distribution

from inverseflow.inference import Support
from inverseflow.utils.seeding import seeded

LogDensity = Callable[[Tensor], Tensor]
"""Log-density of each row up to a constant."""


@dataclass(frozen=True)
class Chains:
    """States of parallel chains after the first half."""

    states: Tensor
    """``(T, chains, D)``."""
    acceptance: float
    """Fraction of the proposals that were accepted."""

    @property
    def r_hat(self) -> float:
        """Largest ratio over the coordinates of the spread between all chains to the spread within one; 1 if mixed."""
        within = self.states.var(0).mean(0)
        between = self.states.mean(0).var(0)
        return float(((within + between) / within).sqrt().max())


def metropolis(log_density: LogDensity, start: Tensor, steps: int, *, generator: Generator | None = None) -> Chains:
    r"""Sample by an ensemble of chains that propose differences of each other (differential evolution).

    A chain of one half of the ensemble proposes to move along the difference of two chains of the other half,

    .. math:: x_i' = x_i + \gamma (x_a - x_b), \qquad \gamma = 2.38 / \sqrt{2D}, \text{ or 1 in one step of ten,}

    with γ changed by up to 20 %. So proposals adapt to scales and correlations.

    Args:
        log_density: of the rows.
        start: ``(chains, D)``, an even number of distinct states.
        steps: number of steps, of which the second half is returned.
        generator: for proposals and decisions.

    Source: ter Braak 2006, *A Markov Chain Monte Carlo version of the genetic algorithm Differential Evolution*,
    https://doi.org/10.1007/s11222-006-8769-1

    Example:
        >>> normal = lambda x: -0.5 * x.square().sum(-1)
        >>> chains = metropolis(normal, torch.randn(50, 2), 200, generator=torch.Generator().manual_seed(0))
        >>> chains.states.shape, bool((chains.states.std((0, 1)) - 1).abs().max() < 0.1)
        (torch.Size([100, 50, 2]), True)
    """
    count, dims = start.shape
    half = count // 2
    x, value = start.clone(), log_density(start)
    accepted, states = 0, []
    for step in range(steps):
        gamma = 1.0 if step % 10 == 9 else 2.38 / math.sqrt(2 * dims)
        for mine, other in ((slice(0, half), half), (slice(half, None), 0)):
            pair = torch.rand(half, half, generator=generator).topk(2).indices + other  # two distinct chains for each
            scale = gamma * (0.8 + 0.4 * torch.rand(half, 1, generator=generator)).to(x.dtype)
            proposed = x[mine] + scale * (x[pair[:, 0]] - x[pair[:, 1]])
            new = log_density(proposed)
            accept = torch.rand(half, generator=generator).log() < new - value[mine]
            x[mine] = torch.where(accept[:, None], proposed, x[mine])
            value[mine] = torch.where(accept, new, value[mine])
            accepted += int(accept.sum())
        if step >= steps // 2:
            states.append(x.clone())
    return Chains(torch.stack(states), accepted / (steps * count))


def sample_posterior(
    prior: Distribution,
    log_likelihood: Callable[[Tensor, Tensor], Tensor],
    y: Tensor,
    *,
    chains: int = 200,
    steps: int = 500,
    tried: int = 20_000,
    generator: Generator | None = None,
) -> Chains:
    """Sample p(x | y) by `metropolis`, starting at the best of some samples of the prior.

    The chains move in the unbounded coordinates of the prior's support.

    Args:
        prior: of x, with a support that `Support` knows.
        log_likelihood: ``log_likelihood(x, y)`` of the rows of x, up to a constant.
        y: one observation.
        chains: number of chains.
        steps: number of steps.
        tried: number of samples of the prior; they are the same in every call.
        generator: for the chains.
    """
    support = Support.of(prior)

    def log_density(u: Tensor) -> Tensor:
        x = support.from_real(u, y.dtype)
        return (prior.log_prob(x) + log_likelihood(x, y)).double() - support.log_det(u)

    with seeded(0, "prior"):
        u, _ = support.to_real(support.dequantize(prior.sample((tried,))))
    best = log_density(u).topk(chains).indices
    start = u[best[torch.randperm(chains, generator=generator)]]
    found = metropolis(log_density, start, steps, generator=generator)
    states = support.from_real(found.states.flatten(0, 1), y.dtype).unflatten(0, found.states.shape[:2])
    return Chains(states, found.acceptance)


@dataclass(frozen=True)
class ChainReference:
    """Reference of a problem, ``(y, n, generator) -> samples (n, D)``, by `sample_posterior`."""

    prior: Distribution
    """Of x."""
    log_likelihood: Callable[[Tensor, Tensor], Tensor]
    """``(x, y) -> log p(y | x)`` of the rows of x, up to a constant."""
    chains: int = 200
    """Number of chains."""
    steps: int = 500
    """Number of steps."""

    def __call__(self, y: Tensor, n: int, generator: Generator | None) -> Tensor:
        """Return samples of the posterior."""
        found = sample_posterior(
            self.prior, self.log_likelihood, y, chains=self.chains, steps=self.steps, generator=generator
        )
        states = found.states.flatten(0, 1)
        return states[torch.randint(len(states), (n,), generator=generator)]


def gaussian_log_likelihood(
    simulator: Callable[[Tensor], Tensor], deviation: float | Tensor
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return ``(x, y) -> log p(y | x)`` up to a constant, of normal noise around a simulator.

    Args:
        simulator: without noise.
        deviation: standard deviation of the noise, one or of each number of y.
    """

    def log_likelihood(x: Tensor, y: Tensor) -> Tensor:
        return -0.5 * ((simulator(x) - y) / deviation).square().flatten(1).sum(1)

    return log_likelihood
