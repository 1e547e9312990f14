"""Write checkpoints during training: only whole files, and only of finite models."""

from pathlib import Path
from typing import Any

from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from inverseflow.errors import CheckpointError, TrainingInterrupted
from inverseflow.training.loop.module import FlowModule
from inverseflow.training.loop.process import StopRequest
from inverseflow.training.run.checkpoint import Start, reason
from inverseflow.training.run.folder import Run, read_metrics
from inverseflow.training.run.lock import RunLock
from inverseflow.utils.files import write_torch


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write checkpoints atomically.

    Lightning's own stages a file in the system's temporary folder, from where moving it need not be atomic.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint; raise CheckpointError if it cannot be written, and leave the previous one untouched."""
        path = Path(path)
        try:
            write_torch(path, checkpoint)
        except (OSError, RuntimeError) as error:
            kept = "the previous one is complete" if path.exists() else "there is no previous one"
            raise CheckpointError(f"cannot write the checkpoint {path}: {reason(error)}; {kept}") from error


class Checkpoints(Checkpoint):
    """Save last.ckpt every `every` steps and with every validation, and best.ckpt at the best validation so far.

    Unlike Lightning's ModelCheckpoint it saves a validated step only after its validation, so that a resumed run never
    skips one, stops the run on request, and saves no model that is not finite.
    """

    def __init__(self, run: Run, every: int, stop: StopRequest, lock: RunLock, start: Start | None) -> None:
        self.best_value: float | None = None
        self.best_step: int | None = None
        self.started = False
        self._run = run
        self._every = every
        self._stop = stop
        self._lock = lock
        self._start = start
        self._stopping = False

    def state_dict(self) -> dict[str, Any]:
        """Return the best validation so far."""
        return {"best_value": self.best_value, "best_step": self.best_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with what `state_dict` returned, unless best.ckpt is lost."""
        value, step = state_dict["best_value"], state_dict["best_step"]
        if value is not None and not (self._start is not None and self._start.best_is_lost):
            self.best_value, self.best_step = float(value), int(step)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that the restored loops agree with the checkpoint, and let a signal request a stop from now on."""
        if self._start is not None and self._start.step != trainer.global_step:
            raise CheckpointError(
                f"{self._start.path} is damaged: its global_step is {self._start.step}, "
                f"but its loops have made {trainer.global_step} steps"
            )
        self.started = True
        self._stop.listen()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Tensor, batch_idx: int) -> None:
        """Stop the run if that was requested during the previous step, which is saved and recorded by now."""
        if self._stopping:
            raise TrainingInterrupted(f"stopped after step {trainer.global_step}")
        self._lock.check()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Save last.ckpt if it is due, unless the step is still to be validated."""
        if self._start is not None and trainer.global_step == self._start.step + 1 and trainer.is_global_zero:
            self._run.remove_results()  # of the finished run that is being extended
        self._stopping = self._stop.requested
        if trainer.world_size > 1:
            self._stopping = trainer.strategy.reduce_boolean_decision(self._stopping, all=False)
        if trainer.global_step >= trainer.max_steps:
            trainer.should_stop = True  # makes Lightning validate the last step, at any interval
        validates = trainer.should_stop or trainer.global_step % int(trainer.val_check_interval) == 0
        if not validates and (self._stopping or trainer.global_step % self._every == 0):
            self._save(trainer, pl_module, self._run.last)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save best.ckpt if the validation was the best so far, then last.ckpt."""
        value = float(trainer.callback_metrics["val_bits_per_dim"])
        paths = [self._run.last]
        if self.best_value is None or value < self.best_value:
            self.best_value, self.best_step = value, trainer.global_step
            paths.insert(0, self._run.best)
        self._save(trainer, pl_module, *paths)

    def exported(self, last_step: int) -> tuple[Path, int, float]:
        """Return the checkpoint to export after training, its step and its bits per dimension in validation."""
        if self.best_step is not None and self.best_value is not None:
            return self._run.best, self.best_step, self.best_value
        rows = read_metrics(self._run.metrics)  # best.ckpt is lost, and no step was made; the last one was validated
        values = [row["val_bits_per_dim"] for row in rows if "val_bits_per_dim" in row]
        if not values:
            raise CheckpointError(
                f"{self._run.best} is lost; make the run longer with --max-steps to validate it again"
            )
        return self._run.last, last_step, values[-1]

    def _save(self, trainer: Trainer, pl_module: LightningModule, *paths: Path) -> None:
        assert isinstance(pl_module, FlowModule)
        pl_module.check_finite()
        self._lock.check()
        for path in paths:
            trainer.save_checkpoint(path)
