"""Interiors of exoplanets: which layers make a planet of this mass and radius?"""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.distributions import Dirichlet, Uniform

from experiments.science.metropolis import ChainReference, gaussian_log_likelihood
from inverseflow.inference import Problem, independent

DENSITIES = (1.9, 0.8, 0.25)
"""Iron, rock and water in a planet of one Earth mass, in mean densities of the Earth (5.51 g/cm³)."""
_STIFFNESS = (0.3, 0.25, 0.4)
_LIGHTEST, _HEAVIEST = 0.5, 10.0
_PRECISE = [0.005, 0.0015]


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
    deviation = torch.tensor([0.05, 0.015, 0.05] if star else _PRECISE)

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
        reference=ChainReference(prior, gaussian_log_likelihood(simulator, deviation)),
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


def sample_segments(y: Tensor, n: int, generator: Generator | None = None) -> Tensor:
    """Sample the posterior of an incompressible planet without a star, up to the prior's variation within the noise.

    Args:
        y: ln mass and ln radius.
        n: number of samples.
        generator: for the samples.

    Returns:
        Mass and layers, ``(n, 4)``: the layers are uniform on the segment that mass and radius leave.
    """
    noise = torch.tensor(_PRECISE) * torch.randn(n, 2, generator=generator)
    share = torch.rand(n, generator=generator)
    rows = []
    for (mass, size), part in zip((y + noise).exp().tolist(), share, strict=True):
        rows.append(torch.cat([torch.tensor([mass]), torch.lerp(*segment(mass, size), part)]))
    return torch.stack(rows)


def segment(mass: float, size: float) -> tuple[Tensor, Tensor]:
    """Return the ends of the segment of layers of an incompressible planet, each ``(3,)``: least and most rock.

    They are the points where the line ``Σ w_i / ρ_i = R³ / M`` crosses edges of the simplex.

    Args:
        mass: in Earth masses.
        size: radius in Earth radii.
    """
    iron, rock, water = (1 / density for density in DENSITIES)
    volume = min(max(size**3 / mass, iron), water)  # of one Earth mass
    all_iron, all_rock, all_water = torch.eye(3)
    start = torch.lerp(all_iron, all_water, (volume - iron) / (water - iron))
    if volume < rock:
        return start, torch.lerp(all_iron, all_rock, (volume - iron) / (rock - iron))
    return start, torch.lerp(all_rock, all_water, (volume - rock) / (water - rock))


def segment_share(layers: Tensor, mass: float, size: float) -> tuple[Tensor, Tensor]:
    """Return where samples lie along the segment, from 0 to 1, and their distances from its line, each ``(n,)``.

    Args:
        layers: mass fractions, ``(n, 3)``.
        mass: in Earth masses.
        size: radius in Earth radii.
    """
    start, end = segment(mass, size)
    along = end - start
    share = (layers - start) @ along / along.square().sum()
    return share, (layers - start - share[:, None] * along).norm(dim=1)
