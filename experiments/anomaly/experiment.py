"""Anomalies found by the density of normal rows, beside detectors of scikit-learn and PyOD."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.covariance import EmpiricalCovariance
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import LocalOutlierFactor

from benchmarks.markdown import table
from experiments.anomaly.sets import DIGITS, SETS, SHUTTLE, TABLES, Anomalies, Floats, load
from experiments.experiment import Budget, Experiment, Settings, Task
from experiments.formatting import mean_and_deviation
from experiments.result import Result, Values
from inverseflow.errors import OptionError
from inverseflow.estimators import DensityOutlierDetector

_SEED = "seed "
_DENSITY = "nsf"
_OPTIONS = {"steps": 3, "width": 64}
_TRAINING = {"batch_size": 256, "learning_rate": 1e-3, "weight_decay": 1.0, "ema": 0.99, "patience": 5}
_BLUR = 0.2
_COPIES = 4
_FLOW = "flow"


@dataclass(frozen=True)
class Size:
    """Amount of everything."""

    sets: tuple[str, ...]
    max_steps: int
    limit: int | None = None
    """Largest number of rows of either kind."""


SIZES: dict[Budget, Size] = {
    "smoke": Size((SHUTTLE, "ecoli4", "MNIST 0"), 2, 200),
    "quick": Size(SETS, 1_000),
    "full": Size(SETS, 5_000),
}


def _flow(data: Anomalies, size: Size, seed: int) -> Floats:
    options = {**_TRAINING, "batch_size": min(256, max(8, len(data.train) // 4)), "max_steps": size.max_steps}
    detector = DensityOutlierDetector(
        _DENSITY,
        false_alarm_rate=None,
        density_options=_OPTIONS,
        fit_options={**options, "progress": False},
        random_state=seed,
    )
    rows = np.tile(data.train + data.noise, (_COPIES, 1))
    rows += _BLUR * np.random.default_rng(seed).normal(size=rows.shape)
    scores: Floats = -detector.fit(rows).score_samples(data.test)
    return scores


def _isolation_forest(data: Anomalies, size: Size, seed: int) -> Floats:
    scores: Floats = -IsolationForest(random_state=seed).fit(data.train).score_samples(data.test)
    return scores


def _local_outlier_factor(data: Anomalies, size: Size, seed: int) -> Floats:
    neighbors = min(20, len(data.train) - 1)
    scores: Floats = -LocalOutlierFactor(neighbors, novelty=True).fit(data.train).score_samples(data.test)
    return scores


def _mahalanobis(data: Anomalies, size: Size, seed: int) -> Floats:
    scores: Floats = EmpiricalCovariance().fit(data.train).mahalanobis(data.test)
    return scores


def _pyod(module: str, name: str) -> Callable[[Anomalies, Size, int], Floats]:
    def scores_of(data: Anomalies, size: Size, seed: int) -> Floats:
        detector = getattr(import_module(f"pyod.models.{module}"), name)()
        scores: Floats = detector.fit(data.train).decision_function(data.test)
        return scores

    return scores_of


_METHODS: dict[str, Callable[[Anomalies, Size, int], Floats]] = {
    _FLOW: _flow,
    "isolation forest": _isolation_forest,
    "local outlier factor": _local_outlier_factor,
    "Mahalanobis distance": _mahalanobis,
}
_PYOD = {"PyOD: neighbors": _pyod("knn", "KNN"), "PyOD: ECOD": _pyod("ecod", "ECOD")}


def methods() -> dict[str, Callable[[Anomalies, Size, int], Floats]]:
    """Return the detectors that can be measured: those of PyOD if it is installed."""
    return {**_METHODS, **(_PYOD if find_spec("pyod") else {})}


def measure(name: str, size: Size, seed: int, settings: Settings) -> dict[str, Values]:
    """Judge every detector on one set.

    Args:
        name: the set.
        size: amount of everything.
        seed: of the rows and the detectors.
        settings: choices of the user.
    """
    data = load(name, settings.data_dir, seed, size.limit)
    values: Values = {
        "train": len(data.train),
        "columns": data.train.shape[1],
        "normal": int((~data.anomalous).sum()),
        "anomalous": int(data.anomalous.sum()),
    }
    for method, scores_of in methods().items():
        began = time.perf_counter()
        scores = scores_of(data, size, seed)
        values[method] = {
            "auroc": float(roc_auc_score(data.anomalous, scores)),
            "seconds": time.perf_counter() - began,
        }
    return {name: values}


def _tasks(settings: Settings) -> list[Task]:
    assert settings.seeds is not None
    size = SIZES[settings.budget]
    sets = settings.only.get("sets", size.sets)
    if unknown := [name for name in sets if name not in SETS]:
        raise OptionError(f"there is no set {unknown[0]!r}: choose from {', '.join(SETS)}")
    amount = {key: value for key, value in asdict(size).items() if key != "sets"}
    fixed: dict[str, Any] = {
        **amount,
        "density": _DENSITY,
        "options": _OPTIONS,
        "training": _TRAINING,
        "blur": _BLUR,
        "copies": _COPIES,
        "methods": [*methods()],
    }
    return [
        Task(f"{_SEED}{seed}", {name: {**fixed, "seed": seed}}, partial(measure, name, size, seed, settings))
        for name in sets
        for seed in range(settings.seeds)
    ]


def _aurocs(result: Result, name: str, method: str) -> list[float]:
    return [float(row.values[method]["auroc"]) for row in result.parts(name, _SEED)]


def _measured(result: Result) -> list[str]:
    """Return the detectors of a result."""
    return [method for method in (*_METHODS, *_PYOD) if all(method in row.values for row in result.rows)]


def _groups(result: Result) -> dict[str, list[str]]:
    """Return the sets that each of the means is over."""
    groups = {"tables": [SHUTTLE, *TABLES], "MNIST": list(DIGITS), "all": list(SETS)}
    there = {group: [name for name in result.names if name in members] for group, members in groups.items()}
    return {group: members for group, members in there.items() if members}


def _mean(result: Result, members: list[str], method: str) -> float:
    return float(np.mean([np.mean(_aurocs(result, name, method)) for name in members]))


def _parts(result: Result) -> list[str]:
    rows, measured = [], _measured(result)
    for name in result.names:
        values = result.parts(name, _SEED)[0].values
        counts = [f"{values[key]:,}" for key in ("train", "columns", "normal", "anomalous")]
        rows.append([name, *counts, *(mean_and_deviation(_aurocs(result, name, method), 4) for method in measured)])
    for group, members in _groups(result).items():
        means = [f"{_mean(result, members, method):.4f}" for method in measured]
        rows.append([f"mean, {group}", "–", "–", "–", "–", *means])
    head = ["set", "normal rows learned", "columns", "normal in test", "anomalous", *measured]
    seconds = ", ".join(
        f"{method} {np.mean([row.values[method]['seconds'] for row in result.rows]):.1f} s" for method in measured
    )
    return [table(head, rows), f"AUROC, with ties as one half. Mean time on a set: {seconds}.", _verdict(result)]


def _verdict(result: Result) -> str:
    means = {method: _mean(result, result.names, method) for method in _measured(result)}
    best = max(means, key=lambda method: means[method])
    if best == _FLOW:
        return f"In the mean over all sets the flow is first, with {means[_FLOW]:.4f}."
    return (
        f"In the mean over all sets the {best} is first, with {means[best]:.4f}; the flow is "
        f"{means[best] - means[_FLOW]:.4f} behind."
    )


def _draw(result: Result) -> Figure:
    figure = Figure(figsize=(9, 1.5 + 0.35 * len(result.names)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(result.names))
    for method, marker in zip(_measured(result), "osd^vx", strict=False):
        heights = [np.mean(_aurocs(result, name, method)) for name in result.names]
        axes.plot(heights, places, marker, label=method)
    axes.set_yticks(places, result.names)
    axes.invert_yaxis()
    axes.grid(alpha=0.3)
    axes.set(xlabel="AUROC")
    axes.legend()
    return figure


EXPERIMENTS = (
    Experiment(
        name="anomaly",
        title="Anomalies in tables and digits",
        about="""
Detectors learn from normal rows alone and rank the rest: shuttle, seven tables with few rows of a rare class, and each
digit of MNIST against the others. The flow is a neural spline flow with the same settings for all sets; the isolation
forest and the local outlier factor (of novelties) are scikit-learn's, with its defaults, and the Mahalanobis distance
is that of the mean and covariance of the normal rows. Distances to nearest neighbors and ECOD are those of PyOD, with
its defaults; without PyOD installed they are left out. All see the same columns, scaled by medians and quartiles of the
normal rows. The flow trains on four copies of each row with normal noise of a fifth of a column's unit, and, for
numbers in equal steps, noise one step wide. `--sets` chooses the rows.""",
        tasks=_tasks,
        parts=_parts,
        draw=_draw,
        seeds={"smoke": 1, "quick": 1, "full": 5},
    ),
)
