"""What Lightning does after each step and validation: average the weights, record the numbers, show the progress."""

import math
import sys
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, WeightAveraging
from torch import Tensor
from tqdm import tqdm

from inverseflow.training.loop.module import VALIDATED, FlowModule
from inverseflow.training.run.folder import append_metrics

_WARM_UP = 2  # steps that are slower because memory and kernels are being prepared
_SECONDS_BETWEEN_LINES = 30.0


class AveragedWeights(WeightAveraging):
    """Average the weights exponentially, with buffers copied: they hold indices and flags.

    Unlike in Lightning's EMAWeightAveraging the decay grows as (1 + n) / (10 + n) up to `decay`, so that a short run
    forgets its first weights, too.
    """

    def __init__(self, decay: float) -> None:
        def average(averaged: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
            n = int(updates)
            return averaged.lerp(current, 1 - min(decay, (1 + n) / (10 + n)))

        super().__init__(use_buffers=False, avg_fn=average)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make the average in the dtype that the weights are about to get."""
        super().setup(trainer, pl_module, stage)
        if self._average_model is not None:
            trainer.precision_plugin.convert_module(self._average_model)


class Recorder(Callback):
    """Record a row every `every` steps and with every validation: in memory, in metrics.csv and by the loggers.

    Lightning's CSVLogger starts the file of a resumed run anew.
    """

    def __init__(self, metrics: Path | None, every: int) -> None:
        self.ms_per_step: float | None = None
        self.rows: list[dict[str, float]] = []
        self._metrics = metrics
        self._every = every
        self._measured_from = 0
        self._learning_rate = 0.0
        self._window: list[float] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave out the first steps of a resumed run from its times, too."""
        self._measured_from = trainer.global_step + _WARM_UP

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Remember the learning rate of the step."""
        self._learning_rate = trainer.optimizers[0].param_groups[0]["lr"]  # the schedule moves on before the step ends

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Record the step if a row is due, with the mean time of the steps since the last one."""
        assert isinstance(pl_module, FlowModule)
        step = trainer.global_step
        if step > self._measured_from:
            self._window.append(1e3 * (time.perf_counter() - pl_module.step_began))
            self.ms_per_step = sum(self._window) / len(self._window)
        if step % self._every == 0 or step in (1, trainer.max_steps):
            row = {
                **{f"train_{name}": float(term) for name, term in pl_module.terms.items()},
                "learning_rate": float(self._learning_rate),
                "gradient_norm": float(pl_module.gradient_norm),
                "ms_per_step": math.nan if self.ms_per_step is None else self.ms_per_step,
            }
            self._window.clear()
            self._record(trainer, row)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the validation."""
        metrics = trainer.callback_metrics.items()
        self._record(trainer, {name: float(value) for name, value in metrics if name.startswith("val_")})

    def _record(self, trainer: Trainer, row: dict[str, float]) -> None:
        row = {name: value for name, value in row.items() if math.isfinite(value)}
        self.rows.append({"step": trainer.global_step, **row})
        if trainer.is_global_zero and self._metrics is not None:
            append_metrics(self._metrics, self.rows[-1])
        for logger in trainer.loggers:
            logger.log_metrics(row, step=trainer.global_step)


class StepProgress(Callback):
    """Show a bar of training steps on a terminal, and lines elsewhere.

    Lightning's TQDMProgressBar counts batches of an epoch, and fills a log file with thousands of lines.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._validation = ""
        self._last_line = 0.0
        self._bar: tqdm[Any] = tqdm(disable=True)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the bar."""
        self._last_line = time.monotonic()
        total, made = trainer.max_steps, trainer.global_step
        self._bar = tqdm(desc="training", total=total, initial=made, unit="step", dynamic_ncols=True, disable=None)

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
        self._validation = f", validation {float(trainer.callback_metrics[VALIDATED]):.3f}"
        if self._bar.disable:
            self._line(trainer, pl_module)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remove the bar."""
        self._bar.close()

    def _line(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._last_line = time.monotonic()
        print(f"step {trainer.global_step}/{trainer.max_steps}  {self._text(pl_module)}", file=sys.stderr, flush=True)

    def _text(self, pl_module: LightningModule) -> str:
        assert isinstance(pl_module, FlowModule)
        speed = "" if self._recorder.ms_per_step is None else f", {self._recorder.ms_per_step:.0f} ms/step"
        name, value = next(iter(pl_module.terms.items()))
        metric = pl_module.flow.metric
        number = f"{float(value):.3f} {metric.unit}" if name == metric.name else f"{name} {float(value):.3f}"
        return f"{number}{self._validation}{speed}"
