"""Images from elsewhere, found by a flow of Fashion-MNIST or MNIST: where the likelihood fails, and what does not."""

from __future__ import annotations

import io
import math
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional as F

from benchmarks.markdown import table
from experiments.experiment import Budget, Experiment, Settings, Task
from experiments.formatting import mean_and_deviation
from experiments.result import Result, Values
from experiments.trained.training import images
from inverseflow.estimators import HierarchicalOutlierDetector
from inverseflow.flows import Glow
from inverseflow.training import fit
from inverseflow.utils.seeding import seeded

_SEED = "seed "
_FLOWS = "flows"
_GENERAL = "the general flow"
_SIDE, _LEVELS, _BINS = 32, 256, 60
_RATE = 0.05
_BATCH, _VALIDATION, _VALIDATIONS = 64, 0.05, 5
_SETS = {"fashion-mnist": "Fashion-MNIST", "mnist": "MNIST"}
_SCORES: dict[str, dict[str, Any]] = {
    "likelihood": {"score": "likelihood"},
    "last scale": {"score": "last-scale"},
    "typicality": {"score": "typicality"},
    "ratio to a general flow": {"score": "ratio", "general": "flow"},
    "ratio to PNG files": {"score": "ratio", "general": "png"},
}


@dataclass(frozen=True)
class Size:
    """Amount of images and training."""

    train: int
    held_out: int
    test: int
    steps: int
    width: int
    max_steps: int
    general: str = "cifar10"
    """The set of the general flow."""


SIZES: dict[Budget, Size] = {
    "smoke": Size(300, 200, 100, 1, 8, 2, "digits"),
    "quick": Size(20_000, 1_000, 1_000, 4, 32, 900),
    "full": Size(50_000, 10_000, 10_000, 16, 256, 50_000),
}


def png_nats(pictures: Tensor) -> list[float]:
    """Return minus the size of each gray picture ``(N, 1, H, W)`` as a PNG file, in nats.

    Example:
        >>> flat, noise = torch.zeros(1, 1, 32, 32, dtype=torch.uint8), torch.randint(256, (1, 1, 32, 32)).byte()
        >>> png_nats(torch.cat([flat, noise]))[0] > -600 > -5000 > png_nats(noise)[0]
        True
    """
    sizes = []
    for picture in pictures:
        file = io.BytesIO()
        Image.fromarray(picture[0].numpy()).save(file, "PNG", optimize=True)
        sizes.append(-8 * math.log(2) * file.tell())
    return sizes


def gray(pictures: Tensor) -> Tensor:
    """Return pictures as gray ones of 32×32 pixels, with a margin of zeros.

    Example:
        >>> gray(torch.ones(5, 1, 28, 28, dtype=torch.uint8)).sum() == 5 * 28 * 28
        tensor(True)
    """
    mean = pictures.float().mean(1, keepdim=True).round().to(torch.uint8)
    margin = (_SIDE - mean.shape[-1]) // 2
    return F.pad(mean, [margin] * 4)


@dataclass(frozen=True)
class _Pictures:
    train: Tensor
    held_out: Tensor
    test: Tensor


def _pictures(name: str, size: Size, data_dir: Path | None) -> _Pictures:
    data = images(name, None if name == "digits" else data_dir, size.test)
    train = data.train.select(range(min(size.train, len(data.train))))
    held_out = data.validation.select(range(min(size.held_out, len(data.validation))))
    return _Pictures(*(gray(part.tensor()) for part in (train, held_out, data.test)))


def measure(size: Size, data_dir: Path | None, seed: int, device: str = "cpu") -> dict[str, Values]:
    """Train a flow of each set and judge every score in both directions.

    Args:
        size: amount of everything.
        data_dir: folder of the data sets.
        seed: of weights, training and held-out images.
        device: ``"cpu"`` or ``"cuda"``.

    Returns:
        Measured values of the flows and of each score.
    """
    pictures = {name: _pictures(name, size, data_dir) for name in _SETS}
    pictures[_GENERAL] = _pictures(size.general, size, data_dir)
    flows, training = {}, {}
    for name, parts in pictures.items():
        with seeded(seed, "weights"):
            flow = Glow((1, _SIDE, _SIDE), levels=_LEVELS, scales=3, steps=size.steps, width=size.width).to(device)
        began = time.perf_counter()
        result = fit(
            flow,
            parts.train,
            validation=_VALIDATION,
            max_steps=size.max_steps,
            batch_size=_BATCH,
            validate_every=max(1, size.max_steps // _VALIDATIONS),
            seed=seed,
            progress=False,
        )
        training[name] = {"seconds": time.perf_counter() - began, "bits_per_dim": result.best_value}
        flows[name] = flow
    values: dict[str, Values] = {name: {} for name in _SCORES}
    for inside, outside in (tuple(_SETS), tuple(_SETS)[::-1]):
        direction = f"{_SETS[inside]} → {_SETS[outside]}"
        for name, options in _SCORES.items():
            general = {"flow": flows[_GENERAL], "png": png_nats, None: None}[options.get("general")]
            detector = HierarchicalOutlierDetector(
                flows[inside],
                score=options["score"],
                general=general,
                false_alarm_rate=_RATE,
                random_state=seed,
            ).fit(pictures[inside].held_out)
            normal = detector.score_samples(pictures[inside].test)
            other = detector.score_samples(pictures[outside].test)
            labels = np.repeat([0, 1], [len(normal), len(other)])
            values[name][direction] = {
                "auroc": float(roc_auc_score(labels, -np.concatenate([normal, other]))),
                "false_alarms": float((normal < detector.offset_).mean()),
                "found": float((other < detector.offset_).mean()),
            }
            if name == "likelihood":
                bits = [flows[inside].to_bits_per_dim(torch.tensor(scores)).numpy() for scores in (normal, other)]
                edges = np.histogram_bin_edges(np.concatenate(bits), _BINS)
                counts = [np.histogram(part, edges)[0].tolist() for part in bits]
                histogram = {"edges": edges.tolist(), "inside": counts[0], "outside": counts[1]}
                values[name][direction] |= {"histogram": histogram, "bits": [float(part.mean()) for part in bits]}
    return {_FLOWS: {"training": training, "test": size.test}, **values}


def _tasks(settings: Settings) -> list[Task]:
    assert settings.seeds is not None
    size = SIZES[settings.budget]
    fixed = {
        **asdict(size),
        "batch_size": _BATCH,
        "validation": _VALIDATION,
        "false_alarm_rate": _RATE,
        "device": settings.device,
    }
    return [
        Task(
            f"{_SEED}{seed}",
            {name: {**fixed, "seed": seed} for name in (_FLOWS, *_SCORES)},
            partial(measure, size, settings.data_dir, seed, settings.device),
        )
        for seed in range(settings.seeds)
    ]


def _directions() -> list[str]:
    first, second = _SETS.values()
    return [f"{first} → {second}", f"{second} → {first}"]


def _means(result: Result, name: str, direction: str, key: str) -> list[float]:
    return [float(row.values[direction][key]) for row in result.parts(name, _SEED)]


def _parts(result: Result) -> list[str]:
    head = ["score"]
    for direction in _directions():
        head += [f"AUROC, {direction}", "false alarms", "found"]
    rows = []
    for name in _SCORES:
        cells = [name]
        for direction in _directions():
            cells.append(mean_and_deviation(_means(result, name, direction, "auroc"), 4))
            for key in ("false_alarms", "found"):
                cells.append(mean_and_deviation([100 * v for v in _means(result, name, direction, key)], 1) + " %")
        rows.append(cells)
    flows = result.parts(_FLOWS, _SEED)[0].values
    trained = "; ".join(
        f"{_SETS.get(name, name)} {values['bits_per_dim']:.3f} bits/dim in {values['seconds']:.0f} s"
        for name, values in flows["training"].items()
    )
    bits = "; ".join(
        "{}: {:.3f} and {:.3f} bits/dim".format(
            direction, *result.parts("likelihood", _SEED)[0].values[direction]["bits"]
        )
        for direction in _directions()
    )
    return [
        f"Flows of the first seed, in validation: {trained}. Mean of {flows['test']:,} test images of the set itself "
        f"and of the other: {bits}.",
        table(head, rows),
        "An arrow leads from the set that trained to the one to be found. Thresholds are set on held-out images of the "
        f"first at {_RATE:.0%} false alarms; the columns behind show how many test images of the first raise an "
        "alarm, and how many of the second.",
        *_explanation(result),
    ]


def _explanation(result: Result) -> list[str]:
    likelihood = {way: float(np.mean(_means(result, "likelihood", way, "auroc"))) for way in _directions()}
    worst = min(likelihood, key=lambda way: likelihood[way])
    scores = {name: float(np.mean(_means(result, name, worst, "auroc"))) for name in _SCORES}
    best = max(scores, key=lambda name: scores[name])
    fails = (
        "so it takes images of the other set for more normal than its own: they are simpler, and the fine scales, "
        "which hold most of the nats, see smoothness and no clothes"
        if likelihood[worst] < 0.5
        else "so it tells the sets apart here"
    )
    return [
        f"The likelihood alone has an AUROC of {likelihood[worst]:.3f} in the direction {worst}, {fails}. The best "
        f"score there is the {best}, {scores[best]:.4f}."
    ]


def _draw(result: Result) -> Figure:
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    direction = _directions()[0]
    histogram = result.parts("likelihood", _SEED)[0].values[direction]["histogram"]
    for key, name in zip(("inside", "outside"), _SETS.values(), strict=True):
        left.stairs(histogram[key], histogram["edges"], fill=True, alpha=0.5, label=name)
    left.set(xlabel=f"bits per dimension under the flow of {next(iter(_SETS.values()))}", ylabel="test images")
    left.legend()
    places = np.arange(len(_SCORES))
    for shift, way in zip((-0.2, 0.2), _directions(), strict=True):
        heights = [np.mean(_means(result, name, way, "auroc")) for name in _SCORES]
        right.barh(places + shift, heights, 0.38, label=way)
    right.axvline(0.5, color="black", linewidth=0.8)
    right.set_yticks(places, list(_SCORES))
    right.invert_yaxis()
    right.set(xlabel="AUROC (line: guessing)", xlim=(0, 1))
    right.legend(fontsize=8)
    return figure


EXPERIMENTS = (
    Experiment(
        name="ood",
        title="Images from elsewhere",
        about="""
Does a flow of one set of images notice images of another? A Glow of three scales is trained on Fashion-MNIST and one on
MNIST (with a margin of zeros, 32×32 pixels), and shown test images of both. Scores are the likelihood, the contribution
of the last scale alone, the distance from the likelihood of typical images, and the likelihood beside that of a general
model: a flow of the same architecture trained on photographs (CIFAR-10, JPEG, in gray), or the size of a PNG file. The
photographs hold neither digits nor clothes. Scores are computed at the middle of each gray level, without noise.

After Schirrmeister et al., *Understanding Anomaly Detection with Deep Invertible Networks*, 2020, who trained on more
images, and longer; the PNG files are those of Serrà et al., *Input Complexity*, 2020.""",
        tasks=_tasks,
        parts=_parts,
        draw=_draw,
        seeds={"smoke": 1, "quick": 1, "full": 3},
    ),
)
