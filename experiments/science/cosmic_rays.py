"""Ultra-high-energy cosmic rays: which sources send these energies and shower depths?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Generator, Tensor
from torch.distributions import Dirichlet, Uniform

from experiments.science.metropolis import ChainReference
from inverseflow.inference import Problem, independent

_CHARGE = {1: 1, 4: 2, 14: 7, 28: 14, 56: 26}
_LOSS = {1: 60.0, 4: 20.0, 14: 45.0, 28: 80.0, 56: 110.0}  # EeV
_INDEX, _RIGIDITY = (0.0, 3.0), (0.0, 1.5)
_POINTS = 4  # energies in a bin
_ENERGIES = 10 ** torch.linspace(0.7, 2.2, 15 * _POINTS + 1, dtype=torch.float64)[:-1] * 10 ** (0.05 / _POINTS)  # EeV
_DEPTHS = torch.linspace(550, 1000, 13, dtype=torch.float64)  # g/cm²
_COUNTS, _SHOWERS = 5000, 500


def cosmic_rays(elements: tuple[int, ...] = tuple(_CHARGE)) -> Problem:
    r"""Return the problem of counting cosmic rays: their energies in 15 bins, shower depths in 3 bands of 12 bins.

    .. math:: J(E) = \sum_A f_A E^{-\gamma} e^{-E / (Z_A R)} / (1 + (E / E_A)^2)

    with spectral index γ, maximum rigidity R and element fractions f. A shower's depth is normal, around a mean that
    grows with ln(E / A). All counts are Poisson; 5000 energies and 500 depths are expected. The observations are the
    square roots of the counts.

    Our reconstruction of a thinly published system, with simulated data. After Bister et al. 2022,
    https://doi.org/10.1140/epjc/s10052-022-10138-8

    Args:
        elements: mass numbers, some of 1, 4, 14, 28 and 56. A single one leaves only γ and R to be found.

    Example:
        >>> x, y = cosmic_rays().simulate(100)
        >>> x.shape, y.shape, bool(((y**2 - (y**2).round()).abs() < 1e-3).all())
        (torch.Size([100, 7]), torch.Size([100, 51]), True)
    """
    several = len(elements) > 1
    fractions = [Dirichlet(torch.ones(len(elements)))] if several else []
    prior = independent(Uniform(*_INDEX), Uniform(*_RIGIDITY), *fractions)
    names = ("spectral index", "log10 rigidity [EV]", *(f"A = {element}" for element in elements if several))
    energies = [f"energy bin {number}" for number in range(15)]
    depths = [f"band {band}, depth bin {number}" for band in range(3) for number in range(12)]
    return Problem(
        "cosmic-rays",
        prior,
        lambda x: expected_counts(x, elements).sqrt(),
        noise=lambda roots: torch.poisson(roots.square()).sqrt(),
        parameters=names,
        observations=tuple(f"root of counts, {name}" for name in energies + depths),
        reference=ChainReference(prior, partial(log_likelihood, elements=elements)),
    )


def expected_counts(x: Tensor, elements: tuple[int, ...]) -> Tensor:
    """Return the expected counts, ``(n, 51)``: 15 bins of energy, then 12 bins of depth in each of 3 bands of energy.

    Args:
        x: γ, log10 R in EV and, of several elements, their fractions.
        elements: mass numbers.
    """
    energy = _ENERGIES.to(x)
    fractions = x[:, 2:] if len(elements) > 1 else torch.ones_like(x[:, :1])
    rigidity = 10 ** x[:, 1, None]
    fluxes = []
    for index, element in enumerate(elements):
        survival = torch.exp(-energy / (_CHARGE[element] * rigidity)) / (1 + (energy / _LOSS[element]).square())
        fluxes.append(fractions[:, index, None] * energy ** (1 - x[:, :1]) * survival)  # for each unit of ln E
    flux = torch.stack(fluxes, dim=1)  # (n, A, E)
    flux = flux / flux.sum((1, 2), keepdim=True)
    spectrum = flux.sum(1).unflatten(1, (15, _POINTS)).sum(2)
    chances = torch.stack([_depth_chances(element) for element in elements]).to(x)  # (A, E, 12)
    bands = torch.einsum("nabe,abed->nbd", flux.unflatten(2, (3, -1)), chances.unflatten(1, (3, -1)))
    return torch.cat([_COUNTS * spectrum, _SHOWERS * bands.flatten(1)], dim=1)


def log_likelihood(x: Tensor, y: Tensor, elements: tuple[int, ...]) -> Tensor:
    """Return log p(y | x) up to a constant, ``(n,)``.

    Args:
        x: parameters, ``(n, D)``.
        y: roots of counts, ``(51,)``.
        elements: mass numbers.
    """
    expected = expected_counts(x, elements)
    return (torch.xlogy(y.square(), expected) - expected).sum(1)


@dataclass(frozen=True)
class Grid:
    """Posterior of spectral index and rigidity on a grid."""

    index: Tensor
    """Middles of the cells, ``(G,)``."""
    log_rigidity: Tensor
    """Middles of the cells, ``(G,)``."""
    probability: Tensor
    """Probability of each cell, ``(G, G)``."""

    def sample(self, n: int, generator: Generator | None = None) -> Tensor:
        """Draw cells, and points that are uniform inside, ``(n, 2)``."""
        cells = torch.multinomial(self.probability.flatten(), n, replacement=True, generator=generator)
        middles = torch.cartesian_prod(self.index, self.log_rigidity)[cells]
        sizes = torch.stack([axis[1] - axis[0] for axis in (self.index, self.log_rigidity)])
        return middles + (torch.rand(n, 2, generator=generator) - 0.5) * sizes


def grid_posterior(y: Tensor, element: int, size: int = 200) -> Grid:
    """Return the exact posterior of a single element, up to the size of the cells.

    Args:
        y: roots of counts, ``(51,)``.
        element: mass number.
        size: cells along each axis.
    """
    index, rigidity = (low + (high - low) * (torch.arange(size) + 0.5) / size for low, high in (_INDEX, _RIGIDITY))
    likely = log_likelihood(torch.cartesian_prod(index, rigidity).double(), y.double(), (element,))
    return Grid(index, rigidity, likely.softmax(0).unflatten(0, (size, size)))


def _depth_chances(element: int) -> Tensor:
    mean = 750 + 55 * torch.log10(_ENERGIES / element)
    standard = (_DEPTHS - mean[:, None]) / (20 + 40 / math.sqrt(element))
    chances: Tensor = torch.special.ndtr(standard).diff(dim=1)
    return chances
