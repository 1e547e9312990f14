"""Keep the best model during training, in memory or as checkpoints: only whole files, and only finite models."""

from pathlib import Path
from typing import Any

from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, WeightAveraging
from torch import Tensor

from inverseflow.errors import CheckpointError, TrainingInterrupted
from inverseflow.training.loop.module import VALIDATED, FlowModule
from inverseflow.training.loop.process import StopRequest
from inverseflow.training.run.checkpoint import Start, flow_weights, reason
from inverseflow.training.run.folder import Run, read_metrics, validated
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


class BestModel(Checkpoint):
    """Keep the weights of the best validation in memory, and end the training in time.

    It ends after the last step, on request, and after `patience` validations in a row that are not the best so far;
    None waits forever. Its last step is always validated.
    """

    def __init__(self, stop: StopRequest, patience: int | None) -> None:
        self.best_value: float | None = None
        self.best_step: int | None = None
        self.weights: dict[str, Tensor] | None = None
        self._stop = stop
        self._patience = patience
        self._worse = 0

    @property
    def stopped_early(self) -> bool:
        """Whether the patience is at its end."""
        return self._patience is not None and self._worse >= self._patience

    def state_dict(self) -> dict[str, Any]:
        """Return the best validation so far, and the number of worse ones since."""
        return {"best_value": self.best_value, "best_step": self.best_step, "worse": self._worse}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let a signal request a stop from now on."""
        trainer.should_stop = self.stopped_early
        self._stop.listen()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Make Lightning validate the last step, at any interval, and stop."""
        if trainer.global_step >= trainer.max_steps or self._stop.requested:
            trainer.should_stop = True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the model if the validation was the best so far."""
        if self._is_best(trainer):
            assert isinstance(pl_module, FlowModule)
            pl_module.check_finite()
            checkpoint: dict[str, Any] = {"state_dict": pl_module.state_dict()}
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, WeightAveraging):
                    callback.on_save_checkpoint(trainer, pl_module, checkpoint)
            self.weights = {name: value.clone() for name, value in flow_weights(checkpoint).items()}

    def _is_best(self, trainer: Trainer) -> bool:
        value = float(trainer.callback_metrics[VALIDATED])
        better = self.best_value is None or value < self.best_value
        if better:
            self.best_value, self.best_step = value, trainer.global_step
        self._worse = 0 if better else self._worse + 1
        if self.stopped_early:
            trainer.should_stop = True
        return better


class Checkpoints(BestModel):
    """Save last.ckpt every `every` steps and with every validation, and best.ckpt at the best validation so far.

    Unlike Lightning's ModelCheckpoint it saves a validated step only after its validation, so that a resumed run never
    skips one, stops the run on request, and saves no model that is not finite.
    """

    def __init__(
        self, run: Run, every: int, stop: StopRequest, lock: RunLock, start: Start | None, patience: int | None = None
    ) -> None:
        super().__init__(stop, patience)
        self.started = False
        self._run = run
        self._every = every
        self._lock = lock
        self._start = start
        self._stopping = False

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with what `state_dict` returned, unless best.ckpt is lost."""
        value, step = state_dict["best_value"], state_dict["best_step"]
        if value is not None and not (self._start is not None and self._start.best_is_lost):
            self.best_value, self.best_step = float(value), int(step)
            self._worse = int(state_dict.get("worse", 0))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that the restored loops agree with the checkpoint, and let a signal request a stop from now on."""
        if self._start is not None and self._start.step != trainer.global_step:
            raise CheckpointError(
                f"{self._start.path} is damaged: its global_step is {self._start.step}, "
                f"but its loops have made {trainer.global_step} steps"
            )
        self.started = True
        super().on_train_start(trainer, pl_module)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
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
            trainer.should_stop = True
        validates = trainer.should_stop or trainer.global_step % int(trainer.val_check_interval) == 0
        if not validates and (self._stopping or trainer.global_step % self._every == 0):
            self._save(trainer, pl_module, self._run.last)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save best.ckpt if the validation was the best so far, then last.ckpt."""
        best = [self._run.best] if self._is_best(trainer) else []
        self._save(trainer, pl_module, *best, self._run.last)

    def exported(self, last_step: int) -> tuple[Path, int, float]:
        """Return the checkpoint to export after training, its step and its value in validation."""
        if self.best_step is not None and self.best_value is not None:
            return self._run.best, self.best_step, self.best_value
        values = validated(read_metrics(self._run.metrics))  # best.ckpt is lost, and no step was made
        if not values:
            raise CheckpointError(
                f"{self._run.best} is lost; make the run longer with --max-steps to validate it again"
            )
        return self._run.last, last_step, values[-1]  # the last step was validated

    def _save(self, trainer: Trainer, pl_module: LightningModule, *paths: Path) -> None:
        assert isinstance(pl_module, FlowModule)
        pl_module.check_finite()
        self._lock.check()
        for path in paths:
            trainer.save_checkpoint(path)
