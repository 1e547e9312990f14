"""Faults in series: three detectors on windows and on their latents, at the same settings."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import f1_score, roc_auc_score

from applications.energy.latents import LatentWindows, detectors, distance_from_normal, scaled
from applications.energy.series import Booleans, Floats, Series, calendar, read_series, windows, with_faults
from benchmarks.markdown import table
from experiments.experiment import Budget, Experiment, Settings, Task
from experiments.folders import data_folder
from experiments.formatting import mean_and_deviation
from experiments.result import Result, Values
from inverseflow.errors import DataError

_SEED = "seed "
_DEMAND, _PULSE = "electricity demand, synthetic faults", "UCR 135, internal bleeding"
_RATE = 0.01
_DENSITY = "density of the flow"


@dataclass(frozen=True)
class Size:
    """Amount of everything."""

    max_steps: int
    length: int
    every: int
    """Number of values between the starts of two test windows."""
    faults: int
    """Number of faults of each kind."""


SIZES: dict[Budget, Size] = {
    "smoke": Size(20, 24, 24, 4),
    "quick": Size(500, 24, 1, 4),
    "full": Size(10_000, 24, 1, 4),
}
_TRAIN_DAYS = 42


@dataclass(frozen=True)
class Split:
    """Windows to learn from, windows to test on, and what the flow is told of each."""

    train: Floats
    test: Floats
    faulty: Booleans
    """Which test windows hold a fault."""
    train_context: Floats | None = None
    test_context: Floats | None = None


def demand(series: Series, size: Size, seed: int) -> Split:
    """Divide a series of load after six weeks, and put synthetic faults into the rest."""
    half = _TRAIN_DAYS * round(float(np.timedelta64(1, "D") / series.step))
    usual, later = (Series(series.times[part], series.values[part]) for part in (slice(half), slice(half, None)))
    later, faulty = with_faults(later, size.faults, np.random.default_rng(seed))
    train, starts = windows(usual, size.length)
    test, places = windows(later, size.length, size.every)
    label = faulty[places[:, None] + np.arange(size.length)].any(1)
    return Split(train, test, label, calendar(usual.times[starts]), calendar(later.times[places]))


def pulse(data: Any, size: Size) -> Split:
    """Divide the series of the UCR archive; its test part begins with the training part, which is left out."""
    train, test, label = data["train"], data["test"], data["test_label"] != 0
    if not np.array_equal(train, test[: len(train)]):
        raise DataError("the test part of UCR 135 does not begin with its training part: give the file of the archive")
    test, label = test[len(train) :], label[len(train) :]
    cut = [part[np.arange(0, len(part) - size.length + 1)[:, None] + np.arange(size.length)] for part in (train, test)]
    faulty = label[np.arange(len(cut[1]))[:, None] + np.arange(size.length)].any(1)
    every = slice(None, None, size.every)
    return Split(cut[0], cut[1][every], faulty[every])


def measure(name: str, size: Size, seed: int, data_dir: Path | None) -> dict[str, Values]:
    """Judge every detector on raw windows and on latents of one series.

    Args:
        name: the series.
        size: amount of everything.
        seed: of faults, weights, training and detectors.
        data_dir: folder of the data sets.
    """
    folder = data_folder("series", data_dir)
    if name == _DEMAND:
        split = demand(read_series(folder / "taylor-demand.csv"), size, seed)
    else:
        with np.load(folder / "ucr135.npz", allow_pickle=False) as file:
            split = pulse(file, size)
    train, test = (scaled(split.train, part) for part in (split.train, split.test))
    began = time.perf_counter()
    model = LatentWindows(train, split.train_context, max_steps=size.max_steps, seed=seed)
    latents = [model.encode(part, given) for part, given in ((train, split.train_context), (test, split.test_context))]
    values: Values = {
        "train": len(train),
        "test": len(test),
        "faulty": int(split.faulty.sum()),
        "seconds": time.perf_counter() - began,
        "distance": distance_from_normal(latents[0]),
        "distance_in_test": distance_from_normal(latents[1][~split.faulty]),
    }
    for space, (learned, judged) in {"raw": (train, test), "latent": latents}.items():
        for method, detector in detectors(_RATE, seed).items():
            detector.fit(learned)
            values.setdefault(method, {})[space] = _judged(split, -detector.decision_function(judged), 0.0)
    train_nats, nats = (
        -model.log_prob(part, given) for part, given in ((train, split.train_context), (test, split.test_context))
    )
    values[_DENSITY] = {"latent": _judged(split, nats, float(np.quantile(train_nats, 1 - _RATE)))}
    return {name: values}


def _judged(split: Split, scores: Floats, threshold: float) -> Values:
    return {
        "f1": float(f1_score(split.faulty, scores > threshold)),
        "auroc": float(roc_auc_score(split.faulty, scores)),
        "alarms": int((scores > threshold)[~split.faulty].sum()),
    }


def _tasks(settings: Settings) -> list[Task]:
    assert settings.seeds is not None
    size = SIZES[settings.budget]
    return [
        Task(
            f"{_SEED}{seed}",
            {name: {**asdict(size), "rate": _RATE, "seed": seed}},
            partial(measure, name, size, seed, settings.data_dir),
        )
        for name in (_DEMAND, _PULSE)
        for seed in range(settings.seeds)
    ]


def _methods() -> list[str]:
    return [*detectors(_RATE, 0), _DENSITY]


def _of(result: Result, name: str, method: str, space: str, key: str) -> list[float]:
    rows = [row.values[method] for row in result.parts(name, _SEED)]
    return [float(row[space][key]) for row in rows if space in row]


def _parts(result: Result) -> list[str]:
    head = ["series", "detector", "F1, raw", "F1, latent", "AUROC, raw", "AUROC, latent", "false alarms, raw", "latent"]
    rows = []
    for name in result.names:
        usual = sum(row.values["test"] - row.values["faulty"] for row in result.parts(name, _SEED))
        for method in _methods():
            cells = [name, method]
            for key in ("f1", "auroc"):
                for space in ("raw", "latent"):
                    found = _of(result, name, method, space, key)
                    cells.append(mean_and_deviation(found, 3) if found else "–")
            for space in ("raw", "latent"):
                found = _of(result, name, method, space, "alarms")
                cells.append(f"{100 * sum(found) / usual:.1f} %" if found else "–")
            rows.append(cells)
    about = []
    for name in result.names:
        values = result.parts(name, _SEED)[0].values
        distances = [
            np.mean([row.values[key] for row in result.parts(name, _SEED)]) for key in ("distance", "distance_in_test")
        ]
        about.append(
            f"{name}: {values['train']:,} windows learned, {values['test']:,} tested, {values['faulty']:,} with a "
            f"fault; the numbers in latents are {distances[0]:.3f} (Kolmogorov–Smirnov) from normal in training and "
            f"{distances[1]:.3f} in usual test windows."
        )
    return [table(head, rows), *about, _verdict(result)]


def _verdict(result: Result) -> str:
    said = []
    for name in result.names:
        better = [
            method
            for method in detectors(_RATE, 0)
            if np.mean(_of(result, name, method, "latent", "f1")) >= np.mean(_of(result, name, method, "raw", "f1"))
        ]
        said.append(f"{name}: {len(better)} of 3 detectors have at least the same F1 on latents")
    return "; ".join(said) + "."


def _draw(result: Result) -> Figure:
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(result.names), squeeze=False)[0], result.names, strict=True):
        places = np.arange(len(_methods()))
        for shift, space in ((-0.2, "raw"), (0.2, "latent")):
            heights = [np.mean(_of(result, name, method, space, "f1") or [0.0]) for method in _methods()]
            axes.barh(places + shift, heights, 0.38, label=f"{space} windows" if space == "raw" else "latents")
        axes.set_yticks(places, _methods())
        axes.invert_yaxis()
        axes.set(xlabel="F1 of windows", xlim=(0, 1), title=name)
    axes.legend()
    return figure


EXPERIMENTS = (
    Experiment(
        name="energy",
        title="Faults in series of load",
        about=f"""
A conditional flow maps windows of electric load to latents given the calendar (time of day, day of the week), so that
detectors see what the calendar does not explain. Three detectors of scikit-learn, each told to expect 1 % of alarms in
training, judge the latents and, with the same settings, the windows themselves; the density of the flow is a fourth.
The load of England and Wales (half-hours) is learned from {_TRAIN_DAYS} days, and **synthetic faults** are put into the
42 days that follow: spikes, dips, a frozen meter, and half-days that are shifted by four hours or a tenth higher. The
series of the UCR archive has one real anomaly and no calendar; the training part is removed from its test part, which
begins with it. A window counts as faulty if one of its values is.

After Turowski et al., *Modeling and Generating Synthetic Anomalies for Energy and Power Time Series*, 2022.""",
        tasks=_tasks,
        parts=_parts,
        draw=_draw,
        seeds={"smoke": 1, "quick": 3, "full": 5},
    ),
)
