"""Progress of a training run on the terminal."""

from __future__ import annotations

import sys
import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from tqdm import tqdm

from inverseflow.training.loop.module import FlowModule
from inverseflow.training.loop.recorder import Recorder

_SECONDS_BETWEEN_LINES = 30.0


class StepProgress(Callback):
    """Show a bar of training steps on a terminal, and lines elsewhere.

    Lightning's TQDMProgressBar counts batches of an epoch, and fills a log file with thousands of lines.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._validation = ""
        self._last_line = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the bar."""
        self._last_line = time.monotonic()
        total, made = trainer.max_steps, trainer.global_step
        self._bar: tqdm[Any] = tqdm(
            total=total, initial=made, desc="training", unit="step", dynamic_ncols=True, disable=None
        )

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Move the bar, or write a line if one is due."""
        if self._bar.disable:
            if time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
                self._line(trainer, pl_module)
            return
        if time.time() - self._bar.last_print_t >= self._bar.mininterval or trainer.global_step == trainer.max_steps:
            self._bar.set_postfix_str(self._text(pl_module), refresh=False)
        self._bar.update()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the validation."""
        self._validation = f", validation {float(trainer.callback_metrics['val_bits_per_dim']):.3f}"
        if self._bar.disable:
            self._line(trainer, pl_module)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remove the bar."""
        if hasattr(self, "_bar"):
            self._bar.close()

    def _line(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last_line = time.monotonic()
        print(f"step {trainer.global_step}/{trainer.max_steps}  {self._text(pl_module)}", file=sys.stderr, flush=True)

    def _text(self, pl_module: LightningModule) -> str:
        assert isinstance(pl_module, FlowModule)
        speed = "" if self._recorder.ms_per_step is None else f", {self._recorder.ms_per_step:.0f} ms/step"
        return f"{float(pl_module.train_bits_per_dim):.3f} bits/dim{self._validation}{speed}"
