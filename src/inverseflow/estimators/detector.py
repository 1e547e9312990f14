"""What outlier detectors share: a threshold of their scores."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin
from torch import Tensor, arange

from inverseflow.data.splitting import split_indices
from inverseflow.errors import DataError
from inverseflow.estimators.base import Array, finite
from inverseflow.estimators.threshold import FEWEST_SCORES, false_alarm_threshold
from inverseflow.utils.arguments import finite_number


class Detector(OutlierMixin, BaseEstimator):  # type: ignore[misc]
    """Base class of outlier detectors with a score of each row and a threshold at a rate of false alarms."""

    false_alarm_rate: float | None
    offset_: float
    false_alarm_interval_: tuple[float, float]

    def score_samples(self, X: Any) -> Array:
        """Return the score ``(N,)`` of each row; less is more anomalous."""
        raise NotImplementedError

    def decision_function(self, X: Any) -> Array:
        """Return the score above the threshold; it is negative for outliers."""
        scores: Array = self.score_samples(X) - self.offset_
        return scores

    def predict(self, X: Any) -> Array:
        """Return 1 for each normal row and -1 for each outlier."""
        return np.where(self.decision_function(X) >= 0, 1, -1)

    def _divided(self, count: int, calibration: float, seed: int) -> tuple[Tensor, Tensor]:
        """Return the places of the rows that train, and of those that set the threshold."""
        if self.false_alarm_rate is None:
            return arange(count), arange(count)
        share = finite_number("calibration", calibration, above=0, below=1)
        held_out = round(share * count)
        if held_out < FEWEST_SCORES:
            raise DataError(
                f"calibration={share:g} of n_samples = {count} rows are {held_out}, and a threshold needs at least "
                f"{FEWEST_SCORES} held-out scores: give more rows or a larger share, or set false_alarm_rate=None"
            )
        train, others = split_indices(count, held_out, seed=seed)
        return train, others

    def _calibrate(self, scores: Array) -> None:
        """Set the threshold by the scores of normal rows."""
        if self.false_alarm_rate is None:
            self.offset_, self.false_alarm_interval_ = float(finite(scores).min()), (0.0, 1.0)
        else:
            threshold = false_alarm_threshold(scores, self.false_alarm_rate)
            self.offset_, self.false_alarm_interval_ = threshold.value, threshold.interval
