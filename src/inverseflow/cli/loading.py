"""The flow, the data and the state of a run, as every command about a run needs them."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from inverseflow.errors import CheckpointError
from inverseflow.training.run import Run

if TYPE_CHECKING:
    import torch

    from inverseflow.data import Images, ImageSplits
    from inverseflow.flows import Flow


def load_flow(run: Run, device: str) -> Flow:
    """Load the trained flow of a run, and say so on standard error if the run is unfinished."""
    from inverseflow import training
    from inverseflow.utils.device import find_device

    where = find_device(device)
    flow = training.load_flow(run).to(where).eval()
    state = unfinished(run)
    if state is not None:
        print(f"inverseflow: {run.path} is {state}", file=sys.stderr)
    return flow


def load_data(run: Run, data_dir: Path | None = None) -> ImageSplits:
    """Load the images of a run."""
    from inverseflow import training

    options = run.options()
    return training.load_data(options if data_dir is None else replace(options, data_dir=data_dir))


def sample_images(images: Images, count: int, seed: int) -> torch.Tensor:
    """Return `count` different images, chosen by the seed, (count, C, H, W)."""
    import torch

    return images.__getitems__(torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:count])


def unfinished(run: Run) -> str | None:
    """Return how far an unfinished run has come and which weights it offers, or None if the run is finished."""
    goal = run.options().max_steps
    if run.model.is_dir():
        try:
            report = json.loads(run.report.read_text("utf-8"))
            steps, best = int(report["steps"]), int(report["best_step"])
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
