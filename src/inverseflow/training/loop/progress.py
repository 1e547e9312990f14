"""Progress of a training run on the terminal."""

from __future__ import annotations

import sys
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from inverseflow.training.loop.module import FlowModule
from inverseflow.training.loop.recorder import Recorder


class StepProgress(ProgressBar):
    """Show a bar of training steps with bits per dimension and ms/step on a terminal, and lines elsewhere.

    Lightning's TQDMProgressBar counts batches of an epoch, and fills a log file with thousands of lines.

    Args:
        recorder: measures the time of a step.
        seconds_between_lines: time between two lines where there is no terminal.
    """

    def __init__(self, recorder: Recorder, seconds_between_lines: float = 30.0) -> None:
        super().__init__()
        self._recorder = recorder
        self._between = seconds_between_lines
        self._bar: tqdm[Any] | None = None
        self._validation: float | None = None
        self._last_line = 0.0

    def disable(self) -> None:
        """Write no lines; Lightning calls this on all ranks but the first."""
        self._between = float("inf")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the bar."""
        self._last_line = time.monotonic()
        if trainer.is_global_zero and sys.stderr.isatty():
            self._bar = tqdm(
                total=trainer.max_steps, initial=trainer.global_step, desc="training", unit="step", dynamic_ncols=True
            )

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Move the bar, or write a line if one is due."""
        if self._bar is not None:
            due = time.time() - self._bar.last_print_t >= self._bar.mininterval
            if due or trainer.global_step == trainer.max_steps:
                self._bar.set_postfix_str(self._text(pl_module), refresh=False)
            self._bar.update()
        elif time.monotonic() - self._last_line >= self._between:
            self._line(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the validation."""
        self._validation = float(trainer.callback_metrics["val_bits_per_dim"])
        if self._bar is None and trainer.is_global_zero:
            self._line(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the bar."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Remove the bar."""
        self._close()

    def _line(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last_line = time.monotonic()
        print(f"step {trainer.global_step}/{trainer.max_steps}  {self._text(pl_module)}", file=sys.stderr, flush=True)

    def _text(self, pl_module: LightningModule) -> str:
        validation = "" if self._validation is None else f", validation {self._validation:.3f}"
        assert isinstance(pl_module, FlowModule)
        speed = "" if self._recorder.ms_per_step is None else f", {self._recorder.ms_per_step:.0f} ms/step"
        return f"{float(pl_module.train_bits_per_dim):.3f} bits/dim{validation}{speed}"

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
