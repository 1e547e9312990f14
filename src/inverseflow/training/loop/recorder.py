"""Measure training steps and record them in metrics.csv and TensorBoard."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from inverseflow.training.loop.module import FlowModule
from inverseflow.training.run.metrics import append_metrics

_WARM_UP = 2  # steps that are slower because memory and kernels are being prepared


class Recorder(Callback):
    """Record a row every `every` steps and with every validation, and the time in training over all resumptions.

    Lightning's times include validation and checkpoints and start anew in a resumed run, and so does its CSVLogger.
    """

    def __init__(self, metrics: Path, every: int) -> None:
        self.seconds = 0.0
        self._metrics = metrics
        self._every = every
        self._resumed_at = 0
        self._last_time = 0.0
        self._learning_rate = 0.0
        self._window: list[float] = []
        self._total = 0.0
        self._counted = 0

    @property
    def ms_per_step(self) -> float | None:
        """Mean time of a step, fetching its images included, validation and checkpoints left out; None at first."""
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
        if step > self._resumed_at + _WARM_UP:
            self._total += self._window[-1]
            self._counted += 1
        if step % self._every == 0 or step in (1, trainer.max_steps):
            row = {
                "train_bits_per_dim": float(pl_module.train_bits_per_dim),
                "learning_rate": float(self._learning_rate),
                "gradient_norm": float(pl_module.gradient_norm),
                "ms_per_step": 1e3 * sum(self._window) / len(self._window),
            }
            self._window.clear()
            self._record(trainer, row)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the validation."""
        self._record(trainer, {"val_bits_per_dim": float(trainer.callback_metrics["val_bits_per_dim"])})

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self._count_seconds()

    def _count_seconds(self) -> None:
        now = time.perf_counter()
        self.seconds += now - self._last_time
        self._last_time = now

    def _record(self, trainer: Trainer, row: dict[str, float]) -> None:
        row = {name: value for name, value in row.items() if math.isfinite(value)}
        if trainer.is_global_zero:
            append_metrics(self._metrics, {"step": trainer.global_step, **row})
        for logger in trainer.loggers:
            logger.log_metrics(row, step=trainer.global_step)
