"""Write checkpoints during training: complete files, and none of a model that is not finite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from inverseflow.errors import CheckpointError, TrainingInterrupted
from inverseflow.training.loop.module import FlowModule
from inverseflow.training.loop.signals import StopRequest
from inverseflow.training.run import Run
from inverseflow.training.run.checkpoint import read_checkpoint, reason
from inverseflow.training.run.lock import RunLock
from inverseflow.training.run.start import Start
from inverseflow.utils.files import write_torch


class AtomicCheckpointIO(CheckpointIO):
    """Write checkpoints atomically, and read only plain data.

    Lightning's own writer renames a complete file, too. This one also syncs it to the disk, and its errors say
    which file could not be written and whether the previous one is complete.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Raises:
            CheckpointError: if it cannot be written. A previous file at `path` is untouched.
        """
        path = Path(path)
        try:
            write_torch(path, checkpoint)
        except (OSError, RuntimeError) as error:
            kept = "the previous one is complete" if path.exists() else "there is no previous one"
            raise CheckpointError(f"cannot write the checkpoint {path}: {reason(error)}; {kept}") from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read a checkpoint, on the CPU."""
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint, if it exists."""
        Path(path).unlink(missing_ok=True)


class Checkpoints(Checkpoint):
    """Save last.ckpt at regular steps and with every validation, and best.ckpt at the best validation so far.

    Unlike Lightning's ModelCheckpoint it saves a validated step only after its validation, so that a resumed run never
    skips one, stops the run on request, and saves no model that is not finite.

    Attributes:
        best_value: bits per dimension of the best validation, None before the first.
        best_step: its step.
        last_value: bits per dimension of the last validation.
        last_step: its step.

    Args:
        run: the run folder.
        every: training steps between two checkpoints.
        stop: tells whether the run is to be stopped after the current step.
        lock: the lock of the run folder; None on all ranks but the first.
        start: where a resumed run continues, None for a new run.
    """

    def __init__(self, run: Run, every: int, stop: StopRequest, lock: RunLock | None, start: Start | None) -> None:
        self.best_value: float | None = None
        self.best_step: int | None = None
        self.last_value: float | None = None
        self.last_step: int | None = None
        self.started = False
        self._run = run
        self._every = every
        self._stop = stop
        self._lock = lock
        self._start = start
        self._stopping = False

    def state_dict(self) -> dict[str, Any]:
        """Return the best and the last validation so far."""
        return {
            "best_value": self.best_value,
            "best_step": self.best_step,
            "last_value": self.last_value,
            "last_step": self.last_step,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with what `state_dict` returned."""
        if self._start is None or not self._start.best_is_lost:
            self.best_value = _optional(float, state_dict["best_value"])
            self.best_step = _optional(int, state_dict["best_step"])
        self.last_value = _optional(float, state_dict.get("last_value"))
        self.last_step = _optional(int, state_dict.get("last_step"))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let a signal request a stop from now on, instead of stopping at once.

        Raises:
            CheckpointError: if the restored loops have made another number of steps than the checkpoint says.
        """
        if self._start is not None and self._start.step != trainer.global_step:
            raise CheckpointError(
                f"{self._start.path} is damaged: its global_step is {self._start.step}, "
                f"but its loops have made {trainer.global_step} steps"
            )
        self.started = True
        self._stop.listen()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Tensor, batch_idx: int) -> None:
        """Stop the run if that was requested during the previous step, which is saved and recorded by now.

        Raises:
            TrainingInterrupted: if a stop was requested.
            RunError: if the run folder was removed.
        """
        if self._stopping:
            raise TrainingInterrupted(f"stopped after step {trainer.global_step}")
        self._check_folder()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Save last.ckpt if it is due, unless the step is still to be validated."""
        self._stopping = self._stop.requested
        if trainer.world_size > 1:
            self._stopping = trainer.strategy.reduce_boolean_decision(self._stopping, all=False)
        if trainer.global_step >= trainer.max_steps:
            trainer.should_stop = True  # makes Lightning validate the last step, at any interval
        if not validates(trainer) and (self._stopping or trainer.global_step % self._every == 0):
            self._save(trainer, pl_module, self._run.last)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save best.ckpt if the validation was the best so far, then last.ckpt."""
        value = float(trainer.callback_metrics["val_bits_per_dim"])
        self.last_value, self.last_step = value, trainer.global_step
        paths = [self._run.last]
        if self.best_value is None or value < self.best_value:
            self.best_value, self.best_step = value, trainer.global_step
            paths.insert(0, self._run.best)
        self._save(trainer, pl_module, *paths)

    def exported(self) -> tuple[Path, int, float]:
        """Return the checkpoint to export after training, its step and its bits per dimension in validation.

        Raises:
            CheckpointError: if no validated checkpoint is left.
        """
        if self.best_step is not None and self.best_value is not None:
            return self._run.best, self.best_step, self.best_value
        if self.last_step is not None and self.last_value is not None:  # the last step is always validated
            return self._run.last, self.last_step, self.last_value
        raise CheckpointError(
            f"{self._run.best} is lost, and nothing tells how good {self._run.last.name} is; "
            "make the run longer with --max-steps to validate it again"
        )

    def _check_folder(self) -> None:
        if self._lock is not None:
            self._lock.check()

    def _save(self, trainer: Trainer, pl_module: LightningModule, *paths: Path) -> None:
        assert isinstance(pl_module, FlowModule)
        pl_module.check_finite()
        self._check_folder()
        for path in paths:
            trainer.save_checkpoint(path)


def validates(trainer: Trainer) -> bool:
    """Return whether the current step is followed by a validation."""
    interval = trainer.val_check_interval
    return trainer.global_step >= trainer.max_steps or trainer.global_step % int(interval) == 0


def _optional(kind: type, value: Any) -> Any:
    return None if value is None else kind(value)
