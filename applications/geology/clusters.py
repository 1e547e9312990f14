"""Clusters of pixels, and how many there are."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median_low

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import (
    adjusted_rand_score,
    calinski_harabasz_score,
    confusion_matrix,
    davies_bouldin_score,
    silhouette_score,
)
from sklearn.mixture import GaussianMixture

from inverseflow.errors import OptionError

Features = NDArray[np.floating]
Labels = NDArray[np.integer]

_STARTS = 3
_REFERENCES = 10
_BOOTSTRAPS = 5
CRITERIA = ("elbow", "silhouette", "Calinski–Harabasz", "Davies–Bouldin", "gap", "BIC")
"""The six criteria; the stability of clusters stands beside them."""


def cluster(features: Features, count: int, seed: int, starts: int = _STARTS) -> KMeans:
    """Return k-means of features ``(N, d)``.

    Raises:
        OptionError: if there are more clusters than different pixels.
    """
    different = len(np.unique(features, axis=0)) if len(features) <= 10_000 else len(features)
    if count > different:
        raise OptionError(f"{count} clusters need as many different pixels, and there are {different}; ask for fewer")
    return KMeans(count, n_init=starts, random_state=seed).fit(features)


@dataclass(frozen=True)
class Choice:
    """How many clusters each criterion sees."""

    counts: tuple[int, ...]
    """What was tried, from 1 or 2 on."""
    values: dict[str, list[float | None]]
    """By criterion, one for each count; None where it is not defined."""
    chosen: dict[str, int]
    """By criterion."""
    stability: list[float | None]
    """Mean agreement of clusterings of two bootstrap samples, less the same without structure; one for each count."""

    @property
    def vote(self) -> int:
        """What most criteria choose, of several the one in the middle."""
        return vote(self.chosen.values())


def vote(chosen: Iterable[int]) -> int:
    """Return the most frequent number, of equally frequent ones the lower of those in the middle.

    Example:
        >>> vote([7, 7, 2, 5]), vote([2, 9, 4, 4, 9])
        (7, 4)
    """
    shares = Counter(chosen)
    most = max(shares.values())
    return median_low(number for number, share in shares.items() if share == most)


def count_clusters(features: Features, most: int, seed: int) -> Choice:
    """Choose the number of clusters by six criteria.

    Elbow: farthest from the chord of log W, the sum of squares within clusters. Gap: the least k with
    Gap(k) ≥ Gap(k + 1) − s, beside uniform numbers in the box along the principal axes. BIC: of Gaussian mixtures with
    full covariances. Silhouette and Calinski–Harabasz at their largest, Davies–Bouldin at its least. Only gap, BIC and
    stability can see a single cluster.

    Args:
        features: a sample of the pixels, ``(N, d)``; some thousands suffice.
        most: the largest number that is tried.
        seed: of everything random.

    Reference:
        Tibshirani, Walther and Hastie, Estimating the number of clusters via the gap statistic, 2001; Ben-Hur,
        Elisseeff and Guyon, A stability based method for discovering structure, 2002.
    """
    counts = tuple(range(1, most + 1))
    found = [cluster(features, count, seed) for count in counts]
    log_w = [float(np.log(max(model.inertia_, 1e-300))) for model in found]
    gap, spread = _gap(features, counts, log_w, seed)

    def index(score: Callable[[Features, Labels], float]) -> list[float | None]:
        return [None, *(float(score(features, model.labels_)) for model in found[1:])]

    bic: list[float | None] = [_bic(features, count, seed) for count in counts]
    values: dict[str, list[float | None]] = {
        "elbow": [*_below_chord(log_w)],
        "silhouette": index(silhouette_score),
        "Calinski–Harabasz": index(calinski_harabasz_score),
        "Davies–Bouldin": index(davies_bouldin_score),
        "gap": [*gap],
        "BIC": bic,
    }
    signs = {"Davies–Bouldin": -1, "BIC": -1}
    chosen = {name: counts[_best(row, signs.get(name, 1))] for name, row in values.items()}
    falls = [here >= after - deviation for here, after, deviation in zip(gap, gap[1:], spread[1:], strict=False)]
    chosen["gap"] = counts[falls.index(True)] if True in falls else most
    return Choice(counts, values, chosen, _stability(features, counts, seed))


def matched_accuracy(truth: Labels, labels: Labels) -> float:
    """Return the share of pixels whose cluster is their class, under the best one-to-one assignment.

    Example:
        >>> matched_accuracy(np.array([0, 0, 1, 1]), np.array([5, 5, 2, 5]))
        0.75
    """
    ranks = [np.unique(numbers, return_inverse=True)[1] for numbers in (truth, labels)]
    table = confusion_matrix(*ranks)
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / len(truth))


def _best(row: list[float | None], sign: int) -> int:
    defined = {place: sign * value for place, value in enumerate(row) if value is not None}
    return max(defined, key=lambda place: defined[place])


def _below_chord(log_w: list[float]) -> list[float]:
    line = np.linspace(log_w[0], log_w[-1], len(log_w))
    return [float(value) for value in line - log_w]


def _bic(features: Features, count: int, seed: int) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return float(GaussianMixture(count, n_init=1, random_state=seed, reg_covar=1e-6).fit(features).bic(features))


def _gap(features: Features, counts: tuple[int, ...], log_w: list[float], seed: int) -> tuple[list[float], list[float]]:
    generator = np.random.default_rng(seed)
    axes = PCA(svd_solver="full").fit(features)
    scores = axes.transform(features)
    reference = np.empty((_REFERENCES, len(counts)))
    for row in reference:
        box = axes.inverse_transform(generator.uniform(scores.min(0), scores.max(0), scores.shape))
        row[:] = [np.log(cluster(box, count, seed, 1).inertia_) for count in counts]
    spread = reference.std(0) * np.sqrt(1 + 1 / _REFERENCES)
    return [float(value) for value in reference.mean(0) - log_w], [float(value) for value in spread]


def _stability(features: Features, counts: tuple[int, ...], seed: int) -> list[float | None]:
    generator = np.random.default_rng(seed)
    axes = PCA(svd_solver="full").fit(features)
    scores = axes.transform(features)
    box = axes.inverse_transform(generator.uniform(scores.min(0), scores.max(0), scores.shape))
    excess: list[float | None] = [None]
    for count in counts[1:]:
        here, without = ([_agreement(x, count, generator) for _ in range(_BOOTSTRAPS)] for x in (features, box))
        excess.append(float(np.mean(here) - np.mean(without)))
    return excess


def _agreement(features: Features, count: int, generator: np.random.Generator) -> float:
    """Return how well clusterings of two bootstrap samples agree on all points."""
    labels = []
    for _ in range(2):
        sample = features[generator.integers(len(features), size=len(features))]
        labels.append(cluster(sample, count, int(generator.integers(2**31)), 1).predict(features))
    return float(adjusted_rand_score(*labels))
