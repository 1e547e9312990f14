import math

import pytest
import torch

from inverseflow.inference.problems import create, eight_modes

Y = torch.tensor([9.5, 0.0])  # a quarter of the wide part lies outside of the prior


def test_density_of_the_gaussian_mixture_integrates_to_one_and_fits_its_samples():
    problem = create("gaussian-mixture")
    side = (torch.arange(800) + 0.5) / 40 - 10
    x = torch.cartesian_prod(side, side)
    density = problem.log_prob(x, Y).double().exp() * 0.025**2
    assert density.sum() == pytest.approx(1, abs=1e-3)
    samples = problem.reference(Y, 50_000, torch.Generator().manual_seed(0))
    assert samples.mean(0) == pytest.approx(density @ x.double(), abs=0.02)
    assert samples.abs().mean(0) == pytest.approx(density @ x.double().abs(), abs=0.02)
    assert problem.log_prob(torch.tensor([[10.01, 0.0]]), Y).item() == -torch.inf


@pytest.mark.parametrize(("labels", "count"), [("all", 8), ("some", 4), ("none", 1)])
def test_simulated_points_given_a_label_have_the_distribution_of_the_reference(labels, count):
    problem = eight_modes(labels=labels)
    x, y = problem.simulate(20_000)
    assert y.shape == (20_000, count)
    first = y.argmax(1) == 0
    samples = problem.reference(torch.eye(count)[0], 20_000, torch.Generator().manual_seed(0))
    assert samples.mean(0) == pytest.approx(x[first].mean(0), abs=0.08)
    assert samples.std(0) == pytest.approx(x[first].std(0), rel=0.05)
    share = {"all": 1 / 8, "some": 1 / 2, "none": 1}[labels]
    assert first.float().mean() == pytest.approx(share, abs=0.02)
    apart = problem.log_prob(samples, torch.eye(count)[0]) - problem.prior.log_prob(samples)
    assert (apart.exp() * share - 1).abs().max() < 1e-3  # the modes don't overlap


def test_a_mode_of_another_label_has_the_density_of_the_tails_alone():
    x = torch.tensor([[-2.4142, -1.0]])  # the last center, at a distance of 2 from the first one
    log_prob = eight_modes(labels="all").log_prob(x, torch.eye(8)[0])
    assert log_prob.item() == pytest.approx(-0.5 * (2 / 0.2) ** 2 - math.log(2 * math.pi * 0.2**2), abs=1e-3)


def test_unknown_labels_are_refused():
    with pytest.raises(ValueError, match="unknown labels 'few': choose 'all', 'some' or 'none'"):
        eight_modes(labels="few")
