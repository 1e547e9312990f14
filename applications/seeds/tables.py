"""The same in tables with two classes, one of which is rare: real data, and SMOTE beside."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, recall_score
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from experiments.folders import data_folder
from inverseflow import fit, flows
from inverseflow.utils.seeding import seeded

Rows = NDArray[np.floating]
Labels = NDArray[np.integer]

TABLES = ("ecoli4", "glass5", "page-blocks0", "winequality-red-4", "yeast6")
_NOISE = 0.05


def methods() -> tuple[str, ...]:
    """Return the ways to rebalance a table; SMOTE if imbalanced-learn is installed."""
    return ("none", "oversampling", "flow") + (("SMOTE",) if find_spec("imblearn") else ())


def read_table(name: str, data_dir: Path | None) -> tuple[Rows, Labels]:
    """Read a table; its class 1 is rare.

    Raises:
        DataError: if the folder is missing.
    """
    data = np.load(data_folder("tabular", data_dir) / f"{name}.npz", allow_pickle=False)
    return data["X"].astype(float), data["y"].astype(int)


def add_rows(method: str, x: Rows, y: Labels, *, steps: int, seed: int = 0) -> tuple[Rows, Labels]:
    """Add rows of class 1 until both classes are of one size.

    Args:
        method: one of `methods`.
        x: standardized rows.
        y: 0 and 1, of which 1 is rare.
        steps: training steps of the flow, which learns both classes and draws with noise of 0.05.
        seed: of everything random.
    """
    missing = int((y == 0).sum() - (y == 1).sum())
    if method == "none" or missing <= 0:
        return x, y
    if method == "SMOTE":
        from imblearn.over_sampling import SMOTE

        neighbors = min(5, int((y == 1).sum()) - 1)
        more, labels = SMOTE(k_neighbors=neighbors, random_state=seed).fit_resample(x, y)
        return more, labels
    if method == "oversampling":
        drawn = x[y == 1][np.random.default_rng(seed).integers((y == 1).sum(), size=missing)]
    else:
        with seeded(seed, "table"):
            rows = torch.from_numpy(x).float()
            rows = rows + _NOISE * torch.randn_like(rows)
            density = flows.create("realnvp", (x.shape[1],), context_channels=1, width=32)
            fit(
                density,
                rows,
                torch.from_numpy(y[:, None]).float(),
                max_steps=steps,
                batch_size=min(256, len(rows) // 2),
                learning_rate=2e-3,
                seed=seed,
                progress=False,
            )
            drawn = density.sample(missing, torch.ones(missing, 1)).double().numpy()
    return np.concatenate([x, drawn]), np.concatenate([y, np.ones(missing, dtype=y.dtype)])


def scores(x: Rows, y: Labels, *, folds: int, steps: int, seed: int = 0) -> dict[str, dict[str, float]]:
    """Return recall of the rare class and balanced accuracy of logistic regression by method, in cross-validation.

    Rows are added to the training part of a fold alone.
    """
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in methods()}
    for train, test in StratifiedKFold(folds, shuffle=True, random_state=seed).split(x, y):
        scaler = StandardScaler().fit(x[train])
        for name, values in found.items():
            more = add_rows(name, scaler.transform(x[train]), y[train], steps=steps, seed=seed)
            guess = LogisticRegression(max_iter=2000).fit(*more).predict(scaler.transform(x[test]))
            values.append((float(recall_score(y[test], guess)), float(balanced_accuracy_score(y[test], guess))))
    return {
        name: dict(zip(("recall", "balanced accuracy"), map(float, np.mean(values, 0)), strict=True))
        for name, values in found.items()
    }
