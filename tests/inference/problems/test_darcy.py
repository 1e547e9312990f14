import pytest
import torch

from inverseflow.inference.problems import create
from inverseflow.inference.problems.darcy import NOISE, linearized_posterior, log_permeability, pressure


def test_constant_permeability_has_a_linear_pressure():
    assert pressure(torch.zeros(8).double()) == pytest.approx(1 - torch.arange(1, 9).double() / 9, abs=1e-12)


def test_pressure_falls_by_the_integral_of_the_resistance():
    x = torch.randn(8).double()
    resistance = (-log_permeability(x)).exp()
    assert pressure(x)[2] == pytest.approx((resistance[48:].mean() * 96 / (resistance.mean() * 144)).item(), abs=1e-12)


def test_log_permeability_has_nearly_the_variance_of_the_process():
    m = log_permeability(torch.randn(20_000, 8))
    assert 0.85 < m.var(0).mean() < 1


def test_linearized_posterior_is_that_of_the_linear_problem():
    y = pressure(torch.zeros(8).double()) + 0.02
    matrix = torch.autograd.functional.jacobian(pressure, torch.zeros(8).double())
    mean, covariance = linearized_posterior(y, torch.zeros(8).double())
    gain = matrix.T @ torch.linalg.inv(matrix @ matrix.T + NOISE**2 * torch.eye(8))  # the other form of Bayes' rule
    assert torch.allclose(mean, gain @ torch.full((8,), 0.02).double(), atol=1e-9)
    assert torch.allclose(covariance, torch.eye(8) - gain @ matrix, atol=1e-9)


def test_reference_agrees_with_a_long_chain():
    problem = create("darcy")
    y = problem.simulate(3)[1][2]
    samples = problem.reference(y, 2000, torch.Generator().manual_seed(0)).double()
    step = torch.linalg.cholesky(samples.T.cov()) * 0.6
    x, chain = samples[:500], []

    def energy(x):
        return ((pressure(x) - y) / NOISE).square().sum(1) / 2 + x.square().sum(1) / 2

    for index in range(160):
        moved = x + torch.randn_like(x) @ step.T
        accept = torch.rand(500) < (energy(x) - energy(moved)).exp()
        x = torch.where(accept[:, None], moved, x)
        if index >= 80 and index % 20 == 0:
            chain.append(x)
    chain = torch.cat(chain)
    assert ((samples.mean(0) - chain.mean(0)) / chain.std(0)).abs().max() < 0.12
    assert samples.std(0) / chain.std(0) == pytest.approx(torch.ones(8).double(), abs=0.1)
