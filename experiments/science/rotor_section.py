"""Cross-sections of rotor blades: which laminates have this stiffness and mass?"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, LogNormal, Uniform

from experiments.science.metropolis import ChainReference, gaussian_log_likelihood
from inverseflow.inference import Problem, Support, independent
from inverseflow.utils.seeding import seeded

_WIDTH, _HEIGHT = 1.2, 0.6  # m
_SHEAR = 1 / 2.6  # of the modulus, for Poisson's ratio 0.3
_NOISE = 0.01
_PRIORS: dict[str, Distribution] = {
    "flange thickness [mm]": LogNormal(math.log(20), 0.15),
    "flange modulus [GPa]": LogNormal(math.log(40), 0.15),
    "flange density [t/m3]": LogNormal(math.log(1.9), 0.1),
    "wall thickness [mm]": LogNormal(math.log(8), 0.15),
    "wall modulus [GPa]": LogNormal(math.log(15), 0.15),
    "wall density [t/m3]": LogNormal(math.log(1.8), 0.1),
    "web position": Uniform(0.2, 0.5),
    "foam modulus [GPa]": LogNormal(math.log(0.02), 0.15),
}
PARAMETERS = tuple(_PRIORS)
TERMS = ("ln EA", "ln EI flapwise", "ln EI edgewise", "ln GJ", "ln mass", "elastic center / width")


def rotor_section(parameters: tuple[str, ...] = PARAMETERS) -> Problem:
    """Return the problem of a box of two flanges, two side walls and a web, filled with foam.

    Seen are the logarithms of stiffness and mass and the elastic center, with noise of 0.01. Of thickness and modulus,
    EA depends on the product alone.

    Our reconstruction of a thinly published system, with simulated data. After Noever-Castelos et al. 2022,
    https://doi.org/10.5194/wes-7-573-2022

    Args:
        parameters: those to be found; the others are at the median of their priors.

    Example:
        >>> x, y = rotor_section().simulate(100)
        >>> x.shape, y.shape
        (torch.Size([100, 8]), torch.Size([100, 6]))
    """
    places = [PARAMETERS.index(name) for name in parameters]
    prior = independent(*(_PRIORS[name] for name in parameters))
    medians = torch.stack([distribution.icdf(torch.tensor(0.5)) for distribution in _PRIORS.values()])

    def simulator(x: Tensor) -> Tensor:
        everything = medians.to(x).expand(len(x), -1).clone()
        everything[:, places] = x
        return section_terms(everything)

    return Problem(
        "rotor-section",
        prior,
        simulator,
        noise=lambda terms: terms + _NOISE * torch.randn_like(terms),
        parameters=parameters,
        observations=TERMS,
        reference=ChainReference(prior, gaussian_log_likelihood(simulator, _NOISE)),
    )


def section_terms(x: Tensor) -> Tensor:
    """Return stiffness, mass and elastic center, ``(n, 6)``, of all parameters, ``(n, 8)``."""
    flange, flange_modulus, flange_density, wall, wall_modulus, wall_density, web, foam = x.unbind(1)
    zero, one = torch.zeros_like(web), torch.ones_like(web)
    corners = torch.tensor([[0.0, -0.5], [1.0, -0.5], [1.0, 0.5], [0.0, 0.5]]).to(x)
    bottom_and_top = torch.stack([zero, -0.5 * one, web, 0.5 * one], dim=1).view(-1, 2, 2)  # ends of the web
    size = x.new_tensor([_WIDTH, _HEIGHT])
    start = torch.cat([corners.expand(len(x), 4, 2), bottom_and_top[:, :1]], dim=1)
    end = torch.cat([corners.roll(-1, 0).expand(len(x), 4, 2), bottom_and_top[:, 1:]], dim=1)
    start[:, 4, 0] = web
    thickness = torch.stack([flange, wall, flange, wall, wall], dim=1) / 1000
    modulus = torch.stack([flange_modulus, wall_modulus, flange_modulus, wall_modulus, wall_modulus], dim=1)
    density = torch.stack([flange_density, wall_density, flange_density, wall_density, wall_density], dim=1)
    axial, flapwise, edgewise, center = stiffness(start * size, end * size, thickness, modulus)
    axial = axial + foam * _WIDTH * _HEIGHT
    flapwise = flapwise + foam * _WIDTH * _HEIGHT**3 / 12
    edgewise = edgewise + foam * _HEIGHT * _WIDTH**3 / 12
    lengths = (end - start).mul(size).norm(dim=2)
    mass = (density * thickness * lengths).sum(1)
    compliance = lengths / (_SHEAR * modulus * thickness)  # ∫ ds / (G t)
    flanges = compliance[:, 0] + compliance[:, 2]
    first = web * flanges + compliance[:, 3] + compliance[:, 4]
    second = (1 - web) * flanges + compliance[:, 1] + compliance[:, 4]
    shared = torch.stack([first, -compliance[:, 4], -compliance[:, 4], second], dim=1).view(-1, 2, 2)
    areas = _WIDTH * _HEIGHT * torch.stack([web, 1 - web], dim=1)
    terms = [axial.log(), flapwise.log(), edgewise.log(), torsion(areas, shared).log(), mass.log(), center / _WIDTH]
    return torch.stack(terms, dim=1)


def stiffness(start: Tensor, end: Tensor, thickness: Tensor, modulus: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    r"""Return EA, two EI and the elastic center along the first axis, each ``(n,)``, of straight thin walls.

    .. math:: EA = \sum E_i A_i, \qquad EI = \sum E_i (I_i + A_i d_i^2)

    with distances d from the elastic center. The first EI resists bending along the second axis.

    Args:
        start: one end of the center line of each wall, ``(n, S, 2)``.
        end: the other end.
        thickness: ``(n, S)``.
        modulus: ``(n, S)``.
    """
    along = end - start
    each = modulus * thickness * along.norm(dim=2)  # (n, S)
    axial = each.sum(1)
    middle = (start + end) / 2
    center = (each[..., None] * middle).sum(1) / axial[:, None]
    bending = (each[..., None] * (along.square() / 12 + (middle - center[:, None]).square())).sum(1)
    return axial, bending[:, 1], bending[:, 0], center[:, 0]


def torsion(areas: Tensor, compliance: Tensor) -> Tensor:
    r"""Return GJ of closed thin-walled cells by Bredt–Batho, ``(n,)``.

    .. math:: GJ = 4 A^\top F^{-1} A, \qquad \text{for one cell } GJ = 4 A^2 \big/ \oint \frac{ds}{G t}

    Args:
        areas: enclosed by the cells, ``(n, C)``.
        compliance: F, the integrals of ds / (G t) around each cell, and minus that over shared walls off the diagonal,
            ``(n, C, C)``.
    """
    flow = torch.linalg.solve(compliance, areas[..., None])[..., 0]
    stiff: Tensor = 4 * (areas * flow).sum(1)
    return stiff


def screen(problem: Problem, *, n: int = 1024, seed: int = 0) -> Tensor:
    """Return total-order Sobol indices, ``(observations, parameters)``: shares of variance that need the parameter.

    Args:
        problem: with independent parameters.
        n: base samples, a power of two.
        seed: for the base samples.
    """
    from scipy.stats import norm, sobol_indices

    support, u = _unbounded(problem)
    mean, deviation = u.mean(0), u.std(0)

    def terms(standard: Any) -> Any:
        scaled = torch.from_numpy(standard.T) * deviation + mean
        return problem.simulator(support.from_real(scaled)).T.numpy()

    generator = np.random.default_rng(seed)
    found = sobol_indices(func=terms, n=n, dists=[norm()] * problem.dims, random_state=generator)
    return torch.from_numpy(found.total_order)


def linearized(problem: Problem, y: Tensor, steps: int = 20) -> tuple[Tensor, Tensor]:
    """Return mean and covariance of the linearized posterior, in the unbounded coordinates of the support.

    The model is linearized where the posterior is largest, which Gauss–Newton steps find from the prior's mean.

    Args:
        problem: a rotor section.
        y: one observation.
        steps: number of Gauss–Newton steps.
    """
    support, u = _unbounded(problem)
    mean, precision = u.mean(0), u.T.cov().inverse()
    point = mean

    def terms(u: Tensor) -> Any:
        return problem.simulator(support.from_real(u[None]))[0]

    for _ in range(steps):
        slope = torch.autograd.functional.jacobian(terms, point)
        covariance = (precision + slope.T @ slope / _NOISE**2).inverse()
        innovation = slope.T @ (y.double() - terms(point)) / _NOISE**2 - precision @ (point - mean)
        point = point + covariance @ innovation
    return point, covariance


def _unbounded(problem: Problem) -> tuple[Support, Tensor]:
    """Return the support, and samples of the prior in its unbounded coordinates, which are almost normal."""
    assert problem.support is not None
    with seeded(0, "prior"):
        x = problem.prior.sample((20_000,))
    return problem.support, problem.support.to_real(x)[0]
