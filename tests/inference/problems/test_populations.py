import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from inverseflow.inference.problems import create
from inverseflow.inference.problems.populations import infected, populations


def sir(_, state, beta, gamma):
    infections = beta * state[0] * state[1] / 1e6
    return [-infections, infections - gamma * state[1]]


def lotka_volterra(_, state, a, b, c, d):
    return [a * state[0] - b * state[0] * state[1], d * state[0] * state[1] - c * state[1]]


def test_epidemic_is_that_of_an_adaptive_solver():
    x = torch.tensor([[0.9, 0.1], [0.2, 0.15]])
    for (beta, gamma), ours in zip(x.double().numpy(), infected(x), strict=True):
        solved = solve_ivp(
            sir, (0, 153), [999_999, 1], args=(beta, gamma), t_eval=np.arange(0, 154, 17), rtol=1e-10, atol=1e-10
        )
        assert ours.numpy() == pytest.approx(solved.y[1], rel=2e-4, abs=1e-3)


def test_predators_and_prey_are_those_of_an_adaptive_solver():
    x = torch.tensor([[0.7, 0.1, 0.9, 0.12], [1.5, 0.02, 0.4, 0.02]])
    for rates, ours in zip(x.double().numpy(), populations(x), strict=True):
        solved = solve_ivp(
            lotka_volterra,
            (0, 19),
            [30, 1],
            args=rates,
            t_eval=2.1 * np.arange(10),
            rtol=1e-11,
            atol=1e-11,
            method="DOP853",
        )
        assert ours.numpy() == pytest.approx(solved.y.ravel(), rel=1e-3)


@pytest.mark.parametrize("solve", [infected, populations])
def test_a_finer_step_changes_little(solve):
    x = create("sir" if solve is infected else "lotka-volterra").simulate(50)[0]
    steps = {infected: 8, populations: 80}[solve]
    coarse, fine = (values.clamp_min(1e-3).log() for values in (solve(x), solve(x, steps_per_day=steps)))
    assert (coarse - fine).abs().amax(1).quantile(0.95) < 2e-4


def test_tests_of_an_epidemic_are_whole_numbers_with_the_stated_mean():
    x = torch.tensor([[0.5, 0.125]]).expand(1000, 2)
    y = create("sir").observe(x)
    assert torch.equal(y, y.round())
    assert y.mean(0) == pytest.approx(infected(x[:1])[0].float() / 1000, rel=0.05, abs=0.1)


def test_observed_populations_scatter_by_a_tenth():
    x = torch.tensor([[0.7, 0.1, 0.9, 0.12]]).expand(1000, 4)
    assert create("lotka-volterra").observe(x).log().std(0) == pytest.approx(torch.full((20,), 0.1), rel=0.12)
