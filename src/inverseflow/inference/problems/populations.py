"""Differential equations of populations: an epidemic, and predators with their prey."""

import math

import torch
from torch import Tensor
from torch.distributions import Binomial, Independent, LogNormal

from inverseflow.inference.problem import Problem
from inverseflow.inference.problems.ode import rk4
from inverseflow.inference.problems.registry import register

POPULATION, TESTED = 1e6, 1000
_OBSERVATION_DEVIATION = 0.1


def infected(x: Tensor, *, steps_per_day: int = 4) -> Tensor:
    r"""Return the infected people of a million on days 0, 17, …, 153 after the first, by Runge–Kutta steps.

    .. math:: \dot S = -\beta S I / N, \quad \dot I = \beta S I / N - \gamma I

    Args:
        x: contact rate β and recovery rate γ, ``(B, 2)``.
        steps_per_day: steps in a day.

    Returns:
        ``(B, 10)``.
    """
    beta, gamma = x.double().unbind(1)

    def derivative(state: Tensor) -> Tensor:
        susceptible, ill = state.unbind(1)
        infections = beta * susceptible * ill / POPULATION
        return torch.stack([-infections, infections - gamma * ill], 1)

    start = torch.tensor([[POPULATION - 1, 1.0]], dtype=torch.float64).expand(len(x), 2)
    days = rk4(derivative, start, step=1 / steps_per_day, steps=153 * steps_per_day, every=17 * steps_per_day)
    return days[..., 1]


@register("sir")
def epidemic() -> Problem:
    r"""Return the problem of an epidemic: contact and recovery rate from the positive tests on ten days.

    .. math:: \ln \beta \sim \mathcal{N}(\ln 0.4, 0.5^2), \quad \ln \gamma \sim \mathcal{N}(\ln 0.125, 0.2^2), \quad
        y_i \sim \mathrm{Binomial}(1000, I(17 i) / N)

    Task T.9 of Lueckmann et al., 2021, https://arxiv.org/abs/2101.04653, where an adaptive solver integrates; here
    fixed steps of a quarter of a day do, with a relative error below 2e-4.

    Example:
        >>> epidemic().simulate(3)[1].shape
        torch.Size([3, 10])
    """

    def simulator(x: Tensor) -> Tensor:
        tests: Tensor = Binomial(TESTED, (infected(x) / POPULATION).clamp(0, 1)).sample()
        return tests.to(x.dtype)

    return Problem(
        name="sir",
        prior=Independent(LogNormal(torch.tensor([0.4, 0.125]).log(), torch.tensor([0.5, 0.2])), 1),
        simulator=simulator,
        parameters=("contact rate [1/day]", "recovery rate [1/day]"),
        observations=tuple(f"positive tests on day {day}" for day in range(0, 170, 17)),
    )


def populations(x: Tensor, *, steps_per_day: int = 40) -> Tensor:
    r"""Return prey and predators at ten times 2.1 days apart, from 30 and 1 at the start, by Runge–Kutta steps.

    .. math:: \dot u = \alpha u - \beta u v, \quad \dot v = -\gamma v + \delta u v

    The steps are taken for :math:`\ln u` and :math:`\ln v`, which stay finite where a population nearly dies out.

    Args:
        x: α, β, γ, δ, ``(B, 4)``.
        steps_per_day: steps in a unit of time, a multiple of 10.

    Returns:
        ``(B, 20)``, the prey first.
    """
    alpha, beta, gamma, delta = x.double().unbind(1)

    def derivative(log_state: Tensor) -> Tensor:
        prey, predators = log_state.exp().unbind(1)
        return torch.stack([alpha - beta * predators, delta * prey - gamma], 1)

    start = torch.tensor([[math.log(30), 0.0]], dtype=torch.float64).expand(len(x), 2)
    every = round(2.1 * steps_per_day)
    days = rk4(derivative, start, step=1 / steps_per_day, steps=9 * every, every=every)
    return days.exp().transpose(1, 2).flatten(1)


@register("lotka-volterra")
def predator_and_prey() -> Problem:
    r"""Return the problem of predators and prey: four rates from both populations at ten times.

    .. math:: \ln \alpha, \ln \gamma \sim \mathcal{N}(-0.125, ½^2), \quad
        \ln \beta, \ln \delta \sim \mathcal{N}(-3, ½^2), \quad \ln y \sim \mathcal{N}(\ln (u, v), 0.1^2)

    Task T.10 of Lueckmann et al., 2021, https://arxiv.org/abs/2101.04653, where an adaptive solver integrates; here
    fixed steps of 1/40 do, with a relative error below 2e-4 for 98 % of the prior. Populations are limited to the range
    from 1e-10 to 1e4 there and here.

    Example:
        >>> predator_and_prey().simulate(3)[1].shape
        torch.Size([3, 20])
    """
    location = torch.tensor([-0.125, -3.0, -0.125, -3.0])

    def simulator(x: Tensor) -> Tensor:
        log_means = populations(x).clamp(1e-10, 1e4).log()
        return (log_means + _OBSERVATION_DEVIATION * torch.randn_like(log_means)).exp().to(x.dtype)

    return Problem(
        name="lotka-volterra",
        prior=Independent(LogNormal(location, torch.full((4,), 0.5)), 1),
        simulator=simulator,
        parameters=("growth of prey", "predation", "death of predators", "growth of predators"),
        observations=tuple(f"{kind} {index}" for kind in ("prey", "predators") for index in range(10)),
    )
