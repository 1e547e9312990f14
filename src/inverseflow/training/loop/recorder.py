"""Measure training steps and give them to the loggers."""

from __future__ import annotations

import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from inverseflow.training.loop.module import FlowModule


class Recorder(Callback):
    """Measure time, and give the loggers a row at regular steps and with every validation.

    Lightning logs by itself, but its times include validation and checkpoints, and start anew in a resumed run.

    Attributes:
        seconds: time spent in training, validation included, summed over all processes of a resumed run.

    Args:
        every: training steps between two rows.
    """

    warm_up = 2  # steps that are slower because memory and kernels are being prepared

    def __init__(self, every: int) -> None:
        self.every = every
        self.seconds = 0.0
        self._resumed_at = 0
        self._last_time = 0.0
        self._learning_rate = 0.0
        self._window: list[float] = []
        self._total = 0.0
        self._counted = 0

    @property
    def ms_per_step(self) -> float | None:
        """Mean time of a step in milliseconds, fetching its images included, validation and checkpoints left out.

        None before the first measurement.
        """
        return 1e3 * self._total / self._counted if self._counted else None

    def state_dict(self) -> dict[str, Any]:
        """Return the times so far."""
        self._count_seconds()
        return {"seconds": self.seconds, "total": self._total, "counted": self._counted}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with times that `state_dict` returned."""
        self.seconds, self._total = float(state_dict["seconds"]), float(state_dict["total"])
        self._counted = int(state_dict["counted"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._resumed_at = trainer.global_step
        self._last_time = time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Tensor, batch_idx: int) -> None:
        """Remember the learning rate of the step."""
        self._learning_rate = trainer.optimizers[0].param_groups[0]["lr"]  # the schedule moves on before the step ends

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Record the step if a row is due."""
        assert isinstance(pl_module, FlowModule)
        step = trainer.global_step
        self._window.append(time.perf_counter() - pl_module.step_began)
        if step > self._resumed_at + self.warm_up:
            self._total += self._window[-1]
            self._counted += 1
        if step % self.every == 0 or step in (1, trainer.max_steps):
            row = {
                "train_bits_per_dim": float(pl_module.train_bits_per_dim),
                "learning_rate": float(self._learning_rate),
                "gradient_norm": float(pl_module.gradient_norm),
                "ms_per_step": 1e3 * sum(self._window) / len(self._window),
            }
            self._window.clear()
            _record(trainer, row)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the validation."""
        _record(trainer, {"val_bits_per_dim": float(trainer.callback_metrics["val_bits_per_dim"])})

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self._count_seconds()

    def _count_seconds(self) -> None:
        now = time.perf_counter()
        self.seconds += now - self._last_time
        self._last_time = now


def _record(trainer: Trainer, row: dict[str, float]) -> None:
    for logger in trainer.loggers:
        logger.log_metrics(row, step=trainer.global_step)
