"""Outliers as rows of low density."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from typing_extensions import Self

from inverseflow.densities import Density
from inverseflow.errors import DataError, OptionError
from inverseflow.estimators.base import Array, DensityEstimator, Options, finite, log_density
from inverseflow.estimators.detector import Detector
from inverseflow.utils.arguments import whole_numbers


class DensityOutlierDetector(Detector, DensityEstimator):
    """Outlier detector that learns the density of normal rows: an outlier is a row of low density.

    The threshold is set on rows that trained nothing, so that the rate of false alarms is at most the stated one on
    new normal rows, whatever the density has learned; see `false_alarm_threshold`. Scores of a flow that dequantizes
    whole numbers are those at the middle of their unit interval.

    Args:
        density: the name of a registered density of vectors, such as ``"nsf"`` or ``"maf"``, or a density. A density
            may be of images; X then holds its events, or rows of their numbers. It is copied, and trained further.
        context_columns: columns of X that the density is conditioned on, such as the hour and the past of a series: a
            row is then judged by the other columns given these, and rare contexts are no outliers.
        false_alarm_rate: rate of false alarms among normal rows. None trains on all rows and promises no rate: the
            threshold is then the least score in training.
        calibration: share of the rows that are held out to set the threshold, at least 100.
        density_options: options of a density by name.
        fit_options: arguments of `inverseflow.fit`. By default training takes at most 2000 steps, and stops after 5
            validations without a better one.
        random_state: seed of the weights, the held-out rows and the training.

    Attributes:
        density_: the trained density; ``export_onnx(detector.density_, path, "log_prob")`` exports the scores.
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
        context_columns: Sequence[int] = (),
        false_alarm_rate: float | None = 0.01,
        calibration: float = 0.2,
        density_options: Options | None = None,
        fit_options: Options | None = None,
        random_state: Any = None,
    ) -> None:
        self.density = density
        self.context_columns = context_columns
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
        x, context = self._conditioned(X)
        count = len(self.context_columns)
        options = {"context_channels": count} if count and not isinstance(self.density, Density) else {}
        density = self._built(x.shape[1], seed, **options)
        self.density_ = self._trained(density, x[train], seed, None if context is None else context[train])
        self._calibrate(self._log_density(X[held_out]))
        return self

    def score_samples(self, X: Any) -> Array:
        """Return the log density of each row in nats: less is more anomalous.

        A row so far out that its density overflows has the least number of float64.
        """
        check_is_fitted(self)
        return finite(self._log_density(self._checked(X)))

    def _log_density(self, X: Array) -> Array:
        return log_density(self.density_, *self._conditioned(X))

    def _conditioned(self, X: Array) -> tuple[Array, Tensor | None]:
        """Return the columns whose density is learned, and those that it is conditioned on."""
        columns = list(whole_numbers("context_columns", self.context_columns, at_least=0, at_most=X.shape[1] - 1))
        if not columns:
            return X, None
        if len({*columns}) < len(columns) or len(columns) == X.shape[1]:
            raise OptionError(
                f"context_columns={columns} of {X.shape[1]} columns must be distinct and leave a column to judge"
            )
        return np.delete(X, columns, axis=1), torch.from_numpy(X[:, columns].astype(np.float64))

    def _densities(self) -> dict[str, Density]:
        return {"density": self.density_}

    def _take_densities(self, densities: dict[str, Density]) -> None:
        self.density_ = densities["density"]
