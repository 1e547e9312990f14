import pytest
import torch

from inverseflow.inference import AmortizedPosterior, diagnose, method_names
from inverseflow.inference.problems import create

MATRIX = torch.tensor([[1.0, 0.5, 0.0], [0.0, 1.0, 1.0]])
COVARIANCE = torch.linalg.inv(torch.eye(3) + MATRIX.T @ MATRIX / 0.25)
OPTIONS = {"inn-ml": {"width": 32}, "iresnet": {"width": 32, "steps": 3}}


@pytest.mark.slow
@pytest.mark.parametrize("method", method_names(with_density=True))
def test_every_method_with_a_density_recovers_the_posterior_of_a_linear_problem(method):
    problem = create("gaussian-linear", matrix=MATRIX, noise=0.5, prior_scale=1.0)
    posterior = AmortizedPosterior.of(problem, method, **OPTIONS.get(method, {}))
    posterior.fit(*problem.simulate(50_000), max_steps=800, progress=False)
    y, deviation = torch.tensor([[0.0, 0.0], [1.0, -1.0], [-1.5, 0.5]]), COVARIANCE.diagonal().sqrt()
    samples = posterior.sample(y, 50_000, seed=0)
    mean = y @ MATRIX @ COVARIANCE / 0.25
    assert ((samples.mean(1) - mean) / deviation).abs().max() < 0.05
    for drawn in samples:
        assert ((drawn.T.cov() - COVARIANCE) / deviation.outer(deviation)).abs().max() < 0.1
    x, y = problem.simulate(5000, seed=1)
    assert 0 < (problem.log_prob(x, y) - posterior.log_prob(x, y)).mean() < 0.02
    diagnosis = diagnose(posterior, problem, seed=2)
    assert diagnosis.trusted, diagnosis.verdict
