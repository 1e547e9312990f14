"""What rebalancing by generated pictures gives rare classes, and what chosen labels give a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.stats import t as student
from torch import Tensor

from applications.pictures import to_bytes
from applications.seeds.classifier import train_classifier
from applications.seeds.labeling import STRATEGIES, label_in_batches, labels_needed
from applications.seeds.rebalancing import METHODS, rebalance
from applications.seeds.sets import Labeled, clothes, drawn_kernels
from applications.seeds.tables import TABLES, methods, read_table, scores
from benchmarks.markdown import table
from experiments.embedded_png import embedded, pixels_of
from experiments.experiment import Budget, Experiment, Settings, Task
from experiments.result import Result, Values

_KERNELS, _CLOTHES, _TABLES, _LABELS = "kernels, seed ", "clothes, seed ", "tables", "labels, seed "
_SHOWN = 6


@dataclass(frozen=True)
class Size:
    """Amount of everything."""

    unit: int
    """Objects of the rarest class in training."""
    test: int
    """Objects of each class in the test."""
    side: int
    steps: int
    """Training steps of a classifier."""
    flow_steps: int
    gan_steps: int
    start: int
    batch: int
    rounds: int
    label_steps: int
    tables: tuple[str, ...]
    folds: int
    table_steps: int


SIZES: dict[Budget, Size] = {
    "smoke": Size(6, 4, 16, 4, 4, 2, 8, 4, 1, 3, ("glass5",), 2, 5),
    "quick": Size(30, 60, 32, 250, 100, 150, 32, 16, 6, 200, TABLES, 3, 150),
    "full": Size(100, 250, 64, 1500, 2000, 5000, 16, 8, 20, 400, TABLES, 5, 1000),
}


@lru_cache(1)
def _data(part: str, size: Size, seed: int, data_dir: Path | None) -> tuple[Labeled, Labeled]:
    if part == _CLOTHES:
        return clothes(size.unit, size.test, data_dir=data_dir, seed=seed)
    return drawn_kernels(size.unit, size.test, side=size.side, seed=seed)


def measure_rebalancing(part: str, size: Size, data_dir: Path | None, seed: int, name: str) -> dict[str, Values]:
    """Rebalance pictures, train a classifier, and measure the recall of each class."""
    train, test = _data(part, size, seed, data_dir)
    more = rebalance(name, train, steps=size.gan_steps if name == "GAN" else size.flow_steps, seed=seed)
    found = train_classifier(more, steps=size.steps, seed=seed).predict(test.pictures)
    recall = [float((found[test.labels == label] == label).float().mean()) for label in range(len(train.names))]
    values: Values = {
        "recall": dict(zip(train.names, recall, strict=True)),
        "rare recall": float(np.mean([recall[label] for label in train.rare])),
        "accuracy": float((found == test.labels).float().mean()),
    }
    if part == _KERNELS and name == "oversampling" and seed == 0:
        guess = train_classifier(_seen(more, 1), steps=size.steps, seed=seed).predict(_seen(test, 1).pictures)
        values["accuracy of the top view"] = float((guess == test.labels).float().mean())
    if len(more) > len(train):
        made = more.select(torch.arange(len(train), len(more)))
        distances = torch.cdist(made.pictures.flatten(1), train.pictures.flatten(1)).min(1).values
        own = torch.cdist(train.pictures.flatten(1), train.pictures.flatten(1))
        own.fill_diagonal_(torch.inf)
        values["distance"] = float(distances.median() / own.min(1).values.median())
        if seed == 0:
            values["pictures"] = embedded(_montage(made, train.rare))
    elif seed == 0:
        values["pictures"] = embedded(_montage(train, train.rare))
    return {name: values}


def _seen(data: Labeled, views: int) -> Labeled:
    return Labeled(data.pictures[:, :views], data.labels, data.names)


def _montage(data: Labeled, labels: Sequence[int]) -> Tensor:
    """Return the first views of some objects of each class, a row a class, ``(H, W, 3)``."""
    rows = []
    for label in labels:
        views = data.pictures[data.labels == label][:_SHOWN, 0]
        rows.append(torch.cat(list(views.expand(-1, 3, -1, -1)), 2))
    return to_bytes(torch.cat(rows, 1)).permute(1, 2, 0).contiguous()


def measure_tables(size: Size, data_dir: Path | None, seed: int) -> dict[str, Values]:
    """Rebalance real tables by every method."""
    values: dict[str, Values] = {name: {} for name in methods()}
    for name in size.tables:
        for method, found in scores(
            *read_table(name, data_dir), folds=size.folds, steps=size.table_steps, seed=seed
        ).items():
            values[method][name] = found
    return values


def measure_labels(size: Size, data_dir: Path | None, seed: int, strategy: str) -> dict[str, Values]:
    """Label kernels batch after batch."""
    pool, test = _data(_KERNELS, size, seed, data_dir)
    amounts = {"start": size.start, "batch": size.batch, "rounds": size.rounds, "steps": size.label_steps}
    return {strategy: {"curve": label_in_batches(pool, test, strategy, seed=seed, **amounts)}}


def _tasks(settings: Settings) -> list[Task]:
    assert settings.seeds is not None
    size = SIZES[settings.budget]
    tasks = []
    for seed in range(settings.seeds):
        fixed = {**asdict(size), "seed": seed}
        for part in (_KERNELS, _CLOTHES):
            if part == _CLOTHES and settings.budget == "smoke":
                continue  # needs Fashion-MNIST
            for name in METHODS:
                measure = partial(measure_rebalancing, part, size, settings.data_dir, seed, name)
                tasks.append(Task(f"{part}{seed}", {name: fixed}, measure))
        for strategy in STRATEGIES:
            measure = partial(measure_labels, size, settings.data_dir, seed, strategy)
            tasks.append(Task(f"{_LABELS}{seed}", {strategy: fixed}, measure))
    if settings.budget != "smoke":
        fixed = {**asdict(size), "seed": 0}
        tasks.append(
            Task(_TABLES, dict.fromkeys(methods(), fixed), partial(measure_tables, size, settings.data_dir, 0))
        )
    return tasks


def interval(values: Sequence[float]) -> str:
    """Format a mean with its 95 % interval by Student's t.

    Example:
        >>> interval([0.5, 0.6, 0.7]), interval([0.5])
        ('0.600 ± 0.248', '0.500')
    """
    if len(values) == 1:
        return f"{values[0]:.3f}"
    half = student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return f"{np.mean(values):.3f} ± {half:.3f}"


def _column(result: Result, name: str, part: str, key: str) -> list[float]:
    return [float(row.values[key]) for row in result.parts(name, part) if key in row.values]


def _parts(result: Result) -> list[str]:
    parts = []
    for part, title in ((_KERNELS, "Kernels (synthetic)"), (_CLOTHES, "Clothes (Fashion-MNIST)")):
        if not result.parts("none", part):
            continue
        first = result.parts("none", part)[0]
        rows = []
        for name in METHODS:
            distance = _column(result, name, part, "distance")
            rows.append(
                [
                    name,
                    interval(_column(result, name, part, "rare recall")),
                    interval(_column(result, name, part, "accuracy")),
                    f"{np.mean(distance):.2f}" if distance else "–",
                ]
            )
        head = ["rebalancing", "recall of the rare classes", "accuracy", "distance to the nearest real picture"]
        parts += [f"**{title}**: {', '.join(first.values['recall'])}.", table(head, rows)]
    if top := _column(result, "oversampling", _KERNELS, "accuracy of the top view"):
        both = _column(result, "oversampling", _KERNELS, "accuracy")[0]
        parts.append(
            f"Oversampled kernels of one seed: accuracy {both:.3f} with both views, {top[0]:.3f} with the top."
        )
    parts.append(_labels(result))
    names = [name for name in ("none", "oversampling", "flow", "SMOTE") if result.parts(name, _TABLES)]
    if names:
        tables: list[str] = list(result.parts("none", _TABLES)[0].values)
        found = {name: result.parts(name, _TABLES)[0].values for name in names}
        rows = [
            [data, *(f"{found[n][data]['recall']:.2f} / {found[n][data]['balanced accuracy']:.2f}" for n in names)]
            for data in tables
        ]
        parts += ["**Tables (real)**, recall of the rare class / balanced accuracy:", table(["table", *names], rows)]
    return parts


def _curves(result: Result, strategy: str) -> tuple[list[int], Any]:
    curves = [row.values["curve"] for row in result.parts(strategy, _LABELS)]
    return [labels for labels, _ in curves[0]], np.array([[accuracy for _, accuracy in curve] for curve in curves])


def _labels(result: Result) -> str:
    counts, random = _curves(result, "random")
    _, chosen = _curves(result, "BatchBALD")
    final = float(random.mean(0)[-1])
    needed = labels_needed(list(zip(counts, chosen.mean(0).tolist(), strict=True)), final)
    reached = (
        "which BatchBALD does not reach"
        if needed is None
        else f"which BatchBALD reaches with {needed} labels ({needed / counts[-1]:.0%})"
    )
    return (
        f"**Labels**: with {counts[-1]} random labels the accuracy is {interval(random[:, -1].tolist())}, {reached}; "
        f"with {counts[-1]} labels BatchBALD has {interval(chosen[:, -1].tolist())}."
    )


def _draw(result: Result) -> Figure:
    figure = Figure(figsize=(13, 4), layout="constrained")
    bars, curves, pictures = figure.subplots(1, 3)
    for offset, (part, title) in enumerate(((_KERNELS, "kernels (synthetic)"), (_CLOTHES, "clothes"))):
        if not result.parts("none", part):
            continue
        values = [_column(result, name, part, "rare recall") for name in METHODS]
        places = np.arange(len(METHODS)) + 0.4 * offset
        bars.bar(places, [np.mean(row) for row in values], 0.38, label=title)
        for place, row in zip(places, values, strict=True):
            bars.plot([place] * len(row), row, "k.", markersize=4)
    bars.set_xticks(np.arange(len(METHODS)) + 0.2, list(METHODS))
    bars.set(ylabel="recall of the rare classes", ylim=(0, 1))
    bars.legend()
    for strategy in STRATEGIES:
        counts, accuracy = _curves(result, strategy)
        curves.plot(counts, accuracy.mean(0), label=strategy)
        curves.fill_between(counts, accuracy.min(0), accuracy.max(0), alpha=0.2)
    curves.set(xlabel="labels", ylabel="accuracy, mean and range over seeds")
    curves.grid(alpha=0.3)
    curves.legend()
    shown = [(name, result.parts(name, _KERNELS)[0].values["pictures"]) for name in METHODS if name != "oversampling"]
    rows = [pixels_of(text) for _, text in shown]
    pictures.imshow(np.concatenate(rows))
    height = len(rows[0])
    pictures.set_yticks([(place + 0.5) * height for place in range(len(rows))], ["real", *[n for n, _ in shown[1:]]])
    pictures.set_xticks([])
    pictures.set_title("kernels of the rare classes, broken and pure", fontsize=9)
    return figure


EXPERIMENTS = (
    Experiment(
        name="seeds",
        title="Rare classes of seeds",
        about="""
Do generated pictures help the rare classes of an imbalanced set, and how many labels does a classifier need? Kernels
of corn are drawn by a procedure (synthetic: broken, discolored, pure and silk-cut, seen from above and below), in the
proportions 1 : 8 : 1 : 4; four classes of Fashion-MNIST that resemble one another stand beside them in the same
proportions. Each class is filled up to the largest: not at all, by copies, by a class-conditional flow or by a
class-conditional GAN (hinge loss, projection). The flow learns principal components of all views; it encodes a real
picture, changes its latent, and decodes. Generators see the training pictures alone. A small residual network then sees
both views; it is trained equally long in each case, with CutMix and salt and pepper. Recall and accuracy are measured
on test sets with equally many pictures of each class: mean and 95 % interval over seeds. The distance is that of a
generated picture to the nearest real one, in units of that between real ones; 0 is a copy. BatchBALD chooses the next
labels out of the imbalanced kernels, beside random ones. The thesis uses a conditional GAN on photographs of
17,802 kernels, which are not here; its 80 % stand beside no figure of this page.""",
        tasks=_tasks,
        parts=_parts,
        draw=_draw,
        seeds={"smoke": 1, "quick": 3, "full": 5},
    ),
)
