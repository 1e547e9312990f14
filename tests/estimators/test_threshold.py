import numpy as np
import pytest
from scipy.stats import beta, binomtest

from inverseflow.errors import DataError
from inverseflow.estimators import false_alarm_threshold
from inverseflow.estimators.threshold import clopper_pearson


def test_the_rate_holds_on_average_and_the_interval_in_most_cases():
    rng = np.random.default_rng(0)
    scores = rng.exponential(size=(1000, 150))
    thresholds = [false_alarm_threshold(row, 0.05) for row in scores]
    rates = np.array([-np.expm1(-threshold.value) for threshold in thresholds])  # P(exponential < value)
    assert rates.mean() == pytest.approx(7 / 151, abs=0.002)
    inside = np.mean([t.interval[0] <= rate <= t.interval[1] for t, rate in zip(thresholds, rates, strict=True)])
    exact = np.diff(beta.cdf(thresholds[0].interval, 7, 144))[0]
    assert inside == pytest.approx(exact, abs=0.02)
    assert exact >= 0.95


def test_the_interval_is_that_of_scipy():
    for successes, trials in ((0, 100), (3, 120), (120, 120)):
        expected = binomtest(successes, trials).proportion_ci(0.95, "exact")
        assert clopper_pearson(successes, trials) == pytest.approx((expected.low, expected.high))


def test_no_more_scores_lie_below_than_the_rate_allows_even_with_ties():
    threshold = false_alarm_threshold([0.0] * 50 + [1.0] * 60, 0.2)
    assert threshold.value == 0.0
    assert threshold.interval[0] == 0.0


@pytest.mark.parametrize(
    ("scores", "rate", "message"),
    [
        (range(99), 0.05, "needs at least 100 scores, got 99: hold out more rows, or state a higher rate"),
        (range(998), 0.001, "needs at least 999 scores, got 998"),
        ([np.nan, *range(200)], 0.05, "1 of 201 scores are NaN"),
    ],
)
def test_bad_scores_are_refused(scores, rate, message):
    with pytest.raises(DataError, match=message):
        false_alarm_threshold(scores, rate)


@pytest.mark.parametrize("rate", [0, 1, -0.1, float("nan")])
def test_a_rate_is_a_share(rate):
    with pytest.raises(ValueError, match="false_alarm_rate must lie strictly between 0 and 1"):
        false_alarm_threshold(range(100), rate)


def test_the_fewest_scores_for_a_rate_are_enough():
    assert false_alarm_threshold(range(999), 0.001).value == 0.0
