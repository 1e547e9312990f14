"""Classifier two-sample tests: can a small network tell two sets of samples apart?"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from inverseflow.errors import DataError
from inverseflow.inference.diagnostics.draws import Sampler, check_pairs, draw, features
from inverseflow.utils.packages import packages_for

_FOLDS = 5


def c2st(p: Tensor, q: Tensor, *, seed: int = 1) -> float:
    """Return the accuracy of a classifier of two sets of samples: 0.5 if they cannot be told apart, 1 if always.

    The definition is that of the benchmark of simulation-based inference, so that values can be compared with
    published ones: both sets standardized by the first, a network of two layers of 10 D hidden units (ReLU, Adam),
    and the mean accuracy over five shuffled folds. The benchmark's first set are the reference samples.

    The classifier is trained until its loss on the training folds stops to fall, which takes a minute for 1,000
    samples of ten dimensions.

    Args:
        p: samples ``(N, D)``, of the reference.
        q: samples ``(N, D)``, of the posterior.
        seed: seed of folds and classifier.

    Raises:
        DataError: if the sets are no finite samples of one dimension, or have fewer than 10 in each.
        MissingPackageError: if scikit-learn is not installed.

    Reference:
        Lopez-Paz and Oquab, Revisiting Classifier Two-Sample Tests, 2017, https://arxiv.org/abs/1610.06545; Lueckmann
        et al., Benchmarking Simulation-Based Inference, 2021, https://arxiv.org/abs/2101.04653.

    Example:
        >>> p = torch.linspace(-1, 1, 100)[:, None]
        >>> c2st(p, p + 10)
        1.0
    """
    p, q = _standardized(p, q)
    with packages_for("the classifier two-sample test"):
        from sklearn.model_selection import KFold
    folds = KFold(_FOLDS, shuffle=True, random_state=seed).split(np.empty(len(p) + len(q)))
    width = 10 * p.shape[1]
    return _accuracy(p, q, list(folds), hidden_layer_sizes=(width, width), max_iter=10_000, random_state=seed)


def joint_c2st(posterior: Sampler, x: Tensor, y: Tensor, *, seed: int = 0) -> tuple[float, float]:
    """Return how well a classifier tells pairs (x̂, y) of the posterior from pairs (x*, y) of the simulator.

    It needs no reference posterior: the pairs of an exact posterior have the distribution of the simulator's. A solver
    that ignores y and returns the prior is exposed, because its x̂ does not fit y.

    Both pairs with one y are in one fold, so that no y of a test was seen in training. The classifier has two layers
    of 50 hidden units and is stopped early, which takes a few seconds. So the accuracy cannot be compared with `c2st`.
    Of observations with more than 20 numbers, it sees 20 principal components.

    Args:
        posterior: anything with ``sample(y, n)``.
        x: parameters ``(S, D)`` drawn from the prior, not used in training.
        y: their observations ``(S, ...)``.
        seed: seed of draws, folds and classifier.

    Returns:
        The accuracy, and the probability of one as high or higher if the posterior is exact.

    Raises:
        DataError: if x and y are not finite pairs, or fewer than 10, or the draws have another shape.
        NonFiniteError: if a draw is not finite.
        MissingPackageError: if scikit-learn is not installed.

    Example:
        >>> class Prior:
        ...     def sample(self, y, n):
        ...         return torch.randn(len(y), n, 1)
        >>> x = torch.randn(300, 1)
        >>> accuracy, p_value = joint_c2st(Prior(), x, x)
        >>> accuracy > 0.6, p_value < 0.001
        (True, True)
    """
    check_pairs(x, y)
    return joint_accuracy(x, draw(posterior, y, 1, seed=seed)[:, 0], y, seed=seed)


def joint_accuracy(x: Tensor, drawn: Tensor, y: Tensor, *, seed: int = 0) -> tuple[float, float]:
    """Return the accuracy and the p-value of `joint_c2st` for draws ``(S, D)``, one for each observation."""
    given = features(y)
    first = torch.cat([x.to(given), given], 1)
    p, q = _standardized(first, torch.cat([drawn.to(given), given], 1))
    with packages_for("the classifier two-sample test"):
        from sklearn.model_selection import KFold
    count = len(p)
    folds = [
        (np.concatenate([train, train + count]), np.concatenate([test, test + count]))
        for train, test in KFold(_FOLDS, shuffle=True, random_state=seed).split(p)
    ]
    accuracy = _accuracy(p, q, folds, hidden_layer_sizes=(50, 50), early_stopping=True, random_state=seed)
    # Each of 2 S predictions is right with probability 1/2. Pairs with one y make the spread smaller, if anything.
    z = (accuracy - 0.5) * 2 * (2 * count) ** 0.5
    return accuracy, 0.5 * torch.erfc(torch.tensor(z / 2**0.5, dtype=torch.float64)).item()


def _standardized(p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """Return both sets in units of the first's deviations, after checks."""
    if p.ndim != 2 or q.ndim != 2 or p.shape[1] != q.shape[1] or min(len(p), len(q)) < 2 * _FOLDS:
        raise DataError(
            f"a two-sample test needs two sets of {2 * _FOLDS} or more vectors, got shapes {tuple(p.shape)} and "
            f"{tuple(q.shape)}"
        )
    if not bool(p.isfinite().all() and q.isfinite().all()):
        raise DataError("a two-sample test needs finite samples, got some that are not")
    mean, deviation = p.mean(0), p.std(0)
    deviation = torch.where(deviation < 1e-14, 1, deviation)
    return ((p - mean) / deviation).cpu(), ((q - mean) / deviation).cpu()


def _accuracy(p: Tensor, q: Tensor, folds: Any, **options: Any) -> float:
    from sklearn.model_selection import cross_val_score
    from sklearn.neural_network import MLPClassifier

    samples, labels = torch.cat([p, q]).numpy(), np.repeat([0.0, 1.0], [len(p), len(q)])
    return float(cross_val_score(MLPClassifier(**options), samples, labels, cv=folds).mean())
