import math

import pytest
import torch
from scipy import integrate, stats

from inverseflow.inference.problems import gaussian_linear, gaussian_linear_uniform


def test_samples_and_density_of_the_linear_posterior_agree_with_bayes_rule():
    matrix, noise, scale, y = (
        torch.tensor([[1.0, 0.5], [0.0, 2.0], [1.0, -1.0]]),
        0.7,
        1.3,
        torch.tensor([1.0, -2, 0.5]),
    )
    problem = gaussian_linear(matrix, noise=noise, prior_scale=scale)
    x = torch.tensor([[0.3, -0.8], [1.0, 0.0], [-2.0, 1.0]])
    joint = stats.norm(0, scale).logpdf(x).sum(1) + stats.norm(0, noise).logpdf(y - x @ matrix.T).sum(1)
    evidence = stats.multivariate_normal([0, 0, 0], scale**2 * matrix @ matrix.T + noise**2 * torch.eye(3)).logpdf(y)
    assert problem.log_prob(x, y).numpy() == pytest.approx(joint - evidence, abs=1e-5)
    samples = problem.reference(y, 20_000, torch.Generator().manual_seed(0))
    mode = torch.tensor([[problem.log_prob(samples.mean(0, keepdim=True), y)]])
    assert (2 * (mode - problem.log_prob(samples, y))).mean() == pytest.approx(2, rel=0.05)  # χ² of two degrees


def test_linear_problem_simulates_its_noise():
    x, y = gaussian_linear(dims=3, noise=0.2).simulate(20_000)
    assert (y - x).std(0) == pytest.approx(torch.full((3,), 0.2), rel=0.03)
    assert x.std(0) == pytest.approx(torch.full((3,), math.sqrt(0.1)), rel=0.03)


@pytest.mark.parametrize("y", [0.3, 4.0])
def test_samples_and_density_of_the_truncated_normal_agree_with_quadrature(y):
    problem = gaussian_linear_uniform(dims=1)
    observation = torch.tensor([y])

    def density(x):
        return problem.log_prob(torch.tensor([[x]]).double(), observation).exp().item()

    assert integrate.quad(density, -1, 1)[0] == pytest.approx(1, abs=1e-5)
    mean = integrate.quad(lambda x: x * density(x), -1, 1)[0]
    samples = problem.reference(observation, 50_000, torch.Generator().manual_seed(0))
    assert samples.mean() == pytest.approx(mean, abs=0.005)
    assert samples.abs().max() <= 1
    assert problem.log_prob(torch.tensor([[1.01]]), observation).item() == -math.inf


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"matrix": [1.0, 2.0]}, r"\(M, D\), got \(2,\)"),
        ({"noise": 0}, "noise must be finite and above 0, got 0"),
        ({"prior_scale": -1}, "prior_scale must be finite and above 0, got -1"),
        ({"dims": 0}, "dims must be at least 1, got 0"),
    ],
)
def test_linear_problems_refuse(options, message):
    with pytest.raises(ValueError, match=message):
        gaussian_linear(**options)
