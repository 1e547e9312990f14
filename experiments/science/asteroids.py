"""Interiors of asteroids: which core bends the path of a spacecraft like this?"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Independent, Uniform

from experiments.science.metropolis import ChainReference, gaussian_log_likelihood
from inverseflow.inference import Problem
from inverseflow.utils.seeding import seeded

TIMES = 16
START = (-4.0, 2.4, 0.5, 1.0, 0.0, 0.0)
"""Position and velocity at the beginning."""
_DURATION = 8.0
_SUBSTEPS = 4
_NOISE = 3e-4
_COMPONENTS = 10
_LOW = torch.tensor([0.8, 0.25, 1.5, -0.2, -0.2, -0.2])
_HIGH = torch.tensor([1.2, 0.6, 4.0, 0.2, 0.2, 0.2])


def asteroids() -> Problem:
    r"""Return the problem of an asteroid with a heavy core off its center, tracked by a spacecraft that flies past.

    Outside, a mantle of density ρ_m and radius 1 with a core of density ρ_c, radius r_c and center d attracts as two
    points do: :math:`\mu_1 = \rho_m` at 0 and :math:`\mu_2 = (\rho_c - \rho_m) r_c^3` at d, in units where the
    mean density 1 and the radius 1 give :math:`\mu = 1`. So of r_c and ρ_c only the product is identifiable. Position
    and velocity at 16 times, with noise of 0.0003, are seen through 10 orthogonal directions in which most paths
    differ, relative to the path past a homogeneous body.

    Our reconstruction of a thinly published system, with simulated data. After Liang et al. 2022,
    https://doi.org/10.1093/mnras/stac3299

    Example:
        >>> x, y = asteroids().simulate(10)
        >>> x.shape, y.shape
        (torch.Size([10, 6]), torch.Size([10, 10]))
    """
    prior = Independent(Uniform(_LOW, _HIGH), 1)
    with seeded(0, "components"):
        paths = deflection(prior.sample((2000,)))
    directions = torch.linalg.svd(paths.double(), full_matrices=False).Vh[:_COMPONENTS].T  # (96, 10)

    def simulator(x: Tensor) -> Tensor:
        seen: Tensor = deflection(x).double() @ directions
        return seen.to(x.dtype)

    return Problem(
        "asteroids",
        prior,
        simulator,
        noise=lambda seen: seen + _NOISE * torch.randn_like(seen),  # as that of the paths: directions are orthogonal
        parameters=("mantle density", "core radius", "core density", "core x", "core y", "core z"),
        observations=tuple(f"deflection {number}" for number in range(_COMPONENTS)),
        reference=ChainReference(prior, gaussian_log_likelihood(simulator, _NOISE), chains=400, steps=300),
    )


def core_excess(x: Tensor) -> Tensor:
    """Return μ₂, what the core attracts more than the mantle would, ``(n,)``.

    Args:
        x: ``(n, 6)``.
    """
    return (x[:, 2] - x[:, 0]) * x[:, 1] ** 3


def deflection(x: Tensor) -> Tensor:
    """Return positions and velocities at 16 times, less those past a homogeneous body, ``(n, 96)``.

    Args:
        x: ``(n, 6)``.
    """
    precise = x.double()
    start = precise.new_tensor(START).expand(len(x), 6)
    path = fly_past(precise[:, 0], core_excess(precise), precise[:, 3:], start)
    homogeneous = fly_past(precise.new_ones(1), precise.new_zeros(1), precise.new_zeros(1, 3), start[:1])
    return (path - homogeneous)[:, 1:].flatten(1).to(x.dtype)


def fly_past(
    mantle: Tensor,
    core: Tensor,
    center: Tensor,
    start: Tensor,
    *,
    duration: float = _DURATION,
    substeps: int = _SUBSTEPS,
) -> Tensor:
    """Integrate the path past two points that attract, by the classical Runge–Kutta method of order four.

    Args:
        mantle: μ₁, at the origin, ``(n,)``.
        core: μ₂, ``(n,)``.
        center: where μ₂ is, ``(n, 3)``.
        start: position and velocity, ``(n, 6)``.
        duration: of the path.
        substeps: integration steps between two of the 16 times.

    Returns:
        Positions and velocities at the start and at the 16 times, ``(n, 17, 6)``.
    """

    def rate(state: Tensor) -> Tensor:
        away = points - state[:, None, :3]  # (n, 2, 3)
        pull = strengths * away.square().sum(2).pow(-1.5)  # (n, 2)
        return torch.cat([state[:, 3:], (pull[..., None] * away).sum(1)], dim=1)

    points = torch.stack([torch.zeros_like(center), center], dim=1)
    strengths = torch.stack([mantle, core], dim=1)
    h = duration / (TIMES * substeps)
    state, states = start, [start]
    for _ in range(TIMES):
        for _ in range(substeps):
            a = rate(state)
            b = rate(state + h / 2 * a)
            c = rate(state + h / 2 * b)
            d = rate(state + h * c)
            state = state + h / 6 * (a + 2 * b + 2 * c + d)
        states.append(state)
    return torch.stack(states, dim=1)


def energy(state: Tensor, mantle: Tensor, core: Tensor, center: Tensor) -> Tensor:
    """Return kinetic and potential energy of a unit of mass, ``(n, T)``.

    Args:
        state: ``(n, T, 6)``.
        mantle: see `fly_past`.
        core: see `fly_past`.
        center: see `fly_past`.
    """
    position, velocity = state[..., :3], state[..., 3:]
    potential = mantle[:, None] / position.norm(dim=-1) + core[:, None] / (position - center[:, None]).norm(dim=-1)
    total: Tensor = velocity.square().sum(-1) / 2 - potential
    return total
