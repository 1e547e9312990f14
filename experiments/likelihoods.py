"""Held-out likelihoods of densities with and without an inverse, each beside what must be beaten."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.markdown import table
from experiments.experiment import Budget, Experiment, Settings, Task
from experiments.folders import data_folder
from experiments.result import Result, Row, Values
from experiments.trained.training import fixed
from inverseflow.data import Splits
from inverseflow.data.toys import TOYS
from inverseflow.errors import OptionError
from inverseflow.training.model import load_data
from inverseflow.training.options import TrainOptions
from inverseflow.training.presets import load_preset
from inverseflow.training.trainer import train
from inverseflow.training.words import IN_WORDS

_SEED = "seed "
_ENTROPY = "entropy_of_these_points"
_TABLES = ("galaxies", "satellite")


@dataclass(frozen=True)
class Line:
    """One density of some data."""

    data: str
    """What it is trained on, in words."""
    name: str
    """What it is, in words."""
    preset: str
    """Preset of the settings."""
    changes: Mapping[str, Any]
    """Settings that replace those of the preset."""
    quick_steps: int
    """Training steps of the quick budget."""

    @property
    def title(self) -> str:
        """Name of the line."""
        return f"{self.name}: {self.data}"


_DIGITS = {"data": "digits", "max_steps": 1_000, "batch_size": 128, "validate_every": 100, "evaluation_draws": 3}


def _of_digits(title: str, **model: Any) -> Line:
    optimizer = {"learning_rate": 3e-3, "schedule": "cosine", "warmup_steps": 50, "clip_norm": 1.0}
    return Line("digits", title, "digits", {**_DIGITS, "model": model, "optimizer": optimizer}, 200)


def _of_points(data: str, max_steps: int, batch_size: int = 256, **model: Any) -> Line:
    model = {"name": "nsf", "spline_bound": 3.0, **model}
    changes = {"data": data, "max_steps": max_steps, "batch_size": batch_size, "model": model}
    return Line(data.replace("-", " "), "NSF", "two-moons", changes, 300)


def _of_table(data: str, name: str, model: str, **changes: Any) -> Line:
    return Line(data, name, "table", {"model": {"name": model}, **changes}, 200)


_SPEECH, _SPEECH_16 = "speech of 8 bits (µ-law)", "speech of 16 bits"
_ROUNDS = {"validate_every": 3_000, "validation_images": 1_000}
LINES = (
    Line("binarized MNIST", "MADE", "mnist-binary", {}, 300),
    Line("MNIST", "PixelCNN", "mnist-pixelcnn", {}, 100),
    Line("MNIST", "Inverse-Flow", "mnist", {**_ROUNDS, "max_steps": 9_000}, 50),
    _of_digits("PixelCNN", name="pixelcnn", width=16, depth=4),
    _of_digits("Diagonal BiLSTM", name="pixelrnn", cell="diagonal", width=16, depth=2),
    _of_digits("Row LSTM", name="pixelrnn", cell="row", width=14, depth=3),
    Line(_SPEECH, "WaveNet", "audio", {}, 20),
    Line(_SPEECH_16, "WaveNet", "audio", {"encoding": "pcm"}, 20),
    _of_points("rings", 6_000, batch_size=512, steps=8, width=128),
    _of_points("checkerboard", 8_000),
    _of_points("two-spirals", 8_000),
    _of_table("galaxies", "NSF", "nsf"),
    _of_table("galaxies", "MAF", "maf"),
    _of_table("satellite", "NSF", "nsf", columns=[f"X{column}" for column in range(36)]),
)
_BY_TITLE = {line.title: line for line in LINES}
_SMOKE = ("PixelCNN: digits", "NSF: rings")
_SMOKE_STEPS = 5


def _merged(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {**settings, **changes, "optimizer": {**settings["optimizer"], **changes.get("optimizer", {})}}


def _place(line: Line, data_dir: Path | None) -> Path | None:
    if line.data in _TABLES:
        return data_folder(line.data, data_dir) / f"{line.data}.npz"
    if line.preset == "audio":
        return data_folder("speech-8khz", data_dir)
    return data_dir if line.preset.startswith("mnist") else None


def options(line: Line, budget: Budget, data_dir: Path | None, seed: int, out: Path) -> TrainOptions:
    """Return the settings of a training run.

    Args:
        line: the density and its data.
        budget: how long.
        data_dir: folder of the data sets.
        seed: of weights and training.
        out: folder for the training runs.
    """
    settings = _merged(load_preset(line.preset), {**line.changes, "seed": seed})
    steps = {"smoke": _SMOKE_STEPS, "quick": line.quick_steps, "full": settings["max_steps"]}[budget]
    settings["max_steps"] = min(steps, settings["max_steps"])
    run = out / "likelihoods" / f"{re.sub('[^a-z0-9]+', '-', line.title.lower())}-{seed}"
    return TrainOptions.from_mapping(
        {**settings, "data_dir": _place(line, data_dir), "out": run, "resume": True, "quiet": True}
    )


def measure(name: str, settings: TrainOptions) -> dict[str, Values]:
    """Train one density, or finish its training, and return what its report says.

    Args:
        name: the line.
        settings: of the run.
    """
    data: Splits[Any] = load_data(settings)
    report = train(settings, data)
    assert report is not None and settings.out is not None
    baselines = dict(report.baselines)
    toy = TOYS.get(settings.data)
    if toy is not None and toy.log_prob is not None:
        baselines[_ENTROPY] = -float(toy.log_prob(data.test.tensor()).mean())
    measured = report.evaluation
    values: Values = {
        "value": report.value,
        "stderr": report.stderr,
        "unit": measured.unit,
        "likelihood": measured.likelihood,
        "nats_per_example": measured.nats_per_image,
        "examples": measured.examples,
        "baselines": baselines,
        "parameters": report.parameters,
        "steps": report.steps,
        "seconds": report.train_seconds,
        "problems": report.problems,
    }
    return {name: values}


def _tasks(settings: Settings) -> list[Task]:
    assert settings.seeds is not None
    chosen_lines = settings.only.get("lines", _SMOKE if settings.budget == "smoke" else tuple(_BY_TITLE))
    for title in chosen_lines:
        if title not in _BY_TITLE:
            raise OptionError(f"there is no line {title!r}; there are {', '.join(_BY_TITLE)}")
    tasks = []
    for line in LINES:
        if line.title not in chosen_lines:
            continue
        for seed in range(settings.seeds):
            chosen = options(line, settings.budget, settings.data_dir, seed, settings.out)
            tasks.append(Task(f"{_SEED}{seed}", {line.title: fixed(chosen)}, partial(measure, line.title, chosen)))
    return tasks


def _row(row: Row) -> list[str]:
    values = row.values
    density, data = row.name.split(": ")
    others = sorted(values["baselines"].items(), key=lambda item: float(item[1]))
    return [
        data,
        density,
        f"{values['value']:.4f} ± {values['stderr']:.4f}",
        f"{values['unit']}, {IN_WORDS[values['likelihood']]}",
        "; ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in others),
        f"{values['parameters']:,}",
        f"{values['steps']:,}",
        f"{values['seconds'] / 60:.1f}",
    ]


def _parts(result: Result) -> list[str]:
    head = ["data", "density", "held out", "unit", "beside it", "parameters", "steps", "minutes"]
    parts = [table(head, map(_row, result.rows))]
    nats = [
        f"{row.name.split(': ')[0]} {row.values['nats_per_example']:.2f}"
        for row in result.rows
        if row.settings["binarized"]
    ]
    if nats:
        parts.append(f"In nats an image of binarized MNIST: {', '.join(nats)}.")
    missing = [title for title in _BY_TITLE if title not in result.names]
    if missing:
        parts.append(f"Not measured: {'; '.join(missing)}.")
    return parts


def _draw(result: Result) -> Figure:
    figure = Figure(figsize=(8, 0.42 * len(result.rows) + 1.4), layout="constrained")
    axes = figure.subplots()
    names = [row.name for row in result.rows]
    gains = [min(row.values["baselines"].values()) - row.values["value"] for row in result.rows]
    axes.barh(range(len(names)), gains, color=["C0" if gain > 0 else "C3" for gain in gains])
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set(xlabel="better than the best beside it (bits or nats, as in the table)")
    axes.set_xlim(*np.array([min(0.0, *gains), max(0.0, *gains)]) * 1.1)
    axes.grid(axis="x", alpha=0.3)
    return figure


EXPERIMENTS = (
    Experiment(
        name="likelihoods",
        title="Densities with and without an inverse",
        about="""
Held-out likelihoods of models that multiply conditional probabilities (MADE, PixelCNN, PixelRNN, WaveNet), which are
exact, and of flows, which bound those of gray levels. Each is trained as `inverseflow train` trains it, from its
preset, and stands beside simple models of the same data: histograms, one Gaussian, a mixture of ten, a linear
predictor of order 16, FLAC. The points in the plane are synthetic; where their density is known, the entropy of the
same test points stands beside, below which no model falls but by chance. MNIST is binarized by a seed of our own, not
as by Larochelle and Murray. The models of 8×8 digits have equally many parameters, within 10 %. Galaxies are
simulated. Columns of whole numbers get uniform noise.

With the `full` budget each is trained as long as its preset says, about an hour at most on one core. `--lines`
chooses.""",
        tasks=_tasks,
        parts=_parts,
        draw=_draw,
    ),
)
