"""A linear classifier with two inverse convolutions of 16 parameters in total, with and without non-linearities."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from experiments.classifier.model import FITTING, ClassifierArchitecture, accuracy, distance_from_affine, fit
from experiments.classifier.report import (
    ACTIVATED,
    BY_ACTIVATIONS,
    BY_CORNERS,
    CONVOLUTIONS,
    FULLY_CONNECTED,
    LINEAR,
    NONLINEAR,
    SEED,
    activation,
    best,
    draw,
    parts,
)
from experiments.experiment import Budget, Experiment, Settings, Task
from experiments.result import Result, Values, read_result
from experiments.trained.training import images
from inverseflow.data import ImageSplits
from inverseflow.ops import CORNERS, Corner, growth

_NAME = "classifier"
_FIRST_CORNERS: tuple[Corner, Corner] = ("bottom_right", "top_left")  # each pixel reaches every other


@dataclass(frozen=True)
class SearchEffort:
    """Candidates and lengths of search and final fits."""

    data: str
    between: tuple[tuple[str, float], ...]
    """Activations between the two layers: function and scale of its argument."""
    after: tuple[tuple[str, float], ...]
    """Activations between the second layer and the fully connected one."""
    search_epochs: int
    """Epochs for each candidate."""
    epochs: int
    """Epochs for each row of the final table."""


_BETWEEN = (
    ("none", 1.0),
    ("ReLU", 1.0),
    ("abs", 1.0),
    ("square", 1.0),
    ("SiLU", 4.0),
    ("sin", 2.0),
    ("tanh", 2.0),
    ("tanh", 4.0),
)
_AFTER = (("none", 1.0), ("ReLU", 1.0), ("abs", 1.0), ("tanh", 2.0), ("tanh", 4.0))
SEARCH_EFFORTS: dict[Budget, SearchEffort] = {
    "smoke": SearchEffort("digits", (("none", 1.0), ("tanh", 2.0)), (("none", 1.0), ("ReLU", 1.0)), 4, 10),
    "quick": SearchEffort("mnist", _BETWEEN, _AFTER, 3, 10),
    "full": SearchEffort("mnist", _BETWEEN, _AFTER, 10, 50),
}


def _tasks(settings: Settings) -> list[Task]:
    assert settings.seeds is not None
    effort = SEARCH_EFFORTS[settings.budget]
    fitting = {**FITTING, "data": effort.data, "device": settings.device}
    search = {**fitting, "epochs": effort.search_epochs}
    tasks = []
    for between in effort.between:
        for after in effort.after:
            if between[0] != "none" or after[0] != "none":
                architecture = ClassifierArchitecture("inverse", between, after, _FIRST_CORNERS)
                name = f"{activation(between)}, {activation(after)}"
                measure = partial(_try_activations, name, architecture, settings)
                tasks.append(Task(BY_ACTIVATIONS, {name: {**search, **asdict(architecture)}}, measure))
    among = {"between": effort.between, "after": effort.after}
    for first in CORNERS:
        for second in CORNERS:
            name = f"{first}, {second}"
            measure = partial(_try_corners, name, (first, second), settings)
            tasks.append(Task(BY_CORNERS, {name: {**search, **among, "corners": (first, second)}}, measure))
    for seed in range(settings.seeds):
        final = {**fitting, **among, "search_epochs": effort.search_epochs, "epochs": effort.epochs, "seed": seed}
        for name in (FULLY_CONNECTED, ACTIVATED, LINEAR, NONLINEAR, CONVOLUTIONS):
            tasks.append(Task(f"{SEED}{seed}", {name: final}, partial(_measure, name, seed, settings)))
    return tasks


def _so_far(settings: Settings) -> Result:
    return read_result(settings.out / f"{_NAME}.json")


def _data(settings: Settings) -> ImageSplits:
    name = SEARCH_EFFORTS[settings.budget].data
    return images(name, None if name == "digits" else settings.data_dir, None)


def _try_activations(name: str, architecture: ClassifierArchitecture, settings: Settings) -> dict[str, Values]:
    return {name: _tried(architecture, settings)}


def _try_corners(name: str, corners: tuple[Corner, Corner], settings: Settings) -> dict[str, Values]:
    chosen = best(_so_far(settings), BY_ACTIVATIONS).values["architecture"]
    return {name: _tried(ClassifierArchitecture("inverse", chosen["between"], chosen["after"], corners), settings)}


def _tried(architecture: ClassifierArchitecture, settings: Settings) -> Values:
    data, epochs = _data(settings), SEARCH_EFFORTS[settings.budget].search_epochs
    classifier = fit(architecture, data.train, data.levels, epochs=epochs, seed=0, device=settings.device)
    return {
        "architecture": asdict(architecture),
        "validation_accuracy": accuracy(classifier, data.validation, data.levels),
    }


def _measure(name: str, seed: int, settings: Settings) -> dict[str, Values]:
    architecture = _architectures(best(_so_far(settings), BY_CORNERS).values["architecture"])[name]
    data, epochs = _data(settings), SEARCH_EFFORTS[settings.budget].epochs
    start = time.perf_counter()
    classifier = fit(architecture, data.train, data.levels, epochs=epochs, seed=seed, device=settings.device)
    values: Values = {"seconds": time.perf_counter() - start, "title": data.title, "shape": data.event_shape}
    kernels = [kernel.detach() for kernel in classifier.kernels()]
    for split in ("train", "validation", "test"):
        values[f"{split}_accuracy"] = accuracy(classifier, getattr(data, split), data.levels)
    return {
        name: {
            **values,
            "architecture": asdict(architecture),
            "distance_from_affine": distance_from_affine(classifier, data.test, data.levels),
            "layer_parameters": classifier.taps.numel(),
            "parameters": sum(parameter.numel() for parameter in classifier.parameters()),
            "kernels": [kernel[0, 0].tolist() for kernel in kernels],
            "growth": [growth(kernel, data.event_shape[1:], unitriangular=True).actual for kernel in kernels],
        }
    }


def _architectures(chosen: Mapping[str, Any]) -> dict[str, ClassifierArchitecture]:
    between, after = tuple(chosen["between"]), tuple(chosen["after"])
    first, second = chosen["corners"]
    corners = (first, second)
    return {
        FULLY_CONNECTED: ClassifierArchitecture("none"),
        ACTIVATED: ClassifierArchitecture("none", between, after),
        LINEAR: ClassifierArchitecture("inverse", corners=corners),
        NONLINEAR: ClassifierArchitecture("inverse", between, after, corners),
        CONVOLUTIONS: ClassifierArchitecture("convolution", between, after, corners),
    }


EXPERIMENTS = (
    Experiment(
        name=_NAME,
        title="Classifier of 16 parameters",
        about="""
MNIST digits are classified by two inverse 3×3 convolutions, each with one channel and 8 parameters, and a fully
connected layer. Either inverse convolution may be followed by an activation without parameters. Candidates are compared
on held-out validation images. The test images are used only for the rows of the last table. All networks are fitted
alike. The causal convolutions are the maps that the inverse convolutions invert. They have as many parameters and use
the activations that were chosen for the inverses.""",
        tasks=_tasks,
        parts=parts,
        draw=draw,
        seeds={"smoke": 1, "quick": 3, "full": 3},
    ),
)
