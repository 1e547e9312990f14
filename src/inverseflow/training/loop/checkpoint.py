"""Checkpoints that are whole or not there."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor, nn

from inverseflow.errors import CheckpointError, TrainingInterrupted
from inverseflow.training.loop.signals import StopRequest
from inverseflow.utils.files import write_torch


class AtomicCheckpointIO(CheckpointIO):
    """Writes a checkpoint beside the previous one and renames it when it is whole. Reads only plain data."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Writes `checkpoint` to `path`.

        Raises:
            CheckpointError: If it cannot be written. What was at `path` before is still there.
        """
        path = Path(path)
        try:
            write_torch(path, checkpoint)
        except (OSError, RuntimeError) as error:
            kept = "the previous one is whole" if path.exists() else "there is no earlier one"
            raise CheckpointError(f"cannot write the checkpoint {path}: {_reason(error)}; {kept}") from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Reads the checkpoint at `path`, on the CPU."""
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        """Removes the checkpoint at `path`, if there is one."""
        Path(path).unlink(missing_ok=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU.

    Raises:
        CheckpointError: If there is none, or it is truncated, or it is something else.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {_reason(error)}") from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} is truncated, or is not a checkpoint") from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise CheckpointError(f"{path} is not a checkpoint of a training run")
    return content


def load_weights(flow: nn.Module, checkpoint: Mapping[str, Any], path: Path) -> None:
    """Gives `flow` the weights in `checkpoint`: the averaged ones, if an average was kept.

    Raises:
        CheckpointError: If the weights are those of another architecture.
    """
    check_architecture(flow, checkpoint, path)
    flow.load_state_dict(_flow_weights(checkpoint))


def check_architecture(flow: nn.Module, checkpoint: Mapping[str, Any], path: Path) -> None:
    """Checks that the weights in `checkpoint` fit `flow`.

    Raises:
        CheckpointError: If they don't. The message names the first difference.
    """
    own, saved = flow.state_dict(), _flow_weights(checkpoint)
    for name in [*own, *(name for name in saved if name not in own)]:
        if name not in saved:
            difference = f"it has no {name}"
        elif name not in own:
            difference = f"it has {name}, which the model has not"
        elif own[name].shape != saved[name].shape:
            difference = f"{name} is {tuple(saved[name].shape)} in it and {tuple(own[name].shape)} in the model"
        else:
            continue
        raise CheckpointError(f"{path} is of another architecture: {difference}")


class Checkpoints(Checkpoint):
    """Saves last.ckpt every so many steps and with every validation, and best.ckpt at the best validation so far.

    A step that is validated is saved after its validation, so that a resumed run has never skipped one. When a stop is
    requested, saves after the current step and stops the run.

    Args:
        folder: Where the checkpoints lie.
        every: Steps between two checkpoints.
        stop: Tells whether somebody asked to stop.
    """

    def __init__(self, folder: Path, every: int, stop: StopRequest) -> None:
        self.last = folder / "last.ckpt"
        self.best = folder / "best.ckpt"
        self.every = every
        self.best_value: float | None = None
        self.best_step: int | None = None
        self._stop = stop
        self._stopping = False

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to know of the best validation so far."""
        return {"best_value": self.best_value, "best_step": self.best_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over what `state_dict` gave."""
        self.best_value, self.best_step = state_dict["best_value"], state_dict["best_step"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on a signal asks to stop, instead of stopping."""
        self._stop.listen()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Tensor, batch_idx: int) -> None:
        """Stops the run, if that was requested during the step before, which by now is saved and recorded.

        Raises:
            TrainingInterrupted: To end the run.
        """
        if self._stopping:
            raise TrainingInterrupted(f"stopped after step {trainer.global_step}")

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Saves last.ckpt when it is time, unless the step is still to be validated."""
        self._stopping = self._stop.requested
        if trainer.world_size > 1:
            self._stopping = trainer.strategy.reduce_boolean_decision(self._stopping, all=False)
        if trainer.global_step >= trainer.max_steps:
            trainer.should_stop = True  # makes Lightning validate the last step, whatever the interval
        if not validates(trainer) and (self._stopping or trainer.global_step % self.every == 0):
            trainer.save_checkpoint(self.last)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves best.ckpt if the validation was the best so far, then last.ckpt."""
        value = float(trainer.callback_metrics["val_bits_per_dim"])
        if self.best_value is None or value < self.best_value:
            self.best_value, self.best_step = value, trainer.global_step
            trainer.save_checkpoint(self.best)
        trainer.save_checkpoint(self.last)


def validates(trainer: Trainer) -> bool:
    """Whether the step that was just made is followed by a validation."""
    interval = trainer.val_check_interval
    return trainer.global_step >= trainer.max_steps or trainer.global_step % int(interval) == 0


def _flow_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = checkpoint["state_dict"]
    return {name.removeprefix("flow."): value for name, value in weights.items()}


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno).lower()
    return " ".join(str(error).split()).split(". ")[0]
