"""Signs found in six conditions by three detectors, missing signs found from context, and conditions by likelihood."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy.stats import binom
from sklearn.metrics import roc_auc_score
from torch import Tensor

from applications.pictures import LEVELS, to_bytes
from applications.traffic.context import (
    MISSING,
    Roads,
    accuracy,
    render_roads,
    roadside_designs,
    train_classifier,
)
from applications.traffic.detector import Found, Stem
from applications.traffic.models import LEARNED, MILD, detect, test_scenes, train_detector, training_scenes
from applications.traffic.precision import average_precision
from applications.traffic.scenes import CLASSES, CONDITIONS, Scene, backgrounds, in_condition
from benchmarks.markdown import table
from experiments.embedded_png import embedded, pixels_of
from experiments.experiment import Budget, Experiment, Settings, Task
from experiments.result import Result, Values
from inverseflow import fit
from inverseflow.flows import Glow
from inverseflow.utils.seeding import seeded

_SEVERITY = 0.85
_CLEAN, _ALL, _WINDOWS = "trained on clean scenes", "trained in conditions", "windows, trained in conditions"
_TRAININGS: dict[str, tuple[Stem, Sequence[str]]] = {
    _CLEAN: ("convolutional", ("normal",)),
    _ALL: ("convolutional", LEARNED),
    _WINDOWS: ("windows", LEARNED),
}
_LEAST = 0.3
_PATCH = 32
_WITH, _WITHOUT, _LEAK = "context", "no context", "no context, scars at signs only"
_ROADS = {_WITH: Roads(), _WITHOUT: Roads(cues=False), _LEAK: Roads(cues=False, scars="signs")}
_UNSCARRED = "context, tested without scars"
_LIKELIHOOD = "likelihood of a flow"


@dataclass(frozen=True)
class Size:
    """Amount of scenes and of training."""

    scenes: int
    steps: int
    tests: int
    roads: int
    road_steps: int
    road_tests: int
    flow_steps: int


SIZES: dict[Budget, Size] = {
    "smoke": Size(20, 2, 3, 40, 2, 10, 2),
    "quick": Size(1000, 400, 100, 1000, 300, 500, 200),
    "full": Size(20_000, 20_000, 1000, 20_000, 10_000, 5000, 10_000),
}


def measure_detection(line: str, size: Size, data_dir: Path | None) -> dict[str, Values]:
    """Train a detector and test it in every condition, worse than in training."""
    stem, conditions = _TRAININGS[line]
    training = training_scenes(size.scenes, data_dir, conditions=conditions)
    began = time.perf_counter()
    model = train_detector(training, stem=stem, steps=size.steps)
    seconds = time.perf_counter() - began
    clean = test_scenes(size.tests, data_dir)
    values: Values = {"seconds": seconds, "parameters": sum(p.numel() for p in model.parameters())}
    for condition in CONDITIONS:
        scenes = worst(clean, condition)
        found = detect(model, [scene.picture for scene in scenes])
        values[condition] = asdict(average_precision(scenes, found, len(CLASSES)))
        if line == _ALL:
            values[f"{condition} picture"] = embedded(to_bytes(scenes[0].picture).permute(1, 2, 0))
            values[f"{condition} boxes"] = [*_sure(found[0])]
    return {line: values}


def worst(scenes: Sequence[Scene], condition: str) -> list[Scene]:
    """Return scenes in a condition that is worse than any in training."""
    generator = torch.Generator().manual_seed(2)
    return [in_condition(scene, condition, _SEVERITY, generator) for scene in scenes]


def measure_missing(line: str, size: Size, data_dir: Path | None) -> dict[str, Values]:
    """Train a classifier of missing signs and test it on roads below other pictures."""
    designs = roadside_designs(data_dir)

    def roads(kind: Roads, count: int, *, test: bool) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(int(test))
        return render_roads(designs, backgrounds(test, data_dir), count, kind, generator)

    model = train_classifier(*roads(_ROADS[line], size.roads, test=False), steps=size.road_steps)
    pictures, classes = roads(_ROADS[line], size.road_tests, test=True)
    found = {line: _shares(*accuracy(model, pictures, classes))}
    if line == _WITH:
        found[line]["pictures"] = [embedded(to_bytes(each).permute(1, 2, 0)) for each in pictures[: len(MISSING)]]
        found[_UNSCARRED] = _shares(*accuracy(model, *roads(Roads(scars="nowhere"), size.road_tests, test=True)))
    return found


def measure_likelihood(size: Size, data_dir: Path | None) -> dict[str, Values]:
    """Train a flow on squares of clean scenes, and tell conditions from clean scenes by its likelihood."""
    with seeded(0, "flow"):
        flow = Glow((3, _PATCH, _PATCH), levels=LEVELS + 1, scales=2, steps=2, width=24, spline="none")
    scenes = training_scenes(size.scenes, data_dir, conditions=("normal",))
    result = fit(
        flow,
        to_bytes(torch.stack([_patch(scene.picture, n) for n, scene in enumerate(scenes)])),
        validation=0.05,
        max_steps=size.flow_steps,
        batch_size=16,
        learning_rate=2e-3,
        warmup_steps=size.flow_steps // 10,
        validate_every=max(1, size.flow_steps // 4),
        progress=False,
    )
    clean = test_scenes(size.tests, data_dir)
    bits = {condition: _bits(flow, worst(clean, condition)) for condition in CONDITIONS}
    usual = np.median(bits["normal"])
    values: Values = {"validation": result.best_value}
    for condition in CONDITIONS[1:]:
        labels = np.repeat([0, 1], len(clean))
        both = np.concatenate([bits["normal"], bits[condition]])
        values[condition] = {
            "bits": float(np.mean(bits[condition])),
            "unlikely": float(roc_auc_score(labels, both)),
            "unusual": float(roc_auc_score(labels, np.abs(both - usual))),
        }
    values["normal"] = {"bits": float(np.mean(bits["normal"]))}
    return {_LIKELIHOOD: values}


@torch.no_grad()
def _bits(flow: Glow, scenes: Sequence[Scene]) -> np.ndarray:
    patches = to_bytes(torch.stack([_patch(scene.picture, number) for number, scene in enumerate(scenes)]))
    with seeded(0, "dequantization"):
        bits: np.ndarray = flow.to_metric(flow.log_prob(patches)).numpy()
    return bits


def _patch(picture: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    top, left = torch.randint(picture.shape[1] - _PATCH + 1, (2,), generator=generator).tolist()
    return picture[:, top : top + _PATCH, left : left + _PATCH]


def _shares(right: int, count: int) -> Values:
    low, high = binom.interval(0.95, count, 1 / len(MISSING))
    return {"accuracy": right / count, "chance": [float(low) / count, float(high) / count], "count": count}


def _sure(found: Found) -> list[list[float]]:
    kept = found.scores >= _LEAST
    rows = torch.cat([found.boxes[kept], found.classes[kept, None], found.scores[kept, None]], 1)
    listed: list[list[float]] = rows.tolist()
    return listed


def _tasks(settings: Settings) -> list[Task]:
    size = SIZES[settings.budget]
    fixed = {**asdict(size), "severity": _SEVERITY}
    detectors: dict[str, tuple[str, ...]] = {line: (line,) for line in _TRAININGS}
    roads: dict[str, tuple[str, ...]] = {_WITH: (_WITH, _UNSCARRED), _WITHOUT: (_WITHOUT,), _LEAK: (_LEAK,)}
    detection, missing = (
        [
            Task(part, dict.fromkeys(lines, fixed), partial(measure, first, size, settings.data_dir))
            for first, lines in rows.items()
        ]
        for part, measure, rows in (
            ("detection", measure_detection, detectors),
            ("missing", measure_missing, roads),
        )
    )
    conditions = Task("conditions", {_LIKELIHOOD: fixed}, partial(measure_likelihood, size, settings.data_dir))
    return [*detection[:2], *missing, conditions, *detection[2:]]


def _parts(result: Result) -> list[str]:
    detectors = {line: result.parts(line, "detection")[0].values for line in _TRAININGS}
    rows = [
        [
            condition,
            *(f"{values[condition]['at_half']:.3f}, {values[condition]['mean']:.3f}" for values in detectors.values()),
        ]
        for condition in CONDITIONS
    ]
    rows += [
        [
            f"normal, {size} signs",
            *(f"{values['normal'][key]:.3f}" for values in detectors.values()),
        ]
        for size, key in (("small", "small"), ("large", "large"))
    ]
    rows.append(["parameters", *(f"{values['parameters']:,}" for values in detectors.values())])
    (likelihood,) = result.parts(_LIKELIHOOD, "conditions")
    settings = likelihood.settings
    missing = []
    for line in (_WITH, _UNSCARRED, _WITHOUT, _LEAK):
        values = result.parts(line, "missing")[0].values
        low, high = values["chance"]
        missing.append([line, f"{values['accuracy']:.3f}", f"{low:.3f} to {high:.3f}"])
    return [
        table(["condition", *detectors], rows),
        f"mAP50 and mAP50–95 of pycocotools on {settings['tests']} scenes, of pictures and designs that training does "
        f"not see. Conditions have severity {_SEVERITY} of 1 here, and {MILD[0]} to {MILD[1]} in training, which never "
        "sees fog. Signs are small below 20×20 pixels.",
        table(["missing signs", "accuracy", "chance, 95 %"], missing),
        f"One of {len(MISSING)} classes on roads below pictures that training does not see. Scars are the places where "
        "something was inpainted; where only signs leave scars, these could tell scenes that had a sign from others.",
        table(
            ["condition", "bits/dim", "AUROC, less likely than normal", "AUROC, farther from the usual likelihood"],
            [
                ["normal", f"{likelihood.values['normal']['bits']:.2f}", "–", "–"],
                *(
                    [name, *(f"{likelihood.values[name][key]:{form}}" for key, form in _SCORES)]
                    for name in CONDITIONS[1:]
                ),
            ],
        ),
        f"A Glow trained on squares of {_PATCH}×{_PATCH} pixels of clean scenes, applied to one square of each scene.",
    ]


_SCORES = (("bits", ".2f"), ("unlikely", ".3f"), ("unusual", ".3f"))


def _draw(result: Result) -> Figure:
    figure = Figure(figsize=(12, 4.4), layout="constrained")
    axes = figure.subplots(2, len(CONDITIONS))
    (detector,) = result.parts(_ALL, "detection")
    for place, condition in zip(axes[0], CONDITIONS, strict=True):
        place.imshow(pixels_of(detector.values[f"{condition} picture"]))
        for left, top, right, bottom, kind, score in detector.values[f"{condition} boxes"]:
            place.add_patch(Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False, color="lime"))
            place.text(
                left, top - 2, f"{CLASSES[int(kind)]} {score:.2f}", fontsize=6, color="white", backgroundcolor="k"
            )
        place.set_title(condition, fontsize=9)
    (roads,) = result.parts(_WITH, "missing")
    for place, text, kind in zip(axes[1], roads.values["pictures"], MISSING, strict=False):
        place.imshow(pixels_of(text))
        place.set_title(kind, fontsize=9)
    for place in axes.flat:
        place.set(xticks=[], yticks=[])
    axes[1, -1].set_visible(False)
    return figure


EXPERIMENTS = (
    Experiment(
        name="traffic",
        title="Traffic signs",
        about="""
Real designs of traffic signs are drawn on real pictures, in perspective and in five synthetic conditions. How well does
a small detector find them, with and without such conditions in training? Which sign is missing on a rendered road from
which it was removed, and does the answer come from the road? And does the likelihood of a flow tell the conditions?""",
        tasks=_tasks,
        parts=_parts,
        draw=_draw,
    ),
)
