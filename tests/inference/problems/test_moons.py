import pytest
import torch

from inverseflow.inference.problems import create


def test_reference_has_the_moments_of_simulations_near_by():
    problem = create("two-moons")
    x, y = problem.simulate(1_000_000)
    for center in (
        torch.tensor([-0.6, 0.2]),
        torch.tensor([0.28, 0.0]),
        torch.tensor([-0.95, 0.05]),
    ):  # inside, edge, corner
        near = x[((y - center).abs() < 0.03).all(1)]
        samples = problem.reference(center, 20_000, torch.Generator().manual_seed(0))
        for power in (1, 2):
            assert (samples**power).mean(0) == pytest.approx((near**power).mean(0), abs=0.06)
        assert samples.prod(1).mean().item() == pytest.approx(near.prod(1).mean().item(), abs=0.03)


def test_an_impossible_observation_is_refused():
    with pytest.raises(ValueError, match="no parameters lead to"):
        create("two-moons").reference(torch.tensor([3.0, 0.0]), 10, None)
