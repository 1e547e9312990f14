import pytest
import torch
from scipy import stats

from inverseflow.inference.diagnostics import expected_coverage
from inverseflow.inference.diagnostics.coverage import coverage_of
from tests.inference.diagnostics.linear_gaussian import Posterior, Samples, problem

LEVELS = (0.5, 0.68, 0.95)


@pytest.fixture(scope="module")
def pairs():
    return problem().simulate(2000, seed=0)


def expected(exact, scale):
    # 99 draws smear the levels a little, which matters for a wrong scale only.
    return pytest.approx(exact, abs=4 * (exact * (1 - exact) / 2000) ** 0.5 + 0.01 * (scale != 1))


@pytest.mark.parametrize("scale", [1.0, 0.7, 1.5])
def test_regions_of_highest_density_hold_what_the_chi_squared_distribution_says(pairs, scale):
    coverage = expected_coverage(Posterior(scale), *pairs)
    assert coverage.region == "highest density" and coverage.levels == LEVELS
    for level, rate in zip(LEVELS, coverage.rates[0], strict=True):
        assert rate == expected(stats.chi2.cdf(scale**2 * stats.chi2.ppf(level, 3), 3), scale)


@pytest.mark.parametrize("scale", [1.0, 0.7])
def test_without_a_density_each_parameter_has_its_central_interval(pairs, scale):
    coverage = expected_coverage(Samples(Posterior(scale)), *pairs)
    assert coverage.region == "central intervals" and len(coverage.rates) == 3
    for rates in coverage.rates:
        for level, rate in zip(LEVELS, rates, strict=True):
            assert rate == expected(2 * stats.norm.cdf(scale * stats.norm.ppf(0.5 + level / 2)) - 1, scale)


def test_a_posterior_that_says_it_has_no_density_is_believed(pairs):
    class Silent(Posterior):
        has_density = False

    assert expected_coverage(Silent(), *pairs).region == "central intervals"


@pytest.mark.parametrize("density", [True, False])
def test_levels_are_exact_for_any_number_of_draws(density):
    ranks = torch.arange(7).repeat(3000)[:, None]  # 6 draws: no level but k/7 is a bound between ranks
    coverage = coverage_of(ranks, 6, [0.1, 0.5, 0.9], density=density)
    for level, rate, error in zip(coverage.levels, coverage.rates[0], coverage.standard_errors, strict=True):
        assert rate == pytest.approx(level, abs=4 * error)
        assert error == pytest.approx((level * (1 - level) / 21000) ** 0.5)


def test_a_level_that_is_no_probability_is_refused(pairs):
    with pytest.raises(ValueError, match="each level must lie strictly between 0 and 1, got 95"):
        expected_coverage(Posterior(), *pairs, levels=[95])
