"""Decide where a resumed run continues."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from inverseflow.errors import CheckpointError, OptionError
from inverseflow.training.options import TrainOptions
from inverseflow.training.run.checkpoint import check_architecture, check_resumable, flow_weights, read_checkpoint
from inverseflow.training.run.folder import Run
from inverseflow.training.run.metrics import read_metrics


@dataclass(frozen=True)
class Start:
    """Where a resumed run continues."""

    path: Path
    """The checkpoint."""
    step: int
    """Its training step."""
    best_is_lost: bool
    """Whether the best validation has to be found anew, because best.ckpt is lost."""
    notes: tuple[str, ...]
    """What the user should know about it, a sentence each."""


def find_start(run: Run, flow: nn.Module, options: TrainOptions) -> Start | None:
    """Return where a run continues, or None if it has not saved a checkpoint yet and starts from the first step.

    That is last.ckpt, or best.ckpt if last.ckpt is lost. Nothing is changed.

    Args:
        run: the run folder, which holds a run.
        flow: the flow to train.
        options: the settings to continue with.

    Raises:
        CheckpointError: if the checkpoints are lost, damaged or of another architecture.
        OptionError: if the run has made more steps than it is to make.
    """
    if run.last.is_file():
        path, notes = run.last, []
    elif run.best.is_file():
        path, notes = run.best, [f"{run.last} is lost; the run continues from {run.best.name}"]
    else:
        _check_never_saved(run)
        return None
    with _naming_the_other(run, path):
        checkpoint = read_checkpoint(path)
    check_architecture(flow, flow_weights(checkpoint), path)
    with _naming_the_other(run, path):
        check_resumable(checkpoint, path, flow, averaged=options.optimizer.ema is not None)
    step = checkpoint["global_step"]
    if options.max_steps < step:
        raise OptionError(f"max_steps is {options.max_steps}, but the run has made {step} steps already")
    lost = None if path == run.best else _why_best_is_lost(run, flow, checkpoint["callbacks"])
    if lost is not None:
        notes.append(f"{lost}; the best validation is found anew, from step {step} on")
    return Start(path, step, lost is not None, tuple(notes))


@contextmanager
def _naming_the_other(run: Run, path: Path) -> Iterator[None]:
    """Add to an error about last.ckpt how to continue from best.ckpt."""
    try:
        yield
    except CheckpointError as error:
        if path == run.last and run.best.is_file():
            raise CheckpointError(f"{error}; delete it to continue from {run.best.name}") from error
        raise


def _why_best_is_lost(run: Run, flow: nn.Module, callbacks: dict[str, dict[str, object]]) -> str | None:
    saved = callbacks.get("Checkpoints")
    if not isinstance(saved, dict) or saved.get("best_step") is None:
        return None  # no validation yet
    if not run.best.is_file():
        return f"{run.best} is lost"
    try:
        check_architecture(flow, flow_weights(read_checkpoint(run.best)), run.best)
    except CheckpointError as error:
        return str(error)
    return None


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
