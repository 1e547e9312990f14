"""Blades of wind turbines: which chords, twists and airfoils give this power at this thrust?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Independent, Uniform

from experiments.science.airfoil import Airfoils, ParabolicCamber
from experiments.science.metropolis import ChainReference, gaussian_log_likelihood
from inverseflow.inference import Problem

BETZ = 16 / 27
"""Largest power coefficient of an actuator disk."""
_BLADES, _TIP_SPEED = 3, 7.0
_STATIONS, _EDGES = (0.35, 0.65, 0.9), (0.2, 0.5, 0.8, 1.0)  # of the radius
_LOW = torch.tensor([0.02] * 3 + [-3.0] * 3 + [0.4] * 3)
_HIGH = torch.tensor([0.2] * 3 + [20.0] * 3 + [1.4] * 3)
_NOISE = 0.01
_BISECTIONS = 40
_STEP = 1e-5  # of numerical gradients, in widths of the prior


def turbine(airfoils: Airfoils | None = None) -> Problem:
    """Return the problem of a blade of three stations whose power and thrust coefficients are wanted.

    Parameters are chord, twist and the airfoil's lift coefficient at 4° at each station. Power and thrust follow from
    blade elements and momentum at a tip-speed ratio of 7, and are wanted up to 0.01.

    Our reconstruction of a thinly published system, with simulated data. After Jasa et al. 2022,
    https://doi.org/10.1088/1742-6596/2265/4/042052

    Args:
        airfoils: finds shapes with a wanted lift; `ParabolicCamber` if None.

    Example:
        >>> x, y = turbine().simulate(100)
        >>> x.shape, y.shape
        (torch.Size([100, 9]), torch.Size([100, 2]))
    """
    family = ParabolicCamber() if airfoils is None else airfoils
    prior = Independent(Uniform(_LOW, _HIGH), 1)

    def simulator(x: Tensor) -> Tensor:
        rotor = blade_element_momentum(x, family)
        return torch.stack([rotor.power, rotor.thrust], dim=1)

    return Problem(
        "turbine",
        prior,
        simulator,
        noise=lambda y: y + _NOISE * torch.randn_like(y),
        parameters=tuple(
            f"{name} at {station:g}" for name in ("chord", "twist [deg]", "lift") for station in _STATIONS
        ),
        observations=("power coefficient", "thrust coefficient"),
        reference=ChainReference(prior, gaussian_log_likelihood(simulator, _NOISE), steps=300),
    )


@dataclass(frozen=True)
class Rotor:
    """Performance of rotors."""

    power: Tensor
    """Power coefficient, ``(n,)``."""
    thrust: Tensor
    """Thrust coefficient, ``(n,)``."""
    induction: Tensor
    """Axial induction factor a of each station, ``(n, 3)``."""


def blade_element_momentum(x: Tensor, airfoils: Airfoils, *, tip_speed: float = _TIP_SPEED) -> Rotor:
    r"""Return the performance of rotors, each station an annulus of its own, without losses at tip and hub.

    The inflow angle φ at a station solves

    .. math:: \frac{\sin\varphi}{1 - a} = \frac{\cos\varphi}{\lambda_r (1 + a')}

    where a and a' follow from the forces at φ. Above a = 0.4, a is Buhl's empirical one. Solved by bisection.

    Args:
        x: chords in radii, twists in degrees, lift coefficients, ``(n, 9)``.
        airfoils: of the stations.
        tip_speed: tip speed in wind speeds.

    Source: Ning 2014, *A simple solution method for the blade element momentum equations with guaranteed convergence*,
    https://doi.org/10.1002/we.1636
    """
    chord, twist, wanted = x.double().split(3, dim=1)
    shape = airfoils.shape(wanted)
    radius = chord.new_tensor(_STATIONS)
    speed = tip_speed * radius
    solidity = _BLADES * chord / (2 * math.pi * radius)

    def forces(angle: Tensor) -> tuple[Tensor, Tensor]:
        attack = angle - twist.deg2rad()
        lift, drag = airfoils.lift(shape, attack), airfoils.drag(shape, attack)
        return lift * angle.cos() + drag * angle.sin(), lift * angle.sin() - drag * angle.cos()

    def axial(angle: Tensor, normal: Tensor) -> Tensor:
        k = solidity * normal / (4 * angle.sin().square())
        heavy = k.clamp_min(2 / 3)
        empirical = (2 * heavy - 1 / 9 - (2 * heavy - 1 / 3).sqrt()) / (2 * heavy - 7 / 9)
        return torch.where(k <= 2 / 3, k / (1 + k), empirical)

    low, high = torch.full_like(chord, 1e-4), torch.full_like(chord, math.pi / 2)
    for _ in range(_BISECTIONS):
        angle = (low + high) / 2
        normal, tangential = forces(angle)
        swirl = 1 - solidity * tangential / (4 * angle.sin() * angle.cos())  # 1 / (1 + a')
        above = angle.sin() / (1 - axial(angle, normal)) > angle.cos() * swirl / speed
        low, high = torch.where(above, low, angle), torch.where(above, angle, high)
    angle = (low + high) / 2
    normal, tangential = forces(angle)
    induction = axial(angle, normal)
    pressure = (1 - induction).square() * solidity / angle.sin().square()
    share = chord.new_tensor(_EDGES).square().diff()  # of the area
    power, thrust = (share * pressure * tangential * speed).sum(1), (share * pressure * normal).sum(1)
    return Rotor(power.to(x.dtype), thrust.to(x.dtype), induction.to(x.dtype))


@dataclass(frozen=True)
class Optimized:
    """Result of an optimization."""

    calls: int | None
    """Designs evaluated, with gradients, until the power reached the wanted one; None if it never did."""
    power: float
    """Largest power coefficient with an allowed thrust."""
    largest: float
    """Largest power coefficient of any design evaluated."""


def optimize(start: Sequence[float], most_thrust: float, wanted: float, airfoils: Airfoils | None = None) -> Optimized:
    """Maximize the power for a limited thrust, by sequential least squares (SLSQP) with numerical gradients.

    Args:
        start: a design, nine numbers.
        most_thrust: largest thrust coefficient.
        wanted: the power coefficient at which evaluations are counted.
        airfoils: see `turbine`.
    """
    from scipy.optimize import minimize

    family = ParabolicCamber() if airfoils is None else airfoils
    low, width = _LOW.double(), (_HIGH - _LOW).double()
    shifted = torch.cat([torch.zeros(1, len(low)), _STEP * torch.eye(len(low))]).double()
    seen: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}

    def evaluate(share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return power and thrust, and their gradients, ``(2,)`` and ``(2, 9)``."""
        if (key := share.tobytes()) not in seen:
            rotor = blade_element_momentum(low + width * (torch.from_numpy(share) + shifted), family)
            both = torch.stack([rotor.power, rotor.thrust])
            seen[key] = both[:, 0].numpy(), ((both[:, 1:] - both[:, :1]) / _STEP).numpy()
        return seen[key]

    minimize(
        lambda share: -evaluate(share)[0][0],
        ((torch.tensor(start).double() - low) / width).clamp(0, 1).numpy(),
        jac=lambda share: -evaluate(share)[1][0],
        method="SLSQP",
        bounds=[(0, 1)] * len(low),
        constraints=[
            {
                "type": "ineq",
                "fun": lambda share: most_thrust - evaluate(share)[0][1],
                "jac": lambda share: -evaluate(share)[1][1],
            }
        ],
        options={"maxiter": 60},
    )
    values = [value for value, _ in seen.values()]
    allowed = [float(power) if thrust <= most_thrust + 1e-3 else 0.0 for power, thrust in values]
    calls = next((number for number, power in enumerate(allowed, 1) if power >= wanted), None)
    return Optimized(calls, max(allowed), max(float(power) for power, _ in values))
