"""Class by class: what each method knows after each class, and whether it leaves earlier ones alone."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.neural_network import MLPClassifier

from benchmarks.markdown import table
from experiments.experiment import Budget, Experiment, Settings, Task
from experiments.formatting import mean_and_deviation
from experiments.result import Result, Values
from experiments.trained.training import images
from inverseflow.estimators import GenerativeClassifier, LowRankOvAClassifier, OvAClassifier, stored_bytes

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

_CLASSES = 10
_SEED = "seed "
_OVA, _LOW_RANK, _GENERATIVE, _QDA = "one flow a class", "low-rank corrections", "generative classifier", "QDA"
_FORGETS, _JOINT = "softmax network, in turn", "softmax network, jointly"
_SHRINKAGE = 0.1
_CHECKED = 500


@dataclass(frozen=True)
class Size:
    """Amount of everything."""

    data: str
    max_steps: int
    width: int
    rank: int
    components: int
    """Principal components that the generative classifier and QDA see."""
    flow_steps: int
    """Training steps of a density of the generative classifier."""
    epochs: int
    """Passes of the softmax networks over a class."""
    test: int | None = None


SIZES: dict[Budget, Size] = {
    "smoke": Size("digits", 20, 16, 4, 20, 20, 2, 300),
    "quick": Size("mnist", 200, 256, 16, 50, 800, 5),
    "full": Size("mnist", 4_000, 256, 16, 50, 5_000, 20),
}
_DENSITY = "realnvp"
_DENSITY_OPTIONS = {"steps": 6, "width": 64}
_DENSITY_TRAINING = {"batch_size": 256, "learning_rate": 2e-3}
_OVA_TRAINING = {"batch_size": 100, "learning_rate": 2e-3}


@dataclass(frozen=True)
class Pictures:
    """Rows of pixels from 0 to 1 with their classes."""

    train: Floats
    train_labels: Labels
    test: Floats
    test_labels: Labels


def pictures(size: Size, data_dir: Path | None) -> Pictures:
    """Return the pictures of a size."""
    data = images(size.data, None if size.data == "digits" else data_dir, size.test)
    parts: list[Any] = []
    for part in (data.train, data.test):
        assert part.labels is not None
        parts += [part.tensor().flatten(1).numpy() / (data.levels - 1), part.labels.numpy()]
    return Pictures(*parts)


def accuracies(scores: Floats, data: Pictures, order: Labels) -> list[float]:
    """Return the accuracy on the classes seen so far, after each class, from scores ``(N, classes)`` in that order."""
    found = []
    for count in range(1, len(order) + 1):
        seen = np.isin(data.test_labels, order[:count])
        found.append(float((order[scores[seen][:, :count].argmax(1)] == data.test_labels[seen]).mean()))
    return found


def class_by_class(classifier: OvAClassifier, data: Pictures, order: Labels) -> Values:
    """Add classes in an order, and count what changes in earlier ones: parameters, and scores of some test rows."""
    rows = data.test[:_CHECKED]
    changed, before, digests = 0, np.zeros((len(rows), 0)), list[str]()
    for name in order.tolist():
        classifier.add_class(name, data.train[data.train_labels == name])
        scores = classifier.log_likelihood(rows)
        now = [_digest(density) for density in classifier.densities_]
        changed += int((scores[:, : before.shape[1]].view(np.int64) != before.view(np.int64)).sum())
        changed += sum(one != other for one, other in zip(now, digests, strict=False))
        before, digests = scores, now
    accuracy = accuracies(classifier.log_likelihood(data.test), data, order)
    return {"accuracy": accuracy, "bytes": stored_bytes(classifier), "changed": changed}


def _digest(density: Any) -> str:
    digest = hashlib.sha256()
    for parameter in density.parameters():
        digest.update(parameter.detach().numpy().tobytes())
    return digest.hexdigest()


def _one_flow_a_class(size: Size, data: Pictures, order: Labels, seed: int) -> Values:
    training = {**_OVA_TRAINING, "max_steps": size.max_steps, "progress": False}
    classifier = OvAClassifier(unit="whole", width=size.width, fit_options=training, random_state=seed)
    return class_by_class(classifier, data, order)


def _low_rank(size: Size, data: Pictures, order: Labels, seed: int) -> Values:
    training = {**_OVA_TRAINING, "max_steps": size.max_steps, "progress": False}
    classifier = LowRankOvAClassifier(
        rank=size.rank, unit="whole", width=size.width, fit_options=training, random_state=seed
    )
    return class_by_class(classifier, data, order)


def _components(size: Size, data: Pictures) -> tuple[Floats, Labels, Floats]:
    """Return components of the training pictures, also moved by a pixel in four ways, their classes, and of others."""
    components = PCA(size.components, random_state=0).fit(data.train)
    side = math.isqrt(data.train.shape[1])
    pictures = data.train.reshape(-1, side, side)
    moved = [np.roll(pictures, step, axis) for axis in (1, 2) for step in (-1, 1)]
    train = np.concatenate([components.transform(part.reshape(len(part), -1)) for part in (pictures, *moved)])
    return train, np.tile(data.train_labels, 1 + len(moved)), components.transform(data.test)


def _generative(size: Size, data: Pictures, order: Labels, seed: int) -> Values:
    train, labels, test = _components(size, data)
    classifier = GenerativeClassifier(
        _DENSITY,
        density_options=_DENSITY_OPTIONS,
        fit_options={**_DENSITY_TRAINING, "max_steps": size.flow_steps, "progress": False},
        random_state=seed,
    ).fit(train, labels)
    scores = classifier.log_likelihood(test)[:, order]
    stored = sum(parameter.nbytes for density in classifier.densities_ for parameter in density.parameters())
    return {"accuracy": accuracies(scores, data, order), "bytes": stored}


def _qda(size: Size, data: Pictures, order: Labels, seed: int) -> Values:
    train, labels, test = _components(size, data)
    classifier = QuadraticDiscriminantAnalysis(reg_param=_SHRINKAGE).fit(train / train.std(), labels)
    scores = classifier.decision_function(test / train.std())[:, order]
    stored = 4 * _CLASSES * (size.components + size.components * (size.components + 1) // 2)
    return {"accuracy": accuracies(scores, data, order), "bytes": stored}


def _softmax(size: Size, data: Pictures, order: Labels, seed: int, jointly: bool) -> Values:
    network = MLPClassifier((size.width, size.width), batch_size=100, random_state=seed)
    parts = [data.train_labels >= 0] if jointly else [data.train_labels == name for name in order]
    accuracy = []
    for count, part in enumerate(parts, start=_CLASSES if jointly else 1):
        for _ in range(size.epochs):
            network.partial_fit(data.train[part], data.train_labels[part], classes=np.arange(_CLASSES))
        seen = np.isin(data.test_labels, order[:count])
        accuracy.append(float(network.score(data.test[seen], data.test_labels[seen])))
    stored = 4 * sum(weights.size for weights in (*network.coefs_, *network.intercepts_))
    return {"accuracy": accuracy, "bytes": stored}


_METHODS: dict[str, Callable[[Size, Pictures, Labels, int], Values]] = {
    _OVA: _one_flow_a_class,
    _LOW_RANK: _low_rank,
    _GENERATIVE: _generative,
    _QDA: _qda,
    _FORGETS: partial(_softmax, jointly=False),
    _JOINT: partial(_softmax, jointly=True),
}


def measure(method: str, size: Size, seed: int, data_dir: Path | None) -> dict[str, Values]:
    """Measure one method.

    Args:
        method: its name.
        size: amount of everything.
        seed: of weights and training; 0 takes the classes in their order, others in a random one.
        data_dir: folder of the data sets.
    """
    data = pictures(size, data_dir)
    order = np.arange(_CLASSES) if seed == 0 else np.random.default_rng(seed).permutation(_CLASSES)
    began = time.perf_counter()
    values = _METHODS[method](size, data, order, seed)
    return {method: {**values, "order": order.tolist(), "seconds": time.perf_counter() - began}}


def _tasks(settings: Settings) -> list[Task]:
    assert settings.seeds is not None
    size = SIZES[settings.budget]
    densities = {"density": _DENSITY, "density_options": _DENSITY_OPTIONS, "density_training": _DENSITY_TRAINING}
    fixed = {**asdict(size), "ova_training": _OVA_TRAINING, **densities}
    return [
        Task(
            f"{_SEED}{seed}",
            {method: {**fixed, "seed": seed}},
            partial(measure, method, size, seed, settings.data_dir),
        )
        for method in _METHODS
        for seed in range(settings.seeds)
    ]


def _final(result: Result, method: str) -> list[float]:
    return [100 * float(row.values["accuracy"][-1]) for row in result.parts(method, _SEED)]


def _parts(result: Result) -> list[str]:
    rows = []
    for method in result.names:
        parts = result.parts(method, _SEED)
        accuracy = parts[0].values["accuracy"]
        steps = [f"{100 * accuracy[count - 1]:.1f}" if len(accuracy) == _CLASSES else "–" for count in (2, 5)]
        changed = [int(row.values["changed"]) for row in parts if "changed" in row.values]
        rows.append(
            [
                method,
                *steps,
                mean_and_deviation(_final(result, method), 2),
                f"{parts[0].values['bytes']:,}",
                str(sum(changed)) if changed else "–",
                f"{np.mean([row.values['seconds'] for row in parts]):.0f}",
            ]
        )
    head = ["method", "accuracy after 2 classes", "5", "10 (%)", "bytes", "changed in earlier classes", "seconds"]
    return [table(head, rows), *_verdicts(result)]


def _verdicts(result: Result) -> list[str]:
    full, small = (result.parts(method, _SEED)[0].values["bytes"] for method in (_OVA, _LOW_RANK))
    loss = np.mean(_final(result, _OVA)) - np.mean(_final(result, _LOW_RANK))
    return [
        f"Corrections of low rank take {full / small:.1f} times less memory than one flow a class and are "
        f"{abs(loss):.2f} points {'less' if loss >= 0 else 'more'} accurate. What changed in earlier classes is "
        f"counted after each class: parameters by their bytes, and the scores of {_CHECKED} test pictures."
    ]


def _draw(result: Result) -> Figure:
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for method, marker in zip(result.names, "osd^vx", strict=True):
        accuracy = np.mean([row.values["accuracy"] for row in result.parts(method, _SEED)], axis=0)
        places = np.arange(_CLASSES - len(accuracy), _CLASSES) + 1
        axes.plot(places, 100 * accuracy, marker=marker, label=method)
    axes.set(xlabel="classes learned", ylabel="accuracy on the classes learned so far (%)", xticks=range(1, 11))
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


EXPERIMENTS = (
    Experiment(
        name="incremental",
        title="Class by class",
        about="""
Ten digits of MNIST are learned one after the other, each from its own pictures alone. `OvAClassifier` gives each class
a flow of its own that preserves volume, and `LowRankOvAClassifier`, our reconstruction, a correction of the first flow
in half precision; both see pixels. `GenerativeClassifier` (a flow of affine couplings for each class) and quadratic
discriminant analysis (QDA, shrunk by a tenth) see 50 principal components of all training pictures, of which each is
also moved by a pixel in four ways: their densities would be added class by class in the same way, but the components
know all classes. Two softmax networks of scikit-learn, which are not generative, are the limits: one is trained class
after class and forgets, the other sees all classes at once. With several seeds, the others take the classes in a random
order.

After Hocquet, Bichler and Querlioz, *OvA-INN: Continual Learning with Invertible Neural Networks*, 2020.""",
        tasks=_tasks,
        parts=_parts,
        draw=_draw,
        seeds={"smoke": 1, "quick": 1, "full": 3},
    ),
)
