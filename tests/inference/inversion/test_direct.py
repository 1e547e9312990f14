import pytest
import torch
from scipy.optimize import minimize

from inverseflow.inference.inversion.direct import Coordinate, NelderMead
from inverseflow.inference.inversion.search import Box, Search


def rosenbrock(x):
    return 100 * (x[..., 1] - x[..., 0] ** 2) ** 2 + (1 - x[..., 0]) ** 2


@pytest.fixture
def search():
    return Search(Box(torch.full((2,), -2.0).double(), torch.full((2,), 2.0).double(), seed=3), 1, 1e-10, 0)


def test_the_simplex_needs_about_as_many_evaluations_as_the_one_of_scipy(search):
    rule = NelderMead(search)
    start = rule.state["points"][0].clone()
    count = 0
    while not rule.finished and count < 1000:
        x = rule.propose()
        rule.update(x, rosenbrock(x), torch.zeros_like(x))
        count += 1
    options = {"initial_simplex": start.numpy(), "xatol": 0, "fatol": 0, "maxfev": 1000}
    values = []
    minimize(
        lambda x: values.append(rosenbrock(x)) or values[-1], start[0].numpy(), method="Nelder-Mead", options=options
    )
    theirs = next(i for i, value in enumerate(values) if value <= 1e-10)
    assert rule.finished
    assert torch.allclose(rule.found, torch.ones(1, 2).double(), atol=1e-4)
    assert 0.5 * theirs < count < 2 * theirs


def test_one_coordinate_moves_at_a_time_and_the_kept_misfit_never_rises(search):
    rule = Coordinate(search)
    previous, least = None, torch.inf
    for _ in range(200):
        kept = rule.state["x"].clone()
        x = rule.propose()
        assert int((x != kept).sum()) <= 1
        error = (x - 0.3).square().sum(1)
        rule.update(x, error, torch.zeros_like(x))
        if rule.finished:
            break
        previous = rule.state["error"].item()
        assert previous <= least
        least = previous
    assert torch.allclose(rule.found, torch.full((1, 2), 0.3).double(), atol=1e-5)
