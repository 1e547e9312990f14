"""Outliers as rows of low density."""

from typing import Any, ClassVar

import numpy as np
from sklearn.utils.validation import check_is_fitted
from typing_extensions import Self

from inverseflow.densities import Density
from inverseflow.errors import DataError
from inverseflow.estimators.base import Array, DensityEstimator, Options, finite, log_density
from inverseflow.estimators.detector import Detector


class DensityOutlierDetector(Detector, DensityEstimator):
    """Outlier detector that learns the density of normal rows: an outlier is a row of low density.

    The threshold is set on rows that trained nothing, so that the rate of false alarms is at most the stated one on
    new normal rows, whatever the density has learned; see `false_alarm_threshold`. Scores of a flow that dequantizes
    whole numbers are those at the middle of their unit interval.

    Args:
        density: the name of a registered density of vectors, such as ``"nsf"`` or ``"maf"``, or a density. A density
            may be of images; X then holds its events, or rows of their numbers. It is copied, and trained further.
        false_alarm_rate: rate of false alarms among normal rows. None trains on all rows and promises no rate: the
            threshold is then the least score in training.
        calibration: share of the rows that are held out to set the threshold, at least 100.
        density_options: options of a density by name.
        fit_options: arguments of `inverseflow.fit`. By default training takes at most 2000 steps, and stops after 5
            validations without a better one.
        random_state: seed of the weights, the held-out rows and the training.

    Attributes:
        density_: the trained density.
        offset_: the threshold.
        false_alarm_interval_: Clopper–Pearson interval of the rate of false alarms at a level of 95 %; the whole of
            (0, 1) without a stated rate.
        n_features_in_: number of columns.

    Example:
        >>> normal = np.random.default_rng(0).normal(size=(600, 2))
        >>> detector = DensityOutlierDetector("nsf", false_alarm_rate=0.05, fit_options={"max_steps": 20})
        >>> detector.fit(normal).predict([[0.0, 0.0], [9.0, -9.0]])
        array([ 1, -1])
    """

    density_: Density
    _learned: ClassVar[tuple[str, ...]] = ("offset_", "false_alarm_interval_")

    def __init__(
        self,
        density: str | Density = "nsf",
        *,
        false_alarm_rate: float | None = 0.01,
        calibration: float = 0.2,
        density_options: Options | None = None,
        fit_options: Options | None = None,
        random_state: Any = None,
    ) -> None:
        self.density = density
        self.false_alarm_rate = false_alarm_rate
        self.calibration = calibration
        self.density_options = density_options
        self.fit_options = fit_options
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the density of normal rows.

        Args:
            X: normal rows ``(N, D)``.
            y: ignored if it holds one label.

        Raises:
            DataError: if y holds several labels, there are too few rows, or a column is constant.
            ValueError: if a value is missing or not finite.
            OptionError: if the density can't be built for these rows.
        """
        X = self._checked(X, reset=True, ensure_min_samples=2)
        if y is not None and len(labels := np.unique(np.asarray(y)).tolist()) > 1:
            raise DataError(
                f"y holds {len(labels)} labels, such as {labels[0]!r} and {labels[1]!r}: give the normal rows only, as "
                "the density learns whatever it gets"
            )
        seed = self._seed()
        train, held_out = self._divided(len(X), self.calibration, seed)
        self.density_ = self._trained(self._built(X.shape[1], seed), X[train], seed)
        self._calibrate(log_density(self.density_, X[held_out]))
        return self

    def score_samples(self, X: Any) -> Array:
        """Return the log density of each row in nats: less is more anomalous.

        A row so far out that its density overflows has the least number of float64.
        """
        check_is_fitted(self)
        return finite(log_density(self.density_, self._checked(X)))

    def _densities(self) -> dict[str, Density]:
        return {"density": self.density_}

    def _take_densities(self, densities: dict[str, Density]) -> None:
        self.density_ = densities["density"]
