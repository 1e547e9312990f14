"""The model, the data and the state of a run, as every command about a run needs them."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from inverseflow.errors import CheckpointError, RunError
from inverseflow.training.run import Run

if TYPE_CHECKING:
    from inverseflow.data import Batch, Examples, Splits
    from inverseflow.densities import Density
    from inverseflow.flows import Flow


def load_density(run: Run, device: str) -> Density:
    """Load the trained density of a run, and say so on standard error if the run is unfinished."""
    from inverseflow import training
    from inverseflow.utils.device import find_device

    where = find_device(device)
    density = training.load_density(run).to(where).eval()
    state = unfinished(run)
    if state is not None:
        print(f"inverseflow: {run.path} is {state}", file=sys.stderr)
    return density


def load_image_flow(run: Run, device: str, purpose: str) -> Flow:
    """Load the trained flow of a run on images; `purpose` is what else can't be done, in errors."""
    from inverseflow import training
    from inverseflow.flows import Flow

    data = training.describe(run)
    if data.levels is None or len(data.event_shape) != 3:
        raise RunError(f"{run.path} holds a model of {data.title}, not of images; only images can be {purpose}")
    density = load_density(run, device)
    if not isinstance(density, Flow):
        name = run.options().model.name
        raise RunError(f"a {name} has no inverse, so that no images can be {purpose}; train a flow, such as glow")
    return density


def load_data(run: Run, data_dir: Path | None = None) -> Splits[Examples]:
    """Load the data of a run; raise DataError if they mean something else than when it was trained."""
    from inverseflow import training
    from inverseflow.training.run.description import Description

    options, known = run.options(), run.description()
    data = training.load_data(options if data_dir is None else replace(options, data_dir=data_dir))
    if known is not None:
        known.check_same(Description.of(data), run.path)
    return data


def choose_images(images: Examples, count: int, seed: int) -> Batch:
    """Return `count` different images with their contexts, chosen by the seed."""
    import torch

    return images.batch(torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:count])


def unfinished(run: Run) -> str | None:
    """Return how far an unfinished run has come and which weights it offers, or None if the run is finished."""
    goal = run.options().max_steps
    if run.model.is_dir():
        try:
            report = json.loads(run.report.read_text("utf-8"))
            steps, best = int(report["steps"]), int(report["best_step"])
            steps = goal if report.get("stopped_early") else steps
        except (OSError, ValueError, TypeError, KeyError):
            return None  # the model is whole, and nothing tells how many steps it lacks
        return None if steps >= goal else f"unfinished: step {steps} of {goal}; using the model of step {best}"
    used = run.best if run.best.is_file() else run.last
    last, used_step = _step(run.last), _step(used)
    progress = "last.ckpt is missing or damaged" if last is None else f"step {last} of {goal}"
    return f"unfinished: {progress}; using {used.name}" + ("" if used_step is None else f" of step {used_step}")


def _step(checkpoint: Path) -> int | None:
    """Return the training step of a checkpoint, None if it is missing or damaged."""
    from inverseflow.training.run.checkpoint import read_checkpoint

    try:
        return int(read_checkpoint(checkpoint)["global_step"])
    except (CheckpointError, KeyError):
        return None
