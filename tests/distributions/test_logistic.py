import pytest
import torch
from scipy import stats

from inverseflow.distributions import StandardLogistic


def test_its_density_is_that_of_scipy_far_into_the_tails():
    z = torch.linspace(-500, 500, 1001, dtype=torch.float64).view(-1, 7)
    expected = torch.from_numpy(stats.logistic.logpdf(z.numpy()).sum(1))
    torch.testing.assert_close(StandardLogistic(7).log_prob(z), expected, rtol=1e-12, atol=0)


def test_half_precision_is_summed_in_single_precision():
    log_prob = StandardLogistic(100_000).log_prob(torch.full((1, 100_000), 2.0, dtype=torch.float16))
    assert log_prob.dtype == torch.float32
    assert log_prob.item() == pytest.approx(100_000 * stats.logistic.logpdf(2), rel=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_its_samples_follow_it_with_the_temperature_as_their_scale(temperature):
    z = StandardLogistic(4).double().sample(5000, temperature=temperature).flatten().numpy()
    assert stats.kstest(z, stats.logistic(scale=temperature).cdf).pvalue > 0.01


def test_single_precision_does_not_cut_the_tails():
    z = StandardLogistic(1000).sample(2000)
    exceeding = (z.abs() > 10).sum().item() / z.numel()
    assert exceeding == pytest.approx(2 * stats.logistic.sf(10), rel=0.5)
    assert z.isfinite().all()


def test_a_generator_decides_the_samples():
    base = StandardLogistic(4)
    first, second = (base.sample(3, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, base.sample(3))
