"""Class-incremental learning: one volume-preserving flow for each class, added one after the other."""

import copy
import warnings
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from sklearn.utils.multiclass import check_classification_targets
from torch import Generator, Tensor, nn
from torch.func import functional_call
from typing_extensions import Self

from inverseflow.densities import Density
from inverseflow.errors import CheckpointError, DataError, OptionError
from inverseflow.estimators.base import Array, Options, finite, log_density
from inverseflow.estimators.classifier import ClassDensities
from inverseflow.flows import NICE
from inverseflow.training import Objective
from inverseflow.utils.arguments import one_of, whole_number
from inverseflow.utils.files import atomic_write
from inverseflow.utils.packages import packages_for
from inverseflow.utils.seeding import derived_seed, seeded

_CORRECTIONS = "corrections.safetensors"

UnitName = Literal["columns", "whole", "none"]


class OvAClassifier(ClassDensities):
    r"""Class-incremental classifier: each class has a flow of its own, which later classes leave as it is.

    .. math:: \hat c(x) = \arg\min_c \lVert f_c(x) \rVert, \qquad
        -\log p_c(x) = \tfrac12 \lVert f_c(x) \rVert^2 + \tfrac D2 \log 2\pi + \text{const}

    The flows preserve volume (`NICE` without its scale), so that the norms of all classes can be compared, and none can
    shrink to zero. Nothing is replayed: a class is learned from its own rows. A flow sees the rows less the mean of its
    class, in the unit of the class that came first, which is never changed.

    Args:
        unit: ``"columns"``, every column in its deviation in the first class; ``"whole"``, all columns in one
            deviation, as fits pixels; or ``"none"``, the rows as they are. A column that is constant in the first class
            has the deviation of all columns.
        steps: couplings of each flow.
        width: hidden units in each layer of a coupling's network.
        depth: hidden layers of a network.
        fit_options: arguments of `inverseflow.fit`; see `DensityOutlierDetector`.
        random_state: seed of the weights and the training.

    Attributes:
        classes_: the classes, in the order in which they were added; `fit` adds them sorted.
        densities_: the flow of each class.
        n_features_in_: number of columns.

    Reference:
        Hocquet, Bichler and Querlioz, `OvA-INN: Continual Learning with Invertible Neural Networks
        <https://arxiv.org/abs/2006.13772>`_, 2020, section 3.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> classifier = OvAClassifier(steps=2, width=8, fit_options={"max_steps": 20})
        >>> classifier.add_class("low", rng.normal(-3, 1, (50, 2))).add_class("up", rng.normal(3, 1, (50, 2)))
        OvAClassifier(fit_options={'max_steps': 20}, steps=2, width=8)
        >>> classifier.predict([[-3.0, -3.0], [3.0, 2.0]]).tolist()
        ['low', 'up']
    """

    densities_: list[Density]
    means_: Array
    scale_: Array
    _learned: ClassVar[tuple[str, ...]] = ("classes_", "means_", "scale_")

    def __init__(
        self,
        *,
        unit: UnitName = "columns",
        steps: int = 4,
        width: int = 64,
        depth: int = 2,
        fit_options: Options | None = None,
        random_state: Any = None,
    ) -> None:
        self.unit = unit
        self.steps = steps
        self.width = width
        self.depth = depth
        self.fit_options = fit_options
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> Self:
        """Forget all classes and add those of y in sorted order; arguments and errors as for `add_class`.

        Args:
            X: rows ``(N, D)``.
            y: the class of each row.
        """
        X, y = self._checked(X, y, reset=True, ensure_min_samples=2)
        check_classification_targets(y)
        self._forget(X[y == np.unique(y)[0]])
        for label in np.unique(y):
            self._add(label, X[y == label])
        return self

    def add_class(self, name: Any, X: Any) -> Self:
        """Learn another class from its rows; the first one sets the unit of all rows.

        Args:
            name: the class.
            X: its rows ``(N, D)``.

        Raises:
            OptionError: if there is such a class already, or the name is of another kind than the others.
            DataError: if there are fewer than 2 rows.
            ValueError: if a value is missing or not finite, or there is another number of columns.
        """
        first = not hasattr(self, "classes_")
        X = self._checked(X, reset=first, ensure_min_samples=2)
        if first:
            self._forget(X)
        elif name in self.classes_.tolist():
            raise OptionError(
                f"there is a class {name!r} already: give another name, or fit(X, y) to learn all classes anew"
            )
        elif np.asarray(name).dtype.kind != self.classes_.dtype.kind:
            raise OptionError(f"the name {name!r} is of another kind than {self.classes_.tolist()[0]!r}: give the same")
        self._add(name, X)
        return self

    def _forget(self, first: Array) -> None:
        """Take the unit of the first class, and leave no class."""
        one_of("unit", self.unit, get_args(UnitName))
        rows = first.astype(np.float64)
        self.means_, self.scale_ = np.zeros((0, rows.shape[1])), np.ones(rows.shape[1])
        self.densities_ = []
        self.__dict__.pop("classes_", None)
        if self.unit != "none":
            deviation = rows.std(0)
            whole = np.sqrt(np.square(deviation).mean())
            if not whole > 0:
                raise DataError(f"all {len(rows)} rows of the first class are equal: give more, or set unit='none'")
            constant = deviation <= 1e-12 * np.abs(rows.mean(0))
            self.scale_ = np.where(constant | (self.unit == "whole"), whole, deviation)

    def _add(self, name: Any, X: Array) -> None:
        seed = derived_seed(self._seed(), str(name)) % 2**31
        try:
            density = self._flow(X.shape[1], seed)
        except ValueError as error:
            raise OptionError(f"a flow can't be built for n_features = {X.shape[1]}: {error}") from error
        mean = X.mean(0, dtype=np.float64)
        try:
            with warnings.catch_warnings():
                # What has no bound in other flows, a density of numbers in equal steps, preserved volume does bound.
                warnings.filterwarnings("ignore", "x lies on lattices")
                trained = self._trained(density, (X - mean) / self.scale_, seed)
        except DataError as error:
            error.args = (f"class {name!r}: {error}", *error.args[1:])
            raise
        self.densities_.append(trained)
        self.means_ = np.concatenate([self.means_, mean[None]])
        names = np.asarray([name])
        self.classes_ = names if len(self.densities_) == 1 else np.concatenate([self.classes_, names])

    def _flow(self, columns: int, seed: int) -> Density:
        with seeded(seed, "weights"):
            return NICE(
                (columns,),
                base="normal",
                scale=False,
                standardize=False,
                steps=self.steps,
                width=self.width,
                depth=self.depth,
            )

    def _log_joint(self, X: Any) -> Array:
        return finite(self.log_likelihood(X))

    def _class_log_density(self, number: int, rows: Array) -> Array:
        scaled = (rows - self.means_[number]) / self.scale_
        scores: Array = log_density(self._whole_density(number), scaled) - np.log(self.scale_).sum()
        return scores

    def _class_sample(self, n: int, number: int) -> Array:
        drawn = self.densities_[number].sample(n).double().numpy(force=True)
        rows: Array = drawn * self.scale_ + self.means_[number]
        return rows

    def _whole_density(self, number: int) -> Density:
        return self.densities_[number]

    def _densities(self) -> dict[str, Density]:
        return {f"density_{number}": density for number, density in enumerate(self.densities_)}

    def _take_densities(self, densities: dict[str, Density]) -> None:
        self.densities_ = list(densities.values())


class LowRankOvAClassifier(OvAClassifier):
    r"""Memory-efficient `OvAClassifier`: later classes are low-rank corrections of the flow of the first one.

    Only the first class has weights :math:`W` of its own. Another class has :math:`W + U_c V_c` with
    :math:`U_c V_c` of a small rank, and biases of its own, all kept in half precision. Its authors say that a fifth of
    the memory is enough and the review gives no mechanism, so **this one is our reconstruction**.

    Args:
        rank: rank of the corrections.
        options: as for `OvAClassifier`.

    Reference:
        Hocquet, Bichler and Querlioz, Continual Learning with Invertible Neural Networks, AICAS, 2021.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> classifier = LowRankOvAClassifier(rank=2, width=32, fit_options={"max_steps": 20})
        >>> for name in range(3):
        ...     classifier = classifier.add_class(name, rng.normal(5 * name, 1, (50, 6)))
        >>> classifier.predict(5 * np.outer([0, 1, 2], np.ones(6))).tolist(), stored_bytes(classifier)
        ([0, 1, 2], 25888)
    """

    def __init__(
        self,
        *,
        rank: int = 8,
        unit: UnitName = "columns",
        steps: int = 4,
        width: int = 64,
        depth: int = 2,
        fit_options: Options | None = None,
        random_state: Any = None,
    ) -> None:
        super().__init__(
            unit=unit, steps=steps, width=width, depth=depth, fit_options=fit_options, random_state=random_state
        )
        self.rank = rank

    def _flow(self, columns: int, seed: int) -> Density:
        if not self.densities_:
            return super()._flow(columns, seed)
        with seeded(seed, "weights"):
            return LowRankCorrection(self.densities_[0], self.rank)

    def _trained(
        self, density: Density, rows: Array, seed: int, context: Any = None, objective: Objective | None = None
    ) -> Density:
        trained = super()._trained(density, rows, seed, context, objective)
        return trained.half() if isinstance(trained, LowRankCorrection) else trained

    def _whole_density(self, number: int) -> Density:
        density = self.densities_[number]
        return density.merged() if isinstance(density, LowRankCorrection) else density

    def save(self, folder: str | Path) -> None:
        """Write the trained classifier into a folder; arguments and errors as for `OvAClassifier.save`."""
        super().save(folder)
        corrections = {
            f"{number}.{name}": value
            for number, density in enumerate(self.densities_[1:], start=1)
            for name, value in density.state_dict().items()
        }
        with packages_for("saving models"):
            from safetensors.torch import save_file
        with atomic_write(Path(folder).expanduser() / _CORRECTIONS) as path:
            save_file(corrections, path)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Return the classifier that `save` wrote; arguments and errors as for `OvAClassifier.load`."""
        found = super().load(folder)
        with packages_for("loading models"):
            from safetensors.torch import load_file
        path = Path(folder).expanduser() / _CORRECTIONS
        try:
            weights = load_file(path)
            for number in range(1, len(found.classes_)):
                correction = LowRankCorrection(found.densities_[0], found.rank).half()
                own = {
                    name.partition(".")[2]: value for name, value in weights.items() if name.startswith(f"{number}.")
                }
                correction.load_state_dict(own)
                found.densities_.append(correction)
        except Exception as error:  # safetensors and torch raise errors of their own
            raise CheckpointError(f"{path} is missing or damaged: {error}") from error
        return found

    def _densities(self) -> dict[str, Density]:
        return {"density_0": self.densities_[0]}


class LowRankCorrection(Density):
    """A trained density whose matrices are corrected by ones of low rank, and its other parameters freely.

    The trained density is shared with other corrections and stays as it is: it is no submodule.

    Args:
        trained: the density, whose parameters are vectors and matrices.
        rank: rank of the corrections.

    Example:
        >>> trained = NICE((4,), width=8)
        >>> correction = LowRankCorrection(trained, rank=1)
        >>> torch.equal(correction.log_prob(torch.ones(3, 4)), trained.log_prob(torch.ones(3, 4)))
        True
    """

    def __init__(self, trained: Density, rank: int) -> None:
        super().__init__(trained.event_shape, levels=trained.levels)
        rank = whole_number("rank", rank, at_least=1)
        self._trained = (trained,)
        self.left, self.right, self.free = nn.ParameterDict(), nn.ParameterDict(), nn.ParameterDict()
        for name, parameter in trained.named_parameters():
            key = name.replace(".", "/")
            if parameter.ndim == 2:
                few = min(rank, *parameter.shape)
                self.left[key] = nn.Parameter(parameter.new_zeros(parameter.shape[0], few))
                self.right[key] = nn.Parameter(torch.randn(few, parameter.shape[1]).to(parameter) / few**0.5)
            else:
                self.free[key] = nn.Parameter(torch.zeros_like(parameter))

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log density of each datum in nats."""
        log_prob: Tensor = functional_call(self._trained[0], self._weights(), (x, context))
        return log_prob

    def sample(
        self, n: int, context: Tensor | None = None, *, temperature: float = 1.0, generator: Generator | None = None
    ) -> Tensor:
        """Draw n data, without gradients; arguments as for `Density.sample`."""
        return self.merged().sample(n, context, temperature=temperature, generator=generator)

    def merged(self) -> Density:
        """Return an independent copy of the trained density with the corrected weights."""
        merged = copy.deepcopy(self._trained[0])
        merged.load_state_dict(self._weights(), strict=False)
        return merged

    def _weights(self) -> dict[str, Tensor]:
        weights = {}
        for name, parameter in self._trained[0].named_parameters():
            key = name.replace(".", "/")
            if key in self.free:
                correction = self.free[key].to(parameter)
            else:
                correction = self.left[key].to(parameter) @ self.right[key].to(parameter)
            weights[name] = parameter.detach() + correction
        return weights


def stored_bytes(classifier: OvAClassifier) -> int:
    """Return the bytes of the parameters of all classes.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> classifier = OvAClassifier(width=8, fit_options={"max_steps": 1}).add_class("a", rng.normal(size=(9, 2)))
        >>> stored_bytes(classifier)  # 4 couplings of 8 + 8, 64 + 8 and 8 + 1 numbers
        1552
    """
    return sum(parameter.nbytes for density in classifier.densities_ for parameter in density.parameters())
