import math

import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.special import lambertw

from inverseflow.inference.problems import create
from inverseflow.inference.problems.ballistics import DRAG, GRAVITY, MASS, lambert_w, landing_point


def test_lambert_w_is_that_of_scipy():
    z = -torch.exp(-1 - torch.cat([torch.logspace(-9, 0, 200), torch.linspace(1, 60, 200)]).double())
    assert lambert_w(z).numpy() == pytest.approx(lambertw(z.numpy()).real, abs=2e-8)
    assert lambert_w(z[:0]).shape == (0,)


def test_landing_point_is_that_of_the_integrated_flight():
    x = torch.tensor([0.3, 1.2, 0.7, 14.0], dtype=torch.float64)

    def flight(_, state):
        return [state[2], state[3], -DRAG / MASS * state[2], -GRAVITY - DRAG / MASS * state[3]]

    def ground(_, state):
        return state[1]

    ground.terminal, ground.direction = True, -1
    start = [0.3, 1.2, 14 * math.cos(0.7), 14 * math.sin(0.7)]
    landed = solve_ivp(flight, (0, 20), start, events=ground, rtol=1e-11, atol=1e-12).y_events[0][0, 0]
    assert landing_point(x).item() == pytest.approx(landed, abs=1e-8)


def test_a_ball_without_speed_or_height_lands_where_it_is():
    assert landing_point(torch.tensor([[0.4, 1.5, 0.5, 0.0], [0.4, -0.2, 0.5, 0.7]])) == pytest.approx(
        torch.full((2, 1), 0.4), abs=1e-6
    )


def test_reference_has_the_moments_of_an_independent_calculation():
    samples = create("ballistics").reference(torch.tensor([5.0]), 40_000, torch.Generator().manual_seed(0))
    assert samples.mean(0) == pytest.approx(torch.tensor([-0.023, 1.478, 0.880, 13.23]), abs=0.05)
    assert samples.mean(0)[:3] == pytest.approx(torch.tensor([-0.023, 1.478, 0.880]), abs=0.009)
    assert samples.std(0) == pytest.approx(torch.tensor([0.497, 0.501, 0.315, 3.45]), rel=0.015)
    assert (landing_point(samples) - 5).abs().max() < 1e-4
    assert (samples[:, 3] == samples[:, 3].floor()).all()


def test_density_of_the_landing_point_is_that_of_an_independent_calculation():
    _, y = create("ballistics").simulate(400_000)
    assert ((y - 5).abs() < 0.1).double().mean() / 0.2 == pytest.approx(0.1104, rel=0.02)


def test_a_place_where_hardly_any_throw_lands_is_refused():
    with pytest.raises(ValueError, match="hardly any throw lands at -10"):
        create("ballistics").reference(torch.tensor([-10.0]), 10, None)
