"""One invertible network that classifies digits and has a density of them: accuracy and likelihood by their weight."""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from benchmarks.markdown import table
from experiments.experiment import Budget, Experiment, Settings, Task
from experiments.formatting import mean_and_deviation
from experiments.result import Result, Values
from experiments.trained.training import images
from inverseflow.estimators import InvertibleClassifier

Rows = npt.NDArray[Any]

_SEED = "seed "
_DENSITY = "nice"
_WEIGHTS = (0.0, 0.01, 0.1, 1.0)
_PRIOR_WEIGHT = 0.1
_CLASSES_PRIOR = f"λ = {_PRIOR_WEIGHT:g}, a normal density of each class"
_NETWORK = "plain network"
_DENSITY_OPTIONS = {"base": "normal", "standardize": False, "depth": 1}
_TRAINING = {"batch_size": 100, "learning_rate": 1e-3, "clip_norm": 5.0}
_DRAWN = 50


@dataclass(frozen=True)
class Size:
    """Amount of everything."""

    data: str
    max_steps: int
    steps: int
    width: int
    epochs: int
    test: int | None = None


SIZES: dict[Budget, Size] = {
    "smoke": Size("digits", 60, 2, 32, 20, 300),
    "quick": Size("mnist", 1_500, 4, 192, 6),
    "full": Size("mnist", 20_000, 8, 512, 20),
}


def _line(weight: float) -> str:
    return f"λ = {weight:g}"


_LINES: dict[str, dict[str, Any]] = {
    **{_line(weight): {"likelihood": weight} for weight in _WEIGHTS},
    _CLASSES_PRIOR: {"likelihood": _PRIOR_WEIGHT, "prior": "classes"},
}


def _pictures(size: Size, data_dir: Path | None) -> tuple[Rows, Rows, Rows, Rows, int]:
    data = images(size.data, None if size.data == "digits" else data_dir, size.test)
    assert data.train.labels is not None and data.test.labels is not None
    train, test = (part.tensor().flatten(1).numpy() for part in (data.train, data.test))
    return train, data.train.labels.numpy(), test, data.test.labels.numpy(), data.levels


def _fit(network: MLPClassifier, x: Rows, y: Rows) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is the budget's
        network.fit(x, y)


def measure(name: str, size: Size, seed: int, data_dir: Path | None) -> dict[str, Values]:
    """Train one classifier and measure it on test pictures.

    Args:
        name: the line.
        size: amount of everything.
        seed: of weights and training.
        data_dir: folder of the data sets.
    """
    train, labels, test, truth, levels = _pictures(size, data_dir)
    network = MLPClassifier((size.width, size.width), batch_size=100, max_iter=size.epochs, random_state=seed)
    began = time.perf_counter()
    if name == _NETWORK:
        _fit(network, train / (levels - 1), labels)
        values: Values = {"accuracy": float(network.score(test / (levels - 1), truth))}
        return {name: {**values, "seconds": time.perf_counter() - began}}
    noise = np.random.default_rng(seed).random(train.shape)
    classifier = InvertibleClassifier(
        _DENSITY,
        density_options={**_DENSITY_OPTIONS, "steps": size.steps, "width": size.width},
        fit_options={**_TRAINING, "max_steps": size.max_steps, "progress": False},
        random_state=seed,
        **_LINES[name],
    ).fit((train + noise) / levels, labels)
    seconds = time.perf_counter() - began
    rows = (test + 0.5) / levels  # the middle of each gray level
    nats_per_dim = -classifier.score_samples(rows).mean() / rows.shape[1] + math.log(levels)
    back = np.floor(classifier.decode(classifier.encode(rows)) * levels)
    values = {
        "accuracy": float(classifier.score(rows, truth)),
        "bits_per_dim": float(nats_per_dim / math.log(2)),
        "wrong_levels": int((back != test).sum()),
        "seconds": seconds,
    }
    if name == _CLASSES_PRIOR:
        _fit(network, train / (levels - 1), labels)
        right = [
            (network.predict(classifier.sample(_DRAWN, label, random_state=seed).clip(0, 1)) == label).mean()
            for label in classifier.classes_
        ]
        values["recognized"] = float(np.mean(right))
    return {name: values}


def _tasks(settings: Settings) -> list[Task]:
    assert settings.seeds is not None
    size = SIZES[settings.budget]
    return [
        Task(
            f"{_SEED}{seed}",
            {name: {**asdict(size), **_TRAINING, **_DENSITY_OPTIONS, "density": _DENSITY, "seed": seed}},
            partial(measure, name, size, seed, settings.data_dir),
        )
        for name in (*_LINES, _NETWORK)
        for seed in range(settings.seeds)
    ]


def _values(result: Result, name: str, key: str, scale: float = 1.0) -> list[float]:
    return [scale * float(row.values[key]) for row in result.parts(name, _SEED)]


def _parts(result: Result) -> list[str]:
    rows = []
    for name in result.names:
        cells = [name, mean_and_deviation(_values(result, name, "accuracy", 100), 2)]
        if name == _NETWORK:
            cells += ["–", "–"]
        else:
            cells.append(mean_and_deviation(_values(result, name, "bits_per_dim"), 3))
            cells.append(f"{sum(_values(result, name, 'wrong_levels')):.0f}")
        rows.append([*cells, f"{np.mean(_values(result, name, 'seconds')):.0f}"])
    head = ["weight of the likelihood", "accuracy (%)", "bits/dim", "gray levels not recovered", "seconds"]
    recognized = np.mean(_values(result, _CLASSES_PRIOR, "recognized", 100))
    return [
        table(head, rows),
        f"The plain network names the class of {recognized:.0f} % of the digits that the flow with a density of each "
        "class draws.",
    ]


def _draw(result: Result) -> Figure:
    figure = Figure(figsize=(6.5, 4.5), layout="constrained")
    axes = figure.subplots()
    lines = [_line(weight) for weight in _WEIGHTS if weight]
    bits = [np.mean(_values(result, name, "bits_per_dim")) for name in lines]
    accuracy = [np.mean(_values(result, name, "accuracy", 100)) for name in lines]
    axes.plot(bits, accuracy, "o-")
    for name, x, y in zip(lines, bits, accuracy, strict=True):
        axes.annotate(name, (float(x), float(y)), xytext=(6, 4), textcoords="offset points")
    of_classes = [np.mean(_values(result, _CLASSES_PRIOR, key)) for key in ("bits_per_dim", "accuracy")]
    axes.plot(of_classes[:1], [100 * of_classes[1]], "s", label=_CLASSES_PRIOR)
    for name, style in ((_NETWORK, ":"), (_line(0.0), "--")):
        axes.axhline(float(np.mean(_values(result, name, "accuracy", 100))), linestyle=style, color="gray", label=name)
    axes.set(xlabel="bits per dimension (less is better)", ylabel="accuracy (%)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


EXPERIMENTS = (
    Experiment(
        name="hybrid",
        title="A classifier with a density",
        about="""
`InvertibleClassifier` on the pixels of MNIST: a flow of additive couplings (NICE) with a linear map of its latent to
classes. It minimizes the cross-entropy plus λ times the nats of a pixel, so that λ trades accuracy for likelihood. With
a normal density of each class in the latent, the same classifier is Bayes' rule, and draws digits of a class. Features
are turned back into pictures exactly. The plain network (scikit-learn's) has two layers of the same width. Affine
couplings explode without a likelihood (λ = 0); additive ones can't, as they preserve volume. Their
likelihoods are finite and poor: a uniform density of levels has 8 bits.

A gray level is a density over its unit interval: training adds noise once, and tests are at its middle.

After Behrmann et al., *Invertible Residual Networks*, 2019, section 5, and Nalisnick et al., *Hybrid Models with Deep
and Invertible Features*, 2019.""",
        tasks=_tasks,
        parts=_parts,
        draw=_draw,
        seeds={"smoke": 1, "quick": 1, "full": 3},
    ),
)
