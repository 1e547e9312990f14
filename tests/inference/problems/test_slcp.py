import pytest
import torch
from torch.distributions import MultivariateNormal

from inverseflow.inference.problems import create
from inverseflow.inference.problems.slcp import distractors, moments


def test_simulated_points_have_the_stated_moments():
    x = torch.tensor([[0.5, -1.0, 1.2, -0.9, 0.7]])
    y = create("slcp").observe(x.expand(20_000, 5)).view(-1, 2)
    mean, covariance = moments(x)
    s1, s2, rho = 1.2**2, 0.9**2, torch.tensor(0.7).tanh()
    assert covariance[0] == pytest.approx(torch.tensor([[s1**2, rho * s1 * s2], [rho * s1 * s2, s2**2]]), rel=1e-4)
    assert y.mean(0) == pytest.approx(mean[0], abs=0.02)
    assert y.T.cov() == pytest.approx(covariance[0], abs=0.03)


def test_reference_agrees_with_importance_sampling():
    problem = create("slcp")
    y = problem.observe(torch.tensor([[2.5, -1.0, 1.4, -1.2, 0.7]]), seed=3)[0]  # near the end of the first mean
    x = 6 * torch.rand(300_000, 5, dtype=torch.float64) - 3
    mean, covariance = moments(x)
    likelihood = MultivariateNormal(mean[:, None], covariance[:, None])
    weights = likelihood.log_prob(y.double().view(1, 4, 2)).sum(1).softmax(0)
    samples = problem.reference(y, 20_000, torch.Generator().manual_seed(0)).double()
    effective = 1 / weights.square().sum()
    for statistic in (torch.abs, torch.square):
        expected, spread = weights @ statistic(x), statistic(samples).std(0)
        assert ((statistic(samples).mean(0) - expected).abs() < 4 * spread * (1 / effective + 1 / 20_000).sqrt()).all()
    assert (samples[:, 2:4] > 0).double().mean(0) == pytest.approx(torch.full((2,), 0.5), abs=0.02)


def test_distractors_hide_the_points_without_changing_the_posterior():
    x = torch.zeros(2000, 5) + torch.tensor([1.0, -1.0, 0.3, 0.3, 0.0])
    order = distractors()[2]
    y = create("slcp-distractors").observe(x)
    points = y[:, order.argsort()[:8]].view(-1, 2)
    assert points.mean(0) == pytest.approx(torch.tensor([1.0, -1.0]), abs=0.02)
    samples = [
        create(name).reference(o, 100, torch.Generator().manual_seed(0))
        for name, o in [("slcp", points[:4].flatten()), ("slcp-distractors", y[0])]
    ]
    assert torch.equal(*samples)
