"""Interiors of exoplanets: which layers make a planet of this mass and radius?"""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.distributions import Dirichlet, Uniform

from experiments.science.metropolis import gaussian_log_likelihood, reference
from inverseflow.inference import Problem, independent

DENSITIES = (1.9, 0.8, 0.25)
"""Iron, rock and water in a planet of one Earth mass, in mean densities of the Earth (5.51 g/cm³)."""
_STIFFNESS = (0.3, 0.25, 0.4)
_LIGHTEST, _HEAVIEST = 0.5, 10.0


def exoplanets(*, compressible: bool = True, star: bool = True) -> Problem:
    r"""Return the problem of a planet of three layers with mass fractions w.

    .. math:: R^3 = M \sum_i w_i / \rho_i(M), \qquad \rho_i(M) = \rho_i \frac{1 + s_i \sqrt{M}}{1 + s_i}

    in units of the Earth. Seen are ln M (noise 0.05; 0.005 without the star), ln R (0.015; 0.0015) and the iron in
    iron and rock, which the composition of the star tells (0.05).

    Our reconstruction of a thinly published system, with simulated data. After Haldemann et al. 2023,
    https://doi.org/10.1051/0004-6361/202243230

    Args:
        compressible: whether layers are denser in heavier planets.
        star: whether the star's composition is seen. Without it, and without compression, the data fix one linear
            functional of w, and the posterior under the flat prior is close to uniform on a segment.

    Example:
        >>> x, y = exoplanets().simulate(100)
        >>> bool((x[:, 1:].sum(1) - 1).abs().max() < 1e-6), y.shape
        (True, torch.Size([100, 3]))
    """
    prior = independent(Uniform(_LIGHTEST, _HEAVIEST), Dirichlet(torch.ones(3)))
    deviation = torch.tensor([0.05, 0.015, 0.05]) if star else torch.tensor([0.005, 0.0015])

    def simulator(x: Tensor) -> Tensor:
        mass, layers = x[:, 0], x[:, 1:]
        seen = [mass.log(), radius(mass, layers, compressible).log()]
        if star:
            seen.append(layers[:, 0] / (layers[:, 0] + layers[:, 1]))
        return torch.stack(seen, dim=1)

    return Problem(
        "exoplanets",
        prior,
        simulator,
        noise=lambda y: y + deviation.to(y) * torch.randn_like(y),
        parameters=("mass [Earths]", "iron", "rock", "water"),
        observations=("ln mass", "ln radius", "iron / (iron + rock)")[: len(deviation)],
        reference=reference(prior, gaussian_log_likelihood(simulator, deviation)),
    )


def radius(mass: Tensor, layers: Tensor, compressible: bool = True) -> Tensor:
    """Return the radius in Earth radii, ``(n,)``.

    Args:
        mass: in Earth masses, ``(n,)``.
        layers: mass fractions of iron, rock and water, ``(n, 3)``.
        compressible: whether layers are denser in heavier planets.
    """
    density = layers.new_tensor(DENSITIES)
    if compressible:
        stiffness = layers.new_tensor(_STIFFNESS)
        density = density * (1 + stiffness * mass.sqrt()[:, None]) / (1 + stiffness)
    return (mass * (layers / density).sum(1)).pow(1 / 3)


def uniform_on_segment(mass: float, size: float, n: int, generator: Generator | None = None) -> Tensor:
    """Sample mass fractions of an incompressible planet whose mass and radius are known exactly, ``(n, 3)``.

    They are uniform between the two points where the line ``Σ w_i / ρ_i = R³ / M`` crosses edges of the simplex.

    Args:
        mass: in Earth masses.
        size: radius in Earth radii.
        n: number of samples.
        generator: for the samples.
    """
    iron, rock, water = (1 / density for density in DENSITIES)
    volume = size**3 / mass  # of one Earth mass
    to_water = torch.tensor([1.0, 0.0, 0.0]).lerp(torch.tensor([0.0, 0.0, 1.0]), (volume - iron) / (water - iron))
    if volume < rock:
        to_rock = torch.tensor([1.0, 0.0, 0.0]).lerp(torch.tensor([0.0, 1.0, 0.0]), (volume - iron) / (rock - iron))
    else:
        to_rock = torch.tensor([0.0, 1.0, 0.0]).lerp(torch.tensor([0.0, 0.0, 1.0]), (volume - rock) / (water - rock))
    return torch.lerp(to_water, to_rock, torch.rand(n, 1, generator=generator))
