"""The run folder and the names of the files in it."""

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

import yaml

from inverseflow.errors import OptionError, RunError
from inverseflow.training.options import TrainOptions
from inverseflow.training.run.description import Description
from inverseflow.training.run.lock import LOCK_NAME
from inverseflow.utils.files import atomic_write, delete, delete_temporary, errors_naming, is_temporary, write_text

_COLUMNS = (
    "step",
    "learning_rate",
    "gradient_norm",
    "ms_per_step",
)  # and train_TERM, val_TERM of the objective


class Run:
    """Paths of the files of a training run.

    Args:
        path: the run folder, which need not exist. A leading ``~`` is expanded.

    Example:
        >>> Run("runs/digits").last
        PosixPath('runs/digits/checkpoints/last.ckpt')
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(os.path.expanduser(path))
        self.config = self.path / "config.yaml"
        self.data = self.path / "data.json"
        self.metrics = self.path / "metrics.csv"
        self.tensorboard = self.path / "tensorboard"
        self.checkpoints = self.path / "checkpoints"
        self.last = self.checkpoints / "last.ckpt"
        self.best = self.checkpoints / "best.ckpt"
        self.model = self.path / "model"
        self.samples = self.path / "samples.png"
        self.reconstructions = self.path / "reconstructions.png"
        self.curves = self.path / "curves.png"
        self.pit = self.path / "pit.png"
        self.report = self.path / "report.json"
        self.page = self.path / "report.html"

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def exists(self) -> bool:
        """Whether the folder holds a training run."""
        try:
            self.settings()
        except RunError:
            return False
        return True

    def options(self) -> TrainOptions:
        """Return the settings of the run; raise RunError if the folder holds no run, or its settings are damaged."""
        try:
            return TrainOptions.from_mapping({"lattice": "ignore", **self.settings()})  # as runs once had no lattice
        except OptionError as error:
            raise RunError(f"{self.config} is damaged: {error}") from error

    def settings(self) -> dict[str, Any]:
        """Return what config.yaml holds, unchecked; raise RunError if there is no run, or the file cannot be read."""
        content = self._content()
        if content is not None:
            return content
        if self.path.is_file():
            raise RunError(f"{self.path} is a file; name the folder of a run")
        if (self.path / "posterior.json").is_file():
            raise RunError(f"{self.path} holds a posterior, not a density: `inverseflow posterior` draws from it")
        missing = "holds no training run" if self.path.is_dir() else "does not exist"
        raise RunError(f"{self.path} {missing}; `inverseflow train DATA {self._out_option}` makes one")

    def resume_command(self, data: str) -> str:
        """Return the shell command that continues the run on the data set `data`."""
        return f"inverseflow train {quote(data)} {self._out_option} --resume"

    def check_free(self, *, resume: bool, overwrite: bool) -> None:
        """Check that a run may be written here, and change nothing."""
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file; choose another folder with --out")
        if str(self.path) != str(self.path).encode(errors="replace").decode():
            raise RunError(
                f"{self.path} is no name in UTF-8, which TensorBoard needs; choose another folder with --out"
            )
        entries = self.path.iterdir() if self.path.is_dir() else ()
        if all(entry.name == LOCK_NAME or is_temporary(entry) for entry in entries):
            return
        if self._content() is None:
            raise RunError(f"{self.path} is not empty and holds no training run; choose another folder with --out")
        if not (resume or overwrite):
            raise RunError(
                f"{self.path} holds a run already; "
                "--resume continues it, --overwrite deletes it, --out chooses another folder"
            )

    def description(self) -> Description | None:
        """Return what the folder says about the data; None if it was made before folders said anything."""
        return Description.read(self.data) if self.data.is_file() else None

    def check_data(self, data: Description) -> None:
        """Check that the run can go on with data; a damaged description is about to be written anew."""
        try:
            known = self.description()
        except RunError:
            return
        if known is not None:
            known.check_same(data, self.path)

    def prepare(
        self, options: TrainOptions, data: Description | None = None, *, overwrite: bool, step: int = 0
    ) -> None:
        """Make the folder, write the settings into it, and begin metrics.csv with the rows up to a step."""
        delete_temporary(self.path)  # left by a process that was killed while it wrote
        delete_temporary(self.checkpoints)
        if overwrite and self.exists:
            self.remove_results()
            delete(self.tensorboard, self.checkpoints, self.metrics, self.data, self.config)
        text = "# The settings of this run. `inverseflow train --config` takes this file.\n"
        write_text(self.config, text + yaml.safe_dump(options.to_mapping(), sort_keys=False, allow_unicode=True))
        if data is not None:
            data.write(self.data)
        self.checkpoints.mkdir(exist_ok=True)
        begin_metrics(self.metrics, step)

    def remove_results(self) -> None:
        """Delete the results of a finished run: the exported model, the reports and the pictures."""
        delete(self.report, self.page, self.model, self.samples, self.reconstructions, self.curves, self.pit)

    @property
    def _out_option(self) -> str:
        path = str(self.path)
        return f"--out={quote(path)}" if path.startswith("-") else f"--out {quote(path)}"

    def _content(self) -> dict[str, Any] | None:
        """Return what config.yaml holds, None if there is no such file or it is not of a run."""
        if not self.config.is_file():
            return None
        try:
            content = yaml.safe_load(self.config.read_text("utf-8"))
        except OSError as error:
            raise RunError(f"cannot read {self.config}: {(error.strerror or str(error)).lower()}") from error
        except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
            raise RunError(f"{self.config} is damaged: {' '.join(str(error).split())}") from error
        is_run = isinstance(content, dict) and {"data", "max_steps", "model", "optimizer"} <= content.keys()
        return content if is_run else None


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Return the rows of metrics.csv without their empty cells, and without a last row that was cut off."""
    try:
        with errors_naming(path), path.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if None not in row and None not in row.values()]
        numbers = [{name: float(value) for name, value in row.items() if value} for row in rows]
        if all("step" in row for row in numbers):
            return numbers
    except (ValueError, csv.Error):
        pass
    raise RunError(f"{path} is damaged; move it away to go on without the rows so far")


def validated(rows: Sequence[Mapping[str, float]]) -> list[float]:
    """Return the values of the objective in the validations: the first val_ column holds it."""
    named = [next((value for name, value in row.items() if name.startswith("val_")), None) for row in rows]
    return [value for value in named if value is not None]


def begin_metrics(path: Path, step: int) -> None:
    """Start metrics.csv anew. Rows up to a step are copied from the previous file: later steps are made again."""
    write_metrics(path, [row for row in read_metrics(path) if row["step"] <= step] if step and path.exists() else [])


def append_metrics(path: Path, row: Mapping[str, float]) -> None:
    """Append one row to metrics.csv. The file is written anew if the row has a column that it lacks."""
    with errors_naming(path):
        with path.open(newline="") as file:
            columns = next(csv.reader(file))
        if not set(columns) >= row.keys():
            return write_metrics(path, [*read_metrics(path), row])
        with path.open("a", newline="") as file:
            csv.DictWriter(file, columns).writerow(_as_text(row))


def write_metrics(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write metrics.csv, with a column for each name in the rows."""
    columns = dict.fromkeys([*_COLUMNS, *(name for row in rows for name in row)])
    order = ("step", "train", "val")
    first = sorted(columns, key=lambda name: [*order, name.partition("_")[0]].index(name.partition("_")[0]))
    with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, first)
        writer.writeheader()
        writer.writerows(map(_as_text, rows))


def _as_text(row: Mapping[str, float]) -> dict[str, str]:
    return {name: str(int(value)) if name == "step" else f"{value:.6g}" for name, value in row.items()}
