"""Expected coverage: how often a credible region of a posterior holds the true parameters."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from inverseflow.inference.diagnostics.draws import Sampler, check_pairs, draw, has_density
from inverseflow.inference.diagnostics.sbc import density_ranks, ranks_among
from inverseflow.utils.arguments import finite_number
from inverseflow.utils.seeding import derived_seed

LEVELS = (0.5, 0.68, 0.95)


@dataclass(frozen=True)
class Coverage:
    """Shares of true parameters within credible regions."""

    region: str
    """``"highest density"`` (one region of all parameters) or ``"central intervals"`` (one of each parameter)."""
    levels: tuple[float, ...]
    """Nominal probabilities of the regions."""
    rates: tuple[tuple[float, ...], ...]
    """For each region the share of simulations whose true parameters it holds, at each level."""
    standard_errors: tuple[float, ...]
    """Of a rate of an exact posterior, at each level."""


def expected_coverage(
    posterior: Sampler, x: Tensor, y: Tensor, *, levels: Sequence[float] = LEVELS, draws: int = 99, seed: int = 0
) -> Coverage:
    """Return how often credible regions hold the true parameters; the rates of an exact posterior are the levels.

    With a density, the region of probability c consists of the points of highest density. It is judged by the rank of
    the truth's density among those of draws, so that correlations count too. Without one, each parameter has its
    central interval.

    Args:
        posterior: anything with ``sample(y, n)``, and ``log_prob(x, y)`` if it has a density.
        x: parameters ``(S, D)`` drawn from the prior, not used in training.
        y: their observations ``(S, ...)``.
        levels: probabilities of the regions.
        draws: number of draws for each observation.
        seed: seed of the draws.

    Raises:
        ValueError: if a level is not between 0 and 1.
        DataError: if x and y are not finite pairs, or the draws have another shape.
        NonFiniteError: if a draw is not finite.

    Reference:
        Hermans et al., A Trust Crisis in Simulation-Based Inference? Your Posterior Approximations Can Be Unfaithful,
        2022, https://arxiv.org/abs/2110.06581.

    Example:
        >>> class Wide:  # twice as wide as the prior
        ...     def sample(self, y, n):
        ...         return 2 * torch.randn(len(y), n, 1)
        >>> x = torch.randn(2000, 1)
        >>> coverage = expected_coverage(Wide(), x, torch.zeros(2000, 1))
        >>> coverage.region, coverage.rates[0][0] > 0.75
        ('central intervals', True)
    """
    check_pairs(x, y)
    samples = draw(posterior, y, draws, seed=seed)
    if has_density(posterior):
        return coverage_of(density_ranks(posterior, samples, x, y, seed=seed)[:, None], draws, levels, density=True)
    return coverage_of(ranks_among(samples, x, seed=seed), draws, levels, density=False)


def coverage_of(ranks: Tensor, draws: int, levels: Sequence[float] = LEVELS, *, density: bool) -> Coverage:
    """Return the coverage that ranks ``(S, Q)`` of densities, or of parameters, mean."""
    levels = tuple(finite_number("each level", level, above=0, below=1) for level in levels)
    # A rank stands for an interval of width 1/(L + 1). A random point of it makes the rates exact for every level.
    generator = torch.Generator().manual_seed(derived_seed(0, "coverage"))
    uniform = (ranks + torch.rand(ranks.shape, generator=generator, dtype=torch.float64).to(ranks.device)) / (draws + 1)
    outside = 1 - uniform if density else (2 * uniform - 1).abs()  # the least probability of a region with the truth
    rates = torch.stack([(outside <= level).double().mean(0) for level in levels], 1)
    return Coverage(
        region="highest density" if density else "central intervals",
        levels=levels,
        rates=tuple(map(tuple, rates.tolist())),
        standard_errors=tuple((level * (1 - level) / len(ranks)) ** 0.5 for level in levels),
    )
