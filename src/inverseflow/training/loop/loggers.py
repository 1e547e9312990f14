"""Loggers: metrics.csv and TensorBoard."""

from __future__ import annotations

import csv
import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from inverseflow.errors import RunError
from inverseflow.training.loop.ranks import is_first_process
from inverseflow.training.run.metrics import COLUMNS, read_metrics
from inverseflow.utils.files import atomic_write


class CsvLogger(Logger):
    """Append rows to metrics.csv.

    Unlike Lightning's CSVLogger it continues the file of a resumed run, without the rows of steps that are made again,
    appends a row instead of writing all rows anew, and has no folder for each version.

    Nothing is written before the first row or the end of training. Values that are not finite are left out.

    Args:
        path: the file.
        resumed_step: rows of later steps are dropped. None drops all rows.

    Raises:
        RunError: if rows are to be kept and the file is damaged.
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
        """Return the name that Lightning asks for."""
        return "csv"

    @property
    def version(self) -> str:
        """Return the version that Lightning asks for; a run has one."""
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append one row, with empty cells for columns that `metrics` does not have.

        Raises:
            RunError: if the file cannot be written to.
        """
        with _errors_naming(self._path):
            self._begin()
            with self._path.open("a", newline="") as file:
                csv.DictWriter(file, COLUMNS).writerow(_as_text({"step": step or 0, **metrics}))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: config.yaml holds them."""

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write a file even if no step was made."""
        if status == "success":
            with _errors_naming(self._path):
                self._begin()

    def _begin(self) -> None:
        if self._begun:
            return
        with atomic_write(self._path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(_as_text(row) for row in self._kept)
        self._begun = True


class EventLogger(TensorBoardLogger):
    """Lightning's TensorBoardLogger, with errors of the file system that name the folder.

    Args:
        folder: folder of the event files.
        resumed_step: TensorBoard hides events of later steps. None hides none.
    """

    def __init__(self, folder: Path, resumed_step: int | None = None) -> None:
        purge = None if resumed_step is None else resumed_step + 1
        super().__init__(folder.parent, name="", version=folder.name, default_hp_metric=False, purge_step=purge)
        self._folder = folder

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write one event for each value that is finite.

        Raises:
            RunError: if an event file cannot be written to.
        """
        with _errors_naming(self._folder):
            super().log_metrics({name: value for name, value in metrics.items() if math.isfinite(value)}, step)

    @rank_zero_only
    def save(self) -> None:
        """Write pending events.

        Raises:
            RunError: if an event file cannot be written to.
        """
        with _errors_naming(self._folder):
            super().save()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is left and close the file.

        Raises:
            RunError: if an event file cannot be written to, unless training failed for another reason.
        """
        with suppress(RunError) if status == "failed" else nullcontext(), _errors_naming(self._folder):
            super().finalize(status)


@contextmanager
def quiet_event_writer() -> Iterator[None]:
    """Print no traceback of TensorBoard's writer thread: the logger raises the same error in the main thread."""
    previous = threading.excepthook

    def hook(arguments: threading.ExceptHookArgs) -> None:
        if not type(arguments.thread).__module__.startswith("tensorboard."):
            previous(arguments)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = previous


@contextmanager
def _errors_naming(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from error


def _as_text(row: Mapping[str, float]) -> dict[str, str]:
    return {
        name: str(int(value)) if name == "step" else f"{value:.6g}"
        for name, value in row.items()
        if math.isfinite(value)
    }
