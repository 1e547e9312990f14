"""What the estimators share: rows to events, training, scores, and files."""

import copy
import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor
from typing_extensions import Self

from inverseflow.densities import Density, create, load, save
from inverseflow.errors import CheckpointError, DataError, OptionError
from inverseflow.flows import Flow
from inverseflow.training import Objective, fit
from inverseflow.utils.files import write_json
from inverseflow.utils.seeding import seeded

Array = npt.NDArray[Any]
Options = Mapping[str, Any]

_ROWS_AT_ONCE = 1000
_FILE = "estimator.json"
_FITTING: Options = {"max_steps": 2000, "patience": 5, "progress": False}


class DensityEstimator(BaseEstimator):  # type: ignore[misc]
    """Base class of estimators that train densities of rows.

    A subclass has the parameters `density`, `density_options`, `fit_options` and `random_state`, and names what
    training leaves besides densities in `_learned`.
    """

    density: str | Density
    density_options: Options | None
    fit_options: Options | None
    random_state: Any

    _learned: ClassVar[tuple[str, ...]]
    """Attributes that training sets: numbers, arrays and tuples of them."""

    def _checked(self, X: Any, y: Any = "no_validation", *, reset: bool = False, **checks: Any) -> Any:
        """Return X as a finite array ``(N, D)``, and y if it is given; an image is a row of its pixels."""
        if not isinstance(X, (list, tuple)) and getattr(X, "ndim", 2) > 2:
            X = np.asarray(X).reshape(len(X), -1)
        return validate_data(self, X, y, reset=reset, dtype="numeric", **checks)

    def _seed(self) -> int:
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _built(self, columns: int, seed: int, **options: Any) -> Density:
        """Return a new density of rows, with weights of this seed, or a copy of the one that the user gave."""
        options = {**(self.density_options or {}), **options}
        if isinstance(self.density, Density):
            if self.density_options:
                raise OptionError("density_options are for a density by name: build the density with them instead")
            if self.density.dims != columns:
                raise DataError(
                    f"the density takes events {self.density.event_shape}, which are {self.density.dims} numbers, and "
                    f"X has {columns} columns: give as many"
                )
            return copy.deepcopy(self.density)
        if not isinstance(self.density, str):
            raise TypeError(f"density must be the name of a density or a Density, got {self.density!r}")
        with seeded(seed, "weights"):
            try:
                return create(self.density, (columns,), **options)
            except ValueError as error:
                raise OptionError(f"{self.density!r} can't be built for n_features = {columns}: {error}") from error

    def _trained(
        self, density: Density, rows: Array, seed: int, context: Any = None, objective: Objective | None = None
    ) -> Density:
        """Train a density on rows by `inverseflow.fit` and return it, in evaluation mode."""
        options = {**_FITTING, "seed": seed, **(self.fit_options or {})}
        fit(density, events(density, rows), context, objective=objective, **options)
        return density

    def save(self, folder: str | Path) -> None:
        """Write the trained estimator into a folder: JSON and safetensors, never code.

        `random_state` is kept if it is a whole number.

        Args:
            folder: the folder, made if it does not exist.

        Raises:
            CheckpointError: if a density is not of a registered class, or the files can't be written.
        """
        check_is_fitted(self)
        params = {**self.get_params(deep=False)}
        if isinstance(params.get("density"), Density):
            params["density"] = params["density"].config
        names = (*self._learned, "n_features_in_", *({"feature_names_in_"} & {*vars(self)}))
        learned = {name: getattr(self, name) for name in names}
        write_estimator(type(self), folder, params, learned, self._densities())

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Return the estimator that `save` wrote.

        Args:
            folder: the folder.

        Raises:
            CheckpointError: if files are missing or damaged, or belong to another estimator.
        """
        folder = Path(folder).expanduser()
        with damage_explained(folder):
            content = read_estimator(cls, folder)
            params, learned = content["params"], content["learned"]
            if isinstance(config := params.get("density"), dict):
                options = dict(config["options"])
                params["density"] = create(config["density"], options.pop("event_shape"), **options)
            estimator = cls(**params)
            for name in (*cls._learned, "n_features_in_", *({"feature_names_in_"} & {*learned})):
                setattr(estimator, name, learned[name])
        estimator._take_densities(read_densities(content, folder))
        return estimator

    def _densities(self) -> dict[str, Density]:
        """Return the trained densities by the names of their folders."""
        raise NotImplementedError

    def _take_densities(self, densities: dict[str, Density]) -> None:
        """Set what `_densities` returned."""
        raise NotImplementedError


def write_estimator(
    cls: type, folder: str | Path, params: Options, learned: Options, densities: Mapping[str, Density]
) -> None:
    """Write a trained estimator into a folder: JSON and safetensors.

    Args:
        cls: its class.
        folder: the folder, made if it does not exist.
        params: its parameters; `random_state` is kept if it is a whole number.
        learned: what training left besides densities: numbers, arrays and tuples of them.
        densities: the trained densities by the names of their folders.

    Raises:
        CheckpointError: if a density is not of a registered class, or the files can't be written.
    """
    folder = Path(folder).expanduser()
    for name, density in densities.items():
        save(density, folder / name)
    if not isinstance(params["random_state"], int):
        params = {**params, "random_state": None}
    plain = {name: _plain(value) for name, value in learned.items()}
    content = {"estimator": cls.__name__, "params": params, "learned": plain, "densities": [*densities]}
    try:
        write_json(folder / _FILE, content)
    except (OSError, TypeError) as error:
        raise CheckpointError(f"can't write the estimator to {folder}: {error}") from error


def read_estimator(cls: type, folder: Path) -> dict[str, Any]:
    """Return what `write_estimator` wrote, but for the densities; call it within `damage_explained`."""
    content = json.loads((folder / _FILE).read_text("utf-8"))
    if content["estimator"] != cls.__name__:
        raise CheckpointError(f"{folder} holds a {content['estimator']}, not a {cls.__name__}")
    parts = {part: {name: _array(value) for name, value in content[part].items()} for part in ("params", "learned")}
    return {"densities": [str(name) for name in content["densities"]], **parts}


def read_densities(content: dict[str, Any], folder: Path) -> dict[str, Density]:
    """Return the densities that `write_estimator` wrote, by the names of their folders."""
    return {name: load(folder / name, Density) for name in content["densities"]}  # type: ignore[type-abstract]


@contextmanager
def damage_explained(folder: Path) -> Iterator[None]:
    """Say which file is missing or damaged where reading it as an estimator fails."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder / _FILE} is missing or damaged: {error!r}") from error


def events(density: Density, rows: Array) -> Tensor:
    """Return rows ``(N, D)`` as the events of a density.

    Raises:
        DataError: if the density is of gray levels, and the rows are not whole numbers.
    """
    x = torch.from_numpy(np.require(rows, requirements=["C", "W"])).reshape(-1, *density.event_shape)
    if density.levels is None:
        return x.double()
    if x.is_floating_point():
        if not bool((x == x.floor()).all()):
            raise DataError(
                f"the density is of {density.levels} gray levels, and X holds fractions: give whole numbers, or build "
                "the density with levels=None"
            )
        x = x.long()
    return x


@torch.no_grad()
def log_density(density: Density, rows: Array, context: Tensor | None = None) -> Array:
    """Return the log density ``(N,)`` of rows, the same for the same rows.

    Vectors are scored in float64, in which the score of a row does not depend on the rows beside it.
    Whole numbers that a flow dequantizes are taken at the middle of their unit interval. Other noise of a density,
    such as that of a `VAE`, is seeded by the rows.

    Args:
        density: the density.
        rows: ``(N, D)``.
        context: one context for each row ``(N, K)``, or one for all ``(K,)``; None for none.
    """
    if len(density.event_shape) == 1:
        density = copy.deepcopy(density).double()
    like = next(density.parameters(), torch.zeros(()))
    contexts = None if context is None else context.to(like).expand(len(rows), context.shape[-1])
    scores = []
    for number, chunk in enumerate(events(density, rows).split(_ROWS_AT_ONCE)):
        x = chunk.to(like.device)
        x = x if density.levels is not None else x.to(like.dtype)
        given = None if contexts is None else contexts[number * _ROWS_AT_ONCE :][: len(x)]
        with seeded(zlib.crc32(chunk.numpy().tobytes()), "scores"):
            scored = density.log_prob_at_center if isinstance(density, Flow) else density.log_prob
            scores.append(scored(x, given).double().cpu())
    return torch.cat(scores).numpy()


def finite(scores: Array) -> Array:
    """Return scores without what is not finite: a row so far out that its density overflows has the least score."""
    least = -np.finfo(np.float64).max
    return np.nan_to_num(scores, nan=least, neginf=least)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {"array": value.tolist(), "dtype": value.dtype.str}
    return value.item() if isinstance(value, np.generic) else value


def _array(value: Any) -> Any:
    if isinstance(value, dict) and "array" in value:
        return np.array(value["array"], dtype=np.dtype(value["dtype"]))
    return tuple(value) if isinstance(value, list) else value
