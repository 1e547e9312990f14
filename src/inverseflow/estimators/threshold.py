"""Thresholds of scores at a stated rate of false alarms."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import beta

from inverseflow.errors import DataError
from inverseflow.utils.arguments import finite_number

FEWEST_SCORES = 100
"""Number of held-out scores below which no threshold is set."""


@dataclass(frozen=True)
class Threshold:
    """A threshold below which a score raises an alarm."""

    value: float
    """The threshold."""
    rate: float
    """The stated rate of false alarms, which holds on average over held-out rows."""
    interval: tuple[float, float]
    """Clopper–Pearson interval of the rate of this threshold, at a level of 95 %."""
    scores: int
    """Number of held-out scores."""


def false_alarm_threshold(scores: Any, rate: float) -> Threshold:
    r"""Return the threshold below which a new normal score lies with at most a stated probability.

    Of n held-out scores in increasing order it is the k-th, :math:`k = \lfloor \alpha (n + 1) \rfloor`. A new score
    from the same distribution, whatever it is, lies below with probability :math:`k / (n + 1) \le \alpha`, on average
    over the held-out scores. For the scores at hand, the rate is Beta(k, n - k + 1) distributed if scores are
    continuous. So it lies in the Clopper–Pearson interval of the k - 1 scores below the threshold at least in 95 % of
    all cases, although these scores chose the threshold.

    Args:
        scores: scores of normal rows that trained nothing, ``(N,)``; higher is more normal.
        rate: rate α of false alarms.

    Raises:
        DataError: if there are fewer than 100 scores, or too few for the rate, or one is NaN.
        ValueError: if the rate does not lie between 0 and 1.

    Reference:
        Vovk, Gammerman and Shafer, `Algorithmic Learning in a Random World
        <https://doi.org/10.1007/978-3-031-06649-8>`_, 2022, chapter 2; Clopper and Pearson, `The use of confidence or
        fiducial limits <https://doi.org/10.1093/biomet/26.4.404>`_, 1934.

    Example:
        >>> threshold = false_alarm_threshold(range(199), rate=0.05)
        >>> threshold.value, threshold.interval
        (9.0, (0.02..., 0.08...))
    """
    rate = finite_number("false_alarm_rate", rate, above=0, below=1)
    values = np.sort(np.asarray(scores, dtype=np.float64).ravel())
    if bool(np.isnan(values).any()):
        raise DataError(f"{int(np.isnan(values).sum())} of {len(values)} scores are NaN: train the density anew")
    least = max(FEWEST_SCORES, math.ceil(1 / rate - 1 - 1e-9))
    if len(values) < least:
        raise DataError(
            f"a threshold at a false-alarm rate of {rate:g} needs at least {least} scores, got {len(values)}: hold out "
            "more rows, or state a higher rate"
        )
    place = math.floor(rate * (len(values) + 1) + 1e-9)
    value = float(values[place - 1])
    below = int(np.searchsorted(values, value))
    return Threshold(value, rate, clopper_pearson(below, len(values)), len(values))


def clopper_pearson(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Return the exact confidence interval of a probability from a number of successes.

    Example:
        >>> clopper_pearson(0, 100)
        (0.0, 0.036...)
    """
    tail = (1 - level) / 2
    low = float(beta.ppf(tail, successes, trials - successes + 1)) if successes else 0.0
    high = float(beta.ppf(1 - tail, successes + 1, trials - successes)) if successes < trials else 1.0
    return low, high
