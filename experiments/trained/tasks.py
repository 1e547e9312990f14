"""Measurements of a table of trained flows: training with each seed, speed, and samples."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial

import torch

from experiments.experiment import Settings, Task
from experiments.result import Values
from experiments.speed import EFFORTS, measure_speed, reconstruction_errors
from experiments.trained.table import TrainedTable
from experiments.trained.training import fixed, images, train_line, trained_flow
from inverseflow.flows import Flow
from inverseflow.training.options import TrainOptions
from inverseflow.utils.seeding import seeded

SPEED = "speed"
SAMPLES = "samples"
SEED = "seed "


def tasks(definition: TrainedTable, settings: Settings) -> list[Task]:
    """Return the measurements: each line with each seed, then speed and samples of all lines.

    Args:
        definition: the table.
        settings: settings of the experiment.
    """
    assert settings.seeds is not None
    test_images = definition.test_images(settings.budget)
    planned = []
    for seed in range(settings.seeds):
        for line in definition.lines:
            options = definition.options(line, seed, settings)
            measure = partial(train_one, line.name, options, test_images)
            planned.append(Task(f"{SEED}{seed}", {line.name: {**fixed(options), "test_images": test_images}}, measure))
    first = {line.name: definition.options(line, 0, settings) for line in definition.lines}
    shared = {
        "effort": asdict(EFFORTS[settings.budget]),
        "beside": list(first),
        "round_trip_in": ["float32", "float64"],
    }
    planned.append(
        Task(
            SPEED,
            {name: {**fixed(options), **shared} for name, options in first.items()},
            partial(_measure_speed, first, test_images, settings),
        )
    )
    count = EFFORTS[settings.budget].batch
    planned.append(
        Task(
            SAMPLES,
            {name: {**fixed(options), "count": count} for name, options in first.items()},
            partial(_count_finite, first, test_images, count, settings),
        )
    )
    return planned


def train_one(name: str, options: TrainOptions, test_images: int | None) -> dict[str, Values]:
    """Return the result of `train_line` by the name of the line, as a task does."""
    return {name: train_line(options, test_images)}


def _measure_speed(
    options: Mapping[str, TrainOptions], test_images: int | None, settings: Settings
) -> dict[str, Values]:
    some = next(iter(options.values()))
    data = images(some.data, some.data_dir, test_images)
    flows = {name: trained_flow(each, test_images) for name, each in options.items()}
    effort = EFFORTS[settings.budget]
    some_images = data.test.__getitems__(range(effort.batch))
    values = measure_speed(flows, some_images, effort, settings.device)
    for name, flow in flows.items():
        errors = reconstruction_errors(flow.double().to(settings.device), some_images.to(settings.device))
        values[name]["round_trip_error_float64"] = float(errors.max())
    return values


def _count_finite(
    options: Mapping[str, TrainOptions], test_images: int | None, count: int, settings: Settings
) -> dict[str, Values]:
    flows = {name: trained_flow(each, test_images).to(settings.device) for name, each in options.items()}
    return {name: {"count": count, "finite": finite_samples(flow, count)} for name, flow in flows.items()}


@torch.no_grad()
def finite_samples(flow: Flow, count: int) -> int:
    """Draw samples without rounding them to gray levels, and return how many are finite.

    Args:
        flow: the flow.
        count: number of samples.

    Example:
        >>> from inverseflow.flows import Glow
        >>> finite_samples(Glow((1, 4, 4), levels=17, scales=1, steps=1, width=4), 3)
        3
    """
    continuous = copy.deepcopy(flow).eval()
    continuous.dequantize = None
    with seeded(0, "samples"):
        return int(continuous.sample(count).isfinite().flatten(1).all(1).sum())
