import pytest
import torch
from scipy import stats

from inverseflow.errors import DataError, NonFiniteError
from inverseflow.inference.diagnostics import sbc_ranks, sbc_test
from inverseflow.inference.diagnostics.draws import draw
from inverseflow.inference.diagnostics.sbc import (
    density_ranks,
    linear_prediction,
    prediction_ranks,
    rank_counts,
    ranks_of_counts,
)
from tests.inference.diagnostics.linear_gaussian import Posterior, Prior, problem


class Fixed:
    """A posterior whose draws are given."""

    def __init__(self, samples):
        self.samples, self.calls = samples, 0

    def sample(self, y, n):
        self.calls += 1
        return self.samples[:, :n]


def test_of(posterior, count=1000, seed=0):
    x, y = problem().simulate(count, seed=seed)
    return sbc_test(sbc_ranks(posterior, x, y, seed=seed), draws=99)


test_of.__test__ = False


def test_ranks_count_the_draws_below_the_truth():
    samples, x = torch.randn(30, 19, 2), torch.randn(30, 2)
    ranks = sbc_ranks(Fixed(samples), x, x, draws=19)
    for i in range(30):
        for d in range(2):
            assert ranks[i, d] == sum(float(value) < float(x[i, d]) for value in samples[i, :, d])


def test_a_rank_among_ties_is_drawn_from_all_that_are_possible():
    samples = torch.tensor([0.0] * 3 + [1.0] * 4 + [2.0] * 2).expand(4000, 9)[..., None]
    ranks = sbc_ranks(Fixed(samples), torch.ones(4000, 1), torch.zeros(4000, 1), draws=9)
    counts = torch.bincount(ranks[:, 0], minlength=10)
    assert counts[:3].sum() == counts[8:].sum() == 0
    assert stats.chisquare(counts[3:8]).pvalue > 1e-3


def test_whole_numbers_have_uniform_ranks():
    class Exact:  # x ~ Poisson(2), y says nothing
        def sample(self, y, n):
            return torch.poisson(torch.full((len(y), n, 1), 2.0))

    x = torch.poisson(torch.full((2000, 1), 2.0))
    assert sbc_test(sbc_ranks(Exact(), x, x), draws=99).p_value > 1e-3


def test_all_draws_come_from_one_call():
    fixed = Fixed(torch.randn(1000, 99, 3))
    sbc_ranks(fixed, torch.randn(1000, 3), torch.randn(1000, 2))
    assert fixed.calls == 1


def test_ranks_depend_on_the_seed_only():
    x, y = problem().simulate(50, seed=1)
    first = sbc_ranks(Posterior(), x, y, seed=3)
    torch.randn(7)
    assert torch.equal(first, sbc_ranks(Posterior(), x, y, seed=3))
    assert not torch.equal(first, sbc_ranks(Posterior(), x, y, seed=4))


def test_the_exact_posterior_passes():
    for seed in range(5):
        assert test_of(Posterior(), seed=seed).p_value > 1e-3


@pytest.mark.parametrize(
    ("posterior", "trend"),
    [
        (Posterior(scale=0.5**0.5), "too narrow"),
        (Posterior(scale=2**0.5), "too wide"),
        (Posterior(shift=0.3), "too high"),
        (Posterior(shift=-0.3), "too low"),
    ],
)
def test_a_wrong_posterior_fails_and_the_trend_is_named(posterior, trend):
    test = test_of(posterior)
    assert max(test.p_values) < 1e-5
    assert set(test.trends) == {trend}


def test_the_prior_passes_by_its_parameters_and_fails_by_the_distance_to_a_prediction():
    x, y = problem().simulate(1000, seed=0)
    samples = draw(Prior(), y, 99)
    assert test_of(Prior()).p_value > 1e-3
    assert sbc_test(prediction_ranks(samples, x, linear_prediction(x, y))[:, None], draws=99).p_value < 1e-12


def test_distances_to_a_prediction_have_uniform_ranks_for_the_exact_posterior():
    for seed in range(5):
        x, y = problem().simulate(1000, seed=seed)
        samples = draw(Posterior(), y, 99, seed=seed)
        dependent = torch.cat([y, y.sum(1, keepdim=True), torch.ones_like(y)], 1)
        ranks = prediction_ranks(samples, x, linear_prediction(x, dependent), seed=seed)
        assert sbc_test(ranks[:, None], draws=99).p_value > 1e-3


def test_density_ranks_see_correlations_that_no_parameter_shows():
    class Uncorrelated:
        def sample(self, y, n):
            return torch.randn(len(y), n, 2)

        def log_prob(self, x, y):
            return -x.square().sum(-1) / 2

    common = torch.randn(1000, 1)
    x = torch.cat([common, 0.8 * common + 0.6 * torch.randn(1000, 1)], 1)
    y = torch.zeros(1000, 1)
    samples = draw(Uncorrelated(), y, 99)
    assert sbc_test(sbc_ranks(Uncorrelated(), x, y), draws=99).p_value > 1e-3
    assert sbc_test(density_ranks(Uncorrelated(), samples, x, y)[:, None], draws=99).p_value < 1e-6


def test_the_statistic_is_that_of_scipy():
    ranks = torch.randint(100, (700, 2))
    test = sbc_test(ranks, draws=99, bins=10)
    for column, p_value in zip(ranks.T, test.p_values, strict=True):
        counts = torch.bincount(column // 10, minlength=10)
        assert p_value == pytest.approx(stats.chisquare(counts).pvalue, rel=1e-9)
    assert test.p_value == pytest.approx(min(1, 2 * min(test.p_values)))


def test_p_values_of_uniform_ranks_are_uniform():
    p_values = [sbc_test(torch.randint(100, (400, 1)), draws=99).p_value for _ in range(400)]
    assert stats.kstest(p_values, "uniform").pvalue > 1e-3


@pytest.mark.parametrize(("count", "draws", "bins"), [(1000, 99, 20), (60, 99, 10), (1000, 49, 10), (10, 99, 2)])
def test_the_bins_divide_the_ranks_and_hold_five(count, draws, bins):
    assert sbc_test(torch.randint(draws + 1, (count, 1)), draws=draws).bins == bins


def test_counts_are_kept_instead_of_ranks():
    ranks = torch.randint(10, (200, 3))
    again = ranks_of_counts(rank_counts(ranks, draws=9))
    assert torch.equal(again, ranks.sort(0).values)


def test_bad_input_is_refused():
    x, y = problem().simulate(20)
    with pytest.raises(ValueError, match="bins must divide draws . 1 = 100, got 30"):
        sbc_test(torch.zeros(1000, 1), draws=99, bins=30)
    with pytest.raises(DataError, match="9 ranks in 99 draws cannot be tested"):
        sbc_test(torch.zeros(9, 1), draws=99)
    with pytest.raises(DataError, match="whole numbers .* in 0 to 99"):
        sbc_test(torch.full((100, 1), 100), draws=99)
    with pytest.raises(DataError, match="pairs are parameters"):
        sbc_ranks(Posterior(), x[:10], y)
    with pytest.raises(DataError, match="some observations of the pairs are not finite"):
        sbc_ranks(Posterior(), x, torch.full_like(y, torch.nan))
    with pytest.raises(DataError, match="must return .m, n, D. for 20 observations, got shape .20, 3."):
        sbc_ranks(Fixed(torch.zeros(20, 3)), x, y)
    with pytest.raises(DataError, match="do not fit parameters"):
        sbc_ranks(Fixed(torch.zeros(20, 99, 2)), x, y)
    with pytest.raises(NonFiniteError, match="100 % of the draws"):
        sbc_ranks(Fixed(torch.full((20, 99, 3), torch.inf)), x, y)
    with pytest.raises(ValueError, match="draws must be at least 1, got 0"):
        sbc_ranks(Posterior(), x, y, draws=0)
