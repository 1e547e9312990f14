"""Out-of-distribution scores of trained image flows, where the likelihood alone fails."""

from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from typing_extensions import Self

from inverseflow.data.splitting import split_indices
from inverseflow.densities import Density
from inverseflow.errors import DataError, OptionError
from inverseflow.estimators.base import Array, events, finite, log_density
from inverseflow.estimators.detector import Detector
from inverseflow.flows import Flow
from inverseflow.utils.arguments import one_of

ScoreName = Literal["likelihood", "last-scale", "ratio", "typicality"]

_AT_ONCE = 256


@torch.no_grad()
def log_prob_by_scale(flow: Flow, images: Any) -> dict[str, Array]:
    """Return what each scale of a flow contributes to the log density of images, each ``(N,)`` in nats.

    Computed a few images at a time by `Flow.log_prob_by_scale`.

    Args:
        flow: a trained flow.
        images: ``(N, *event_shape)``, or rows of their numbers.

    Example:
        >>> from inverseflow.flows import Glow
        >>> flow = Glow((1, 8, 8), scales=2, steps=1, width=8)
        >>> list(log_prob_by_scale(flow, np.zeros((5, 1, 8, 8), np.uint8)))
        ['preprocessing', 'scale_1', 'scale_2']
    """
    like = next(flow.parameters(), torch.zeros(()))
    chunks = []
    for chunk in _events(flow, images).split(_AT_ONCE):
        x = chunk.to(like.device)
        chunks.append(flow.log_prob_by_scale(x if flow.levels is not None else x.to(like.dtype)))
    return {name: torch.cat([chunk[name] for chunk in chunks]).double().cpu().numpy() for name in chunks[0]}


class HierarchicalOutlierDetector(Detector):
    r"""Detector of images from elsewhere by a trained image flow, with a score that looks beyond the likelihood.

    A flow gives smooth or simple images a high likelihood even if they show what it has never seen: the fine scales
    contribute most of the nats, and local statistics decide there. The scores, higher for what is normal:

    * ``"likelihood"``, log p(x), for comparison;
    * ``"last-scale"``, the contribution of the coarsest scale alone, which sees whole objects;
    * ``"ratio"``, :math:`\log p(x) - \log p_g(x)` with a general model g of images, so that what all images share
      cancels;
    * ``"typicality"``, :math:`-|\log p(x) - E|` with the mean E of normal images: a typical set has no best image.

    `fit` trains nothing. It sets the threshold, and E by half of the images.

    Args:
        flow: a trained flow of images.
        score: the score.
        general: for ``"ratio"``: a density of the same images that was trained on all kinds of images, or a function
            from images ``(N, *event_shape)`` to :math:`\log p_g` ``(N,)`` in nats, such as minus the size of a
            compressed file.
        false_alarm_rate: rate of false alarms among normal images; see `false_alarm_threshold`. None promises no rate:
            the threshold is then the least score that `fit` sees.
        random_state: seed of the half for E.

    Attributes:
        offset_: the threshold.
        false_alarm_interval_: Clopper–Pearson interval of the rate of false alarms at a level of 95 %.
        typical_: E, if the score is ``"typicality"``.

    Reference:
        Schirrmeister et al., `Understanding Anomaly Detection with Deep Invertible Networks
        <https://arxiv.org/abs/2006.10848>`_, 2020, sections 3 and 4; Serrà et al., `Input Complexity
        <https://arxiv.org/abs/1909.11480>`_, 2020, for compressed files; Nalisnick et al., `Detecting
        Out-of-Distribution Inputs <https://arxiv.org/abs/1906.02994>`_, 2019, for typicality.

    Example:
        >>> from inverseflow.flows import Glow
        >>> flow = Glow((1, 8, 8), levels=17, scales=2, steps=1, width=8)
        >>> images = np.random.default_rng(0).integers(0, 17, (120, 1, 8, 8)).astype(np.uint8)
        >>> detector = HierarchicalOutlierDetector(flow, false_alarm_rate=0.05).fit(images)
        >>> detector.predict(images).shape
        (120,)
    """

    typical_: float

    def __init__(
        self,
        flow: Flow,
        *,
        score: ScoreName = "last-scale",
        general: Density | Callable[[Tensor], Any] | None = None,
        false_alarm_rate: float | None = 0.01,
        random_state: Any = None,
    ) -> None:
        self.flow = flow
        self.score = score
        self.general = general
        self.false_alarm_rate = false_alarm_rate
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Set the threshold by normal images that trained no model.

        Args:
            X: images ``(N, *event_shape)``, or rows of their numbers.
            y: ignored.

        Raises:
            DataError: if there are fewer than 100 images, 200 for typicality, or too few for the rate, or they do not
                fit the flow.
            OptionError: if the score is a ratio and there is no general model, or the other way round.
        """
        one_of("score", self.score, get_args(ScoreName))
        if not isinstance(self.flow, Flow):
            raise TypeError(f"flow must be a trained Flow, got {self.flow!r}")
        if (self.score == "ratio") != (self.general is not None):
            raise OptionError(
                f"score={self.score!r} {'needs' if self.general is None else 'takes no'} general model: the score "
                "'ratio' compares with one"
            )
        images = _events(self.flow, X)
        if self.score == "typicality":
            seed = int(check_random_state(self.random_state).randint(2**31 - 1))
            images, others = (images[part] for part in split_indices(len(images), len(images) // 2, seed=seed))
            self.typical_ = float(self._log_prob(others).mean())
        self.n_features_in_ = self.flow.dims
        self._calibrate(self._scores(images))
        return self

    def score_samples(self, X: Any) -> Array:
        """Return the score ``(N,)`` of images; less is more anomalous."""
        check_is_fitted(self)
        return finite(self._scores(_events(self.flow, X)))

    def _log_prob(self, images: Tensor) -> Array:
        return log_density(self.flow, images.flatten(1).numpy())

    def _scores(self, images: Tensor) -> Array:
        if self.score == "last-scale":
            return list(log_prob_by_scale(self.flow, images).values())[-1]
        log_prob = self._log_prob(images)
        if self.score == "typicality":
            return -np.abs(log_prob - self.typical_)
        if self.score == "ratio":
            general = self.general
            assert general is not None
            if isinstance(general, Density):
                return log_prob - log_density(general, images.flatten(1).numpy())
            return log_prob - np.asarray(general(images), dtype=np.float64)
        return log_prob


def _events(flow: Flow, images: Any) -> Tensor:
    """Return images, or rows of their numbers, as events of a flow."""
    rows = np.asarray(images)
    if rows.ndim < 2 or rows[0].size != flow.dims:
        raise DataError(f"the flow takes images {flow.event_shape}, got an array of shape {rows.shape}")
    if rows.dtype.kind == "f" and not np.isfinite(rows).all():
        raise DataError(
            f"{int((~np.isfinite(rows)).sum())} values of the images are not finite: leave these images out"
        )
    return events(flow, rows.reshape(len(rows), -1))
