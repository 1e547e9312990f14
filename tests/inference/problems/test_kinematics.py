import pytest
import torch

from inverseflow.inference.problems import create
from inverseflow.inference.problems.kinematics import SCALES, hand, posterior_grid

Y = torch.tensor([1.5, 0.5])


def test_reference_has_the_moments_of_an_independent_quadrature():
    samples = create("kinematics").reference(Y, 40_000, torch.Generator().manual_seed(0))
    assert samples.mean(0) == pytest.approx(torch.tensor([-0.272, -0.115, 0.395, 0.550]), abs=0.012)
    assert samples.std(0) == pytest.approx(torch.tensor([0.258, 0.501, 0.508, 0.697]), rel=0.015)
    assert posterior_grid(Y)[1].sum() == pytest.approx(0.0550, rel=2e-3)


def test_every_sample_leads_the_hand_to_the_observation():
    for y in (Y, torch.tensor([1.9, 0.1]), torch.tensor([-0.8, 0.3])):  # stretched, almost straight, and folded back
        samples = create("kinematics").reference(y, 10_000, torch.Generator().manual_seed(0))
        assert (hand(samples) - y).abs().max() < 1e-5


def test_evidence_and_reference_are_those_of_simulated_hands_near_by():
    x = torch.randn(2_000_000, 4) * torch.tensor(SCALES)
    for center in (torch.tensor([1.7, -0.6]), torch.tensor([0.8, 1.5])):
        near = x[((hand(x) - center).abs() < 0.05).all(1)]
        assert posterior_grid(center)[1].sum() == pytest.approx(len(near) / len(x) / 0.1**2, rel=0.1)
        samples = create("kinematics").reference(center, 20_000, torch.Generator().manual_seed(0))
        assert samples.mean(0) == pytest.approx(near.mean(0), abs=0.06)
        assert samples.std(0) == pytest.approx(near.std(0), rel=0.08)


def test_a_place_out_of_reach_is_refused():
    with pytest.raises(ValueError, match=r"cannot reach \[2.5, 0.0\]"):
        create("kinematics").reference(torch.tensor([2.5, 0.0]), 10, None)
