"""metrics.csv: what was measured during training, kept across interruptions."""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from inverseflow.errors import RunError
from inverseflow.training.loop.module import FlowModule
from inverseflow.training.loop.ranks import is_first_process
from inverseflow.utils.files import atomic_write

COLUMNS = ("step", "train_bits_per_dim", "val_bits_per_dim", "learning_rate", "gradient_norm", "ms_per_step")


class CsvLogger(Logger):
    """Appends rows to a CSV file and never takes any away, except those of steps that a resumed run makes again.

    Nothing is written before the first row or the end of training.

    Args:
        path: The file.
        resumed_step: Rows of later steps are dropped. None keeps none.

    Raises:
        RunError: If rows are to be kept and the file is damaged.
    """

    def __init__(self, path: Path, resumed_step: int | None = None) -> None:
        super().__init__()
        self._path = path
        self._begun = False
        self._kept: list[dict[str, float]] = []
        if is_first_process() and resumed_step is not None and path.exists():
            self._kept = [row for row in read_metrics(path) if row["step"] <= resumed_step]

    @property
    def name(self) -> str:
        """Lightning asks for a name."""
        return "csv"

    @property
    def version(self) -> str:
        """Lightning asks for a version; a run has one."""
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Appends one row, with empty cells for what `metrics` does not have."""
        self._begin()
        with self._path.open("a", newline="") as file:
            csv.DictWriter(file, COLUMNS).writerow(_as_text({"step": step or 0, **metrics}))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Does nothing: config.yaml has them."""

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Leaves a file even where no step was made."""
        if status == "success":
            self._begin()

    def _begin(self) -> None:
        if self._begun:
            return
        self._begun = True
        with atomic_write(self._path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(_as_text(row) for row in self._kept)


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The rows of metrics.csv, without their empty cells. A last row that was cut off is left out.

    Raises:
        RunError: If something else is in the file.
    """
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        whole = [row for row in rows if None not in row and None not in row.values()]
        numbers = [{name: float(value) for name, value in row.items() if value} for row in whole]
    except (ValueError, csv.Error) as error:
        raise RunError(f"{path} is damaged; move it away to go on without the rows so far") from error
    if not all("step" in row for row in numbers):
        raise RunError(f"{path} is damaged; move it away to go on without the rows so far")
    return numbers


def _as_text(row: Mapping[str, float]) -> dict[str, str]:
    return {name: str(int(value)) if name == "step" else f"{value:.6g}" for name, value in row.items()}


class Recorder(Callback):
    """Measures time, and gives the loggers a row every so many steps and with every validation.

    Attributes:
        seconds: Time spent in training, validation included, over all the processes that a resumed run had.
        ms_per_step: Mean time of a step, fetching its images included, validation and checkpoints left out. NaN before
            the first measurement.

    Args:
        every: Steps between two rows.
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
    def ms_per_step(self) -> float:
        """Mean time of a step in milliseconds."""
        return 1e3 * self._total / self._counted if self._counted else float("nan")

    def state_dict(self) -> dict[str, Any]:
        """The times so far."""
        self._count_seconds()
        return {"seconds": self.seconds, "total": self._total, "counted": self._counted}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over what `state_dict` gave."""
        self.seconds = state_dict["seconds"]
        self._total, self._counted = state_dict["total"], state_dict["counted"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock."""
        self._resumed_at = trainer.global_step
        self._last_time = time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Tensor, batch_idx: int) -> None:
        """Remembers the learning rate of the step."""
        self._learning_rate = trainer.optimizers[0].param_groups[0]["lr"]  # the schedule moves on before the step ends

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Records the step, if it is time."""
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
        """Records the validation."""
        _record(trainer, {"val_bits_per_dim": float(trainer.callback_metrics["val_bits_per_dim"])})

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops the clock."""
        self._count_seconds()

    def _count_seconds(self) -> None:
        now = time.perf_counter()
        self.seconds += now - self._last_time
        self._last_time = now


def _record(trainer: Trainer, row: dict[str, float]) -> None:
    for logger in trainer.loggers:
        logger.log_metrics(row, step=trainer.global_step)
