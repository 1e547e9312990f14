"""Read checkpoints, load weights from them, and decide where a resumed run continues."""

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from inverseflow.densities.pretrained import shape_difference
from inverseflow.errors import CheckpointError, InverseFlowError, OptionError
from inverseflow.training.options import TrainOptions
from inverseflow.training.run.folder import Run, read_metrics

_RESUME_FIELDS = {
    "pytorch-lightning_version": str,
    "epoch": int,
    "loops": dict,
    "callbacks": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
}
_AVERAGE_FIELDS = {"current_model_state": dict, "averaging_state": dict}


@dataclass(frozen=True)
class Start:
    """Where a resumed run continues: a checkpoint and its step; sentences about it for the user."""

    path: Path
    step: int
    best_is_lost: bool
    notes: tuple[str, ...]


def find_start(run: Run, flow: nn.Module, options: TrainOptions) -> Start | None:
    """Return where a run continues, or None if it has not saved a checkpoint yet and starts from the first step.

    That is last.ckpt, or best.ckpt if last.ckpt is lost. Nothing is changed.
    """
    path, notes = run.last, []
    if not run.last.is_file():
        path, notes = run.best, [f"{run.last} is lost; the run continues from {run.best.name}"]
    if not path.is_file():
        _check_never_saved(run)
        return None
    try:
        checkpoint = read_checkpoint(path)
        difference = shape_difference(flow, flow_weights(checkpoint))
        if not difference:
            check_resumable(checkpoint, path, flow, averaged=options.optimizer.ema is not None)
    except CheckpointError as error:
        if path == run.last and run.best.is_file():
            raise CheckpointError(f"{error}; delete it to continue from {run.best.name}") from error
        raise
    if difference:
        raise CheckpointError(
            f"{path} is of another architecture: {difference}; a run resumes with the model that it was trained with: "
            "build that one, or train into another folder (--out)"
        )
    step = checkpoint["global_step"]
    if options.max_steps < step:
        raise OptionError(f"max_steps is {options.max_steps}, but the run has made {step} steps already")
    best_is_lost = False
    if path == run.last and checkpoint["callbacks"]["Checkpoints"].get("best_step") is not None:
        try:
            check_architecture(flow, flow_weights(read_checkpoint(run.best)), run.best)
        except CheckpointError as error:
            best_is_lost = True
            what = str(error) if run.best.is_file() else f"{run.best} is lost"
            notes.append(f"{what}; the best validation is found anew, from step {step} on")
    return Start(path, step, best_is_lost, tuple(notes))


def _check_never_saved(run: Run) -> None:
    settings = run.options()
    first_due = min(settings.checkpoint_every, settings.validate_every, settings.max_steps)
    rows = read_metrics(run.metrics) if run.metrics.is_file() else []
    made = max((int(row["step"]) for row in rows), default=0)
    if made > first_due or run.report.is_file() or run.model.is_dir():
        raise CheckpointError(
            f"{run.checkpoints} is lost, although the run has made {made} steps; put last.ckpt or best.ckpt back, or "
            "start anew with --overwrite"
        )


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint, on the CPU. Only plain data is read; no code is executed."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")  # the file is damaged: that is enough
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {reason(error)}") from error
    except Exception as error:  # damaged bytes make the unpickler raise errors of any type
        raise CheckpointError(f"{path} is damaged: it is truncated, or is not a checkpoint") from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise CheckpointError(f"{path} is damaged: it is not a checkpoint of a training run")
    weights, step = content["state_dict"], content.get("global_step")
    if not isinstance(weights, dict) or not all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in weights.items()
    ):
        raise CheckpointError(f"{path} is damaged: its state_dict is not a mapping from names to tensors")
    if type(step) is not int or step < 0:
        raise CheckpointError(f"{path} is damaged: its global_step is {'missing' if step is None else repr(step)}")
    current = content.get("current_model_state")
    for name, value in [*weights.items(), *(current.items() if isinstance(current, dict) else ())]:
        if isinstance(value, Tensor) and not torch.isfinite(value).all():
            raise CheckpointError(f"{path} is damaged: {name} has values that are not finite")
    return content


def check_resumable(checkpoint: Mapping[str, Any], path: Path, flow: nn.Module, *, averaged: bool) -> None:
    """Check that a checkpoint has what a resumed run needs.

    Lightning itself continues without what is missing: with a fresh optimizer, say, on another trajectory.
    """
    with naming_damage(path):
        for name, kind in (_RESUME_FIELDS | (_AVERAGE_FIELDS if averaged else {})).items():
            if not isinstance(checkpoint[name], kind):
                raise TypeError(f"{name} is of type {type(checkpoint[name]).__name__}")
        checkpoint["callbacks"]["Checkpoints"]
        (optimizer,), (_,) = checkpoint["optimizer_states"], checkpoint["lr_schedulers"]
        if not optimizer["state"]:
            raise ValueError("its optimizer has no state")
        shapes = {number: parameter.shape for number, parameter in enumerate(flow.parameters())}
        for number, moments in optimizer["state"].items():
            if number in shapes and any(moments[name].shape != shapes[number] for name in ("exp_avg", "exp_avg_sq")):
                raise ValueError(f"its optimizer's moments of parameter {number} are not of shape {shapes[number]}")
        if averaged:
            check_architecture(flow, flow_weights(checkpoint, "current_model_state"), path)
            checkpoint["averaging_state"]["n_averaged"]


@contextmanager
def naming_damage(path: Path, restoring: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Make errors about the content of a checkpoint name its file, while it is being restored."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        if isinstance(error, InverseFlowError) or not restoring():
            raise
        what = f"its field {error.args[0]} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise CheckpointError(f"{path} is damaged: {what}") from error


def load_weights(flow: nn.Module, path: Path) -> None:
    """Load the weights of a checkpoint into a flow: the averaged ones if training averaged them."""
    weights = flow_weights(read_checkpoint(path))
    check_architecture(flow, weights, path)
    flow.load_state_dict(weights)


def flow_weights(checkpoint: Mapping[str, Any], field: str = "state_dict") -> dict[str, Tensor]:
    """Return the weights of the flow in a checkpoint by their names in the flow."""
    return {name.removeprefix("flow."): value for name, value in checkpoint[field].items()}


def check_architecture(flow: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Check that weights by their names in the flow fit a flow; name the first difference."""
    if difference := shape_difference(flow, weights):
        raise CheckpointError(f"{path} is of another architecture: {difference}")


def reason(error: Exception) -> str:
    """Return what is wrong, in a few words."""
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno).lower()
    return " ".join(str(error).split()).split(". ")[0]
