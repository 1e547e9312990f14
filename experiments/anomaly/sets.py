"""Tables with labeled anomalies: normal rows to learn from, and rows of both kinds to test on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA

from experiments.folders import data_folder
from experiments.trained.training import images
from inverseflow.data.looks import find_lattice
from inverseflow.errors import DataError, OptionError

Floats = npt.NDArray[np.float64]

TABLES = ("abalone19", "ecoli4", "glass5", "page-blocks0", "poker-8-vs-6", "winequality-red-4", "yeast6")
SHUTTLE = "shuttle"
DIGITS = tuple(f"MNIST {digit}" for digit in range(10))
SETS = (SHUTTLE, *TABLES, *DIGITS)

_SHUTTLE_ROWS = 20_000
_COMPONENTS = 40


@dataclass(frozen=True)
class Anomalies:
    """One set, in coordinates that do not depend on the test rows."""

    train: Floats
    """Normal rows."""
    noise: Floats
    """Uniform noise ``(N, D)``, one step wide in columns of numbers in equal steps, to add to `train` for a density."""
    test: Floats
    """Normal rows and anomalies, at the middle of a step."""
    anomalous: npt.NDArray[np.bool_]
    """Which rows of `test` are anomalies."""


def load(name: str, data_dir: Path | None, seed: int, limit: int | None = None) -> Anomalies:
    """Read a set and divide it.

    Of a table, half of the normal rows are learned from. Of shuttle, class ``Rad.Flow`` is normal, ``High`` is left out
    as is usual, and 20,000 normal rows are learned from. Of MNIST, the training images of one digit are, in 40
    principal components of these images, with the logarithm of the distance from their plane as another column; the
    test images of all digits are tested.

    Args:
        name: one of `SETS`.
        data_dir: folder of the data sets.
        seed: chooses the rows.
        limit: largest number of rows of either kind; None for all.

    Raises:
        OptionError: if there is no such set.
        DataError: if its data are missing.
    """
    if name not in SETS:
        raise OptionError(f"there is no set {name!r}: choose from {', '.join(SETS)}")
    if name in DIGITS:
        normal, test, anomalous = _digit(DIGITS.index(name), data_dir)
    else:
        normal, test, anomalous = _table(name, data_dir, seed)
    rng = np.random.default_rng(seed)
    if limit is not None:
        normal = normal[rng.permutation(len(normal))[:limit]]
        some = np.sort(rng.permutation(len(test))[:limit])
        test, anomalous = test[some], anomalous[some]
        if not 0 < anomalous.sum() < len(anomalous):
            raise DataError(f"{len(some)} test rows of {name} hold one kind only: allow more")
    return prepared(normal, test, anomalous, rng)


def prepared(normal: Floats, test: Floats, anomalous: Any, rng: np.random.Generator) -> Anomalies:
    r"""Scale columns by robust statistics of the normal rows, :math:`\operatorname{asinh}((x - m) / s)`.

    m is the median and s the distance of quartiles by 1.35, or the deviation where that is zero. So values far out,
    which some tables have, stay within reach and in order. Columns that are constant in the normal rows are left out.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> found = prepared(np.array([[0.0, 1, 5], [2, 1, 7], [1, 1, 6]]), np.ones((1, 3)), [True], rng)
        >>> found.train.round(3).tolist()  # asinh(1.35) = 1.109
        [[-1.109, -1.109], [1.109, 1.109], [0.0, 0.0]]
    """
    varying = normal.std(0) > 1e-9 * np.abs(normal).max(0)
    normal, test = normal[:, varying], test[:, varying]
    steps = np.array([0.0 if (found := find_lattice(column)) is None else found.step for column in normal.T])
    low, median, high = np.quantile(normal, [0.25, 0.5, 0.75], axis=0)
    scale = np.where(high > low, (high - low) / 1.35, normal.std(0))

    def scaled(rows: Floats) -> Floats:
        values: Floats = np.arcsinh((rows - median) / scale)
        return values

    noisy = scaled(normal + steps * (rng.random(normal.shape) - 0.5))
    return Anomalies(scaled(normal), noisy - scaled(normal), scaled(test), np.asarray(anomalous, dtype=bool))


def _table(name: str, data_dir: Path | None, seed: int) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    folder = data_folder(SHUTTLE if name == SHUTTLE else "tabular", data_dir)
    path = folder / f"{name}.npz"
    if not path.is_file():
        raise DataError(f"there is no {path}")
    with np.load(path, allow_pickle=False) as file:
        rows, labels = file["X"].astype(np.float64), file["y"]
    if name == SHUTTLE:
        rows, labels = rows[labels != 3], labels[labels != 3]
    normal = np.flatnonzero(labels == 0)
    count = min(_SHUTTLE_ROWS, len(normal) // 2)
    train = np.random.default_rng(seed).permutation(normal)[:count]
    test = np.setdiff1d(np.arange(len(rows)), train)
    return rows[train], rows[test], labels[test] != 0


def _digit(digit: int, data_dir: Path | None) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    data = images("mnist", data_dir, None)
    labels = data.train.labels, data.test.labels
    assert labels[0] is not None and labels[1] is not None
    pixels = [
        part.tensor().flatten(1).numpy() / 255.0
        for part in (data.train.select((labels[0] == digit).nonzero().flatten()), data.test)
    ]
    components = PCA(_COMPONENTS, random_state=0).fit(pixels[0])
    normal, test = (_projected(components, part) for part in pixels)
    return normal, test, (labels[1] != digit).numpy()


def _projected(components: PCA, pixels: Floats) -> Floats:
    coordinates = components.transform(pixels)
    distance = np.linalg.norm(pixels - components.inverse_transform(coordinates), axis=1, keepdims=True)
    return np.hstack([coordinates, np.log(distance + 1e-9)])
