"""Classifiers by Bayes' rule from the density of each class."""

from typing import Any, ClassVar

import numpy as np
import torch
from scipy.special import softmax
from sklearn.base import ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from typing_extensions import Self

from inverseflow.densities import Density
from inverseflow.densities.density import example_context_shape
from inverseflow.errors import DataError, OptionError
from inverseflow.estimators.base import Array, DensityEstimator, Options, finite, log_density
from inverseflow.utils.arguments import whole_number
from inverseflow.utils.seeding import derived_seed, seeded


class BayesClassifier(ClassifierMixin, DensityEstimator):  # type: ignore[misc]
    """Base class of classifiers that know log p(x, class) up to a constant of each row."""

    classes_: Array

    def predict_log_proba(self, X: Any) -> Array:
        """Return the log probability ``(N, classes)`` of each class given each row."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def predict_proba(self, X: Any) -> Array:
        """Return the probability ``(N, classes)`` of each class given each row, in the order of `classes_`."""
        probabilities: Array = softmax(self._log_joint(X), axis=1)
        return probabilities

    def predict(self, X: Any) -> Array:
        """Return the most probable class of each row."""
        places = self._log_joint(X).argmax(1)
        classes: Array = self.classes_[places]
        return classes

    def sample(self, n: int, label: Any, *, random_state: Any = None) -> Array:
        """Draw rows of a class.

        Args:
            n: number of rows.
            label: the class.
            random_state: seed of the rows.

        Returns:
            ``(n, *event_shape)``: rows ``(n, D)``, or the images of an image density.

        Raises:
            DataError: if there is no such class.
        """
        check_is_fitted(self)
        n = whole_number("the number of samples", n, at_least=0)
        places = np.flatnonzero(self.classes_ == label)
        if not len(places):
            raise DataError(
                f"there is no class {label!r}: choose one of {', '.join(map(repr, self.classes_.tolist()))}"
            )
        with seeded(int(check_random_state(random_state).randint(2**31 - 1)), "samples"):
            return self._class_sample(n, int(places[0]))

    def _log_joint(self, X: Any) -> Array:
        """Return log p(x, class) up to a constant of each row."""
        raise NotImplementedError

    def _class_sample(self, n: int, number: int) -> Array:
        raise NotImplementedError


class ClassDensities(BayesClassifier):
    """Base class of classifiers that know the density of each class, log p(x | class)."""

    def log_likelihood(self, X: Any) -> Array:
        """Return the log density ``(N, classes)`` of each row in each class, in nats and in the order of `classes_`."""
        check_is_fitted(self)
        rows = self._checked(X)
        return np.stack([self._class_log_density(number, rows) for number in range(len(self.classes_))], 1)

    def _class_log_density(self, number: int, rows: Array) -> Array:
        raise NotImplementedError


class GenerativeClassifier(ClassDensities):
    r"""Classifier by Bayes' rule, with a density of each class, or one density that is conditioned on the class.

    .. math:: p(c \mid x) = \frac{\pi_c\, p(x \mid c)}{\sum_{c'} \pi_{c'}\, p(x \mid c')}

    Args:
        density: the name of a registered density of vectors, or a density of rows or images; see
            `DensityOutlierDetector`. A conditional one takes contexts of as many numbers as there are classes.
        conditional: whether one density is trained for all classes, with the class as context, instead of one for each.
        priors: π, the probability of each class in sorted order; None for their shares in training.
        density_options: options of a density by name.
        fit_options: arguments of `inverseflow.fit`; see `DensityOutlierDetector`.
        random_state: seed of the weights and the training.

    Attributes:
        classes_: the classes, sorted.
        densities_: the trained densities: one for each class, or the conditional one.
        priors_: the probability of each class.
        n_features_in_: number of columns.

    Reference:
        Ng and Jordan, `On Discriminative vs. Generative Classifiers
        <https://papers.nips.cc/paper/2020-on-discriminative-vs-generative-classifiers>`_, 2001.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X, y = np.concatenate([rng.normal(-3, 1, (50, 2)), rng.normal(3, 1, (50, 2))]), ["low"] * 50 + ["up"] * 50
        >>> classifier = GenerativeClassifier("nsf", fit_options={"max_steps": 20}).fit(X, y)
        >>> classifier.predict([[-3.0, -3.0], [3.0, 2.0]]).tolist(), classifier.sample(4, "up").shape
        (['low', 'up'], (4, 2))
    """

    densities_: list[Density]
    priors_: Array
    _learned: ClassVar[tuple[str, ...]] = ("classes_", "priors_")

    def __init__(
        self,
        density: str | Density = "nsf",
        *,
        conditional: bool = False,
        priors: Any = None,
        density_options: Options | None = None,
        fit_options: Options | None = None,
        random_state: Any = None,
    ) -> None:
        self.density = density
        self.conditional = conditional
        self.priors = priors
        self.density_options = density_options
        self.fit_options = fit_options
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> Self:
        """Learn the densities.

        Args:
            X: rows ``(N, D)``.
            y: the class of each row.

        Raises:
            DataError: if a class has fewer than 2 rows, or a constant column.
            ValueError: if a value is missing or not finite.
            OptionError: if the density can't be built for these rows, or the priors are no probabilities.
        """
        X, y = self._checked(X, y, reset=True, ensure_min_samples=2)
        check_classification_targets(y)
        self.classes_, numbers = np.unique(y, return_inverse=True)
        counts = np.bincount(numbers)
        self.priors_ = self._priors(counts / len(y))
        seed, columns = self._seed(), X.shape[1]
        if self.conditional:
            density = self._built(columns, seed, context_channels=len(counts))
            if (taken := example_context_shape(density)) != (len(counts),):
                raise OptionError(
                    f"a conditional density of {len(counts)} classes takes contexts of as many numbers, and this one "
                    f"takes {'none' if taken is None else taken}: build it with context_channels={len(counts)}"
                )
            self.densities_ = [self._trained(density, X, seed, torch.from_numpy(numbers))]
        else:
            self.densities_ = []
            for number, label in enumerate(self.classes_.tolist()):
                own = derived_seed(seed, number) % 2**31
                density = self._built(columns, own)
                try:
                    self.densities_.append(self._trained(density, X[numbers == number], own))
                except (DataError, ValueError) as error:
                    error.args = (f"class {label!r}: {error}", *error.args[1:])
                    raise
        return self

    def _priors(self, shares: Array) -> Array:
        if self.priors is None:
            return shares
        priors = np.asarray(self.priors, dtype=np.float64)
        if priors.shape != shares.shape or not (priors >= 0).all() or not np.isclose(priors.sum(), 1):
            raise OptionError(
                f"priors must be {len(shares)} probabilities of sum 1, one for each class, got {self.priors!r}"
            )
        return priors

    def _log_joint(self, X: Any) -> Array:
        likelihood = finite(self.log_likelihood(X))
        with np.errstate(divide="ignore"):
            joint: Array = np.maximum(likelihood + np.log(self.priors_), -np.finfo(np.float64).max)
        return joint

    def _class_log_density(self, number: int, rows: Array) -> Array:
        density, context = self._density_of(number)
        return log_density(density, rows, context)

    def _class_sample(self, n: int, number: int) -> Array:
        density, context = self._density_of(number)
        return density.sample(n, context).numpy(force=True)

    def _density_of(self, number: int) -> tuple[Density, Tensor | None]:
        """Return the density of a class, and the context that it needs."""
        if not self.conditional:
            return self.densities_[number], None
        context = torch.eye(len(self.classes_))[number]
        return self.densities_[0], context.to(next(self.densities_[0].parameters()))

    def _densities(self) -> dict[str, Density]:
        return {f"density_{number}": density for number, density in enumerate(self.densities_)}

    def _take_densities(self, densities: dict[str, Density]) -> None:
        self.densities_ = list(densities.values())
