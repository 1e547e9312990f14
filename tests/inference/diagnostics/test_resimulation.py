import pytest
import torch

from inverseflow.errors import DataError, NonFiniteError
from inverseflow.inference.diagnostics import contraction, resimulation_error
from tests.inference.diagnostics.linear_gaussian import COVARIANCE, NOISE, A, Posterior, Prior, problem

VARIANCE = (A @ A.T).diagonal() + NOISE**2  # of y under the prior


@pytest.fixture(scope="module")
def pairs():
    return problem().simulate(4000, seed=0)


def simulator(x):
    return x @ A.T + NOISE * torch.randn(len(x), 2, dtype=torch.float64)


def test_the_exact_posterior_has_the_error_of_noise_alone(pairs):
    error = resimulation_error(Posterior(), simulator, *pairs)
    assert error.squared == pytest.approx(2 * 2 * NOISE**2, rel=0.1)  # two numbers, two independent noises
    assert error.relative == pytest.approx(float((2 * NOISE**2 / VARIANCE).mean()), rel=0.1)
    assert error.exact == pytest.approx(error.relative, rel=0.1)
    assert error.p_value > 1e-3 and abs(error.excess) < 0.05 and error.failed == 0


def test_the_prior_has_a_relative_error_of_two(pairs):
    error = resimulation_error(Prior(), simulator, *pairs)
    assert error.relative == pytest.approx(2, rel=0.1)
    assert error.excess == pytest.approx(1, abs=0.1) and error.p_value < 1e-12


def test_a_simulator_without_noise_has_an_exact_error_of_zero():
    class Close:
        def sample(self, y, n):
            return y[:, None] / 10 + 0.1 * torch.randn(len(y), n, 1)

    x = torch.randn(2000, 1)
    error = resimulation_error(Close(), lambda x: 10 * x, x, 10 * x)
    assert error.exact == 0
    assert error.squared == pytest.approx(1, rel=0.15)
    assert error.excess == pytest.approx(error.relative / 2)


def test_observations_have_any_shape_and_constant_numbers_count_nothing(pairs):
    x, y = pairs

    def pad(y):
        return torch.cat([y, torch.ones_like(y)], 1).reshape(-1, 2, 2)

    class OfImages:
        def sample(self, y, n):
            return Posterior().sample(y[:, 0], n)

    flat = resimulation_error(Posterior(), simulator, x, y)
    images = resimulation_error(OfImages(), lambda x: pad(simulator(x)), x, pad(y))
    assert images.relative == pytest.approx(flat.relative)


def test_simulations_that_fail_are_counted_and_left_out(pairs):
    def fragile(x):
        return torch.where(x[:, :1] > 1, torch.nan, simulator(x))

    error = resimulation_error(Posterior(), fragile, *pairs)
    assert 0.1 * 4000 < error.failed < 0.22 * 4000
    assert error.relative == pytest.approx(float((2 * NOISE**2 / VARIANCE).mean()), rel=0.1)
    with pytest.raises(NonFiniteError, match="4000 of 4000 re-simulated observations are not finite"):
        resimulation_error(Posterior(), lambda x: x[:, :2] / 0, *pairs)


def test_observations_that_never_change_are_refused(pairs):
    x, y = pairs
    with pytest.raises(DataError, match="all observations are the same"):
        resimulation_error(Posterior(), lambda x: 0 * x[:, :2], x, 0 * y)


def test_a_simulator_of_another_shape_is_refused(pairs):
    with pytest.raises(DataError, match=r"returned shape \(4000, 3\) for observations \(4000, 2\)"):
        resimulation_error(Posterior(), lambda x: x, *pairs)


def test_contraction_is_that_of_the_exact_covariance(pairs):
    measured = torch.tensor(contraction(Posterior(), *pairs), dtype=torch.float64)
    torch.testing.assert_close(measured, 1 - COVARIANCE.diagonal(), atol=0.03, rtol=0)
    assert max(map(abs, contraction(Prior(), *pairs))) < 0.1


def test_a_constant_parameter_is_refused(pairs):
    x, y = pairs
    with pytest.raises(DataError, match="parameter 1 of the pairs is constant"):
        contraction(Posterior(), x * torch.tensor([1, 0, 1]), y)
