"""The run folder: where everything of one training run lies."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from inverseflow.errors import OptionError, RunError
from inverseflow.training.options import TrainOptions
from inverseflow.utils.files import write_text


class Run:
    """The files of a run, by name.

    Args:
        path: The run folder. It need not be there yet.

    Example:
        >>> Run("runs/digits").last
        PosixPath('runs/digits/checkpoints/last.ckpt')
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.metrics = self.path / "metrics.csv"
        self.tensorboard = self.path / "tensorboard"
        self.checkpoints = self.path / "checkpoints"
        self.last = self.checkpoints / "last.ckpt"
        self.best = self.checkpoints / "best.ckpt"
        self.model = self.path / "model"
        self.samples = self.path / "samples.png"
        self.reconstructions = self.path / "reconstructions.png"
        self.curves = self.path / "curves.png"
        self.report = self.path / "report.json"

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def exists(self) -> bool:
        """Whether there is a run of ours in the folder."""
        if not self.config.is_file():
            return False
        try:
            content = yaml.safe_load(self.config.read_text("utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError):
            return False
        return isinstance(content, dict) and {"data", "max_steps", "model", "optimizer"} <= content.keys()

    def options(self) -> TrainOptions:
        """The settings of the run.

        Raises:
            RunError: If there is no run in the folder.
        """
        try:
            return TrainOptions.from_mapping(self.settings())
        except OptionError as error:
            raise RunError(f"{self.config}: {error}") from error

    def settings(self) -> dict[str, Any]:
        """The settings of the run as config.yaml has them.

        Raises:
            RunError: If there is no run in the folder.
        """
        if not self.exists:
            missing = "does not exist" if not self.path.is_dir() else "holds no training run"
            raise RunError(f"{self.path} {missing}; `inverseflow train DATA --out {self.path}` makes one")
        content: dict[str, Any] = yaml.safe_load(self.config.read_text("utf-8"))
        return content

    def check_free(self, *, resume: bool, overwrite: bool) -> None:
        """Checks that a run may be written here, and changes nothing.

        Raises:
            RunError: If the folder holds a run and neither `resume` nor `overwrite` is said, or something else.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file; choose another folder with --out")
        occupied = self.path.is_dir() and any(self.path.iterdir())
        if occupied and not self.exists:
            raise RunError(f"{self.path} is not empty and holds no training run; choose another folder with --out")
        if occupied and not (resume or overwrite):
            raise RunError(
                f"{self.path} holds a run already; "
                "--resume continues it, --overwrite deletes it, --out chooses another folder"
            )

    def prepare(self, options: TrainOptions, *, overwrite: bool) -> None:
        """Makes the folder and writes the settings into it.

        With `overwrite`, deletes what a former run left in it, and nothing else.

        Raises:
            RunError: If the folder cannot be written to.
        """
        try:
            if overwrite and self.exists:
                self._delete()
            text = "# The settings of this run. `inverseflow train --config` takes this file.\n"
            text += yaml.safe_dump(options.to_mapping(), sort_keys=False, allow_unicode=True)
            write_text(self.config, text)
            self.checkpoints.mkdir(exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot write to {self.path}: {os.strerror(error.errno or 0).lower()}") from error

    def remove_results(self) -> None:
        """Removes what is made at the end of a run: the model, the report and the pictures.

        Raises:
            RunError: If they cannot be removed.
        """
        try:
            _remove(self.report, self.model, self.samples, self.reconstructions, self.curves)
        except OSError as error:
            raise RunError(f"cannot write to {self.path}: {os.strerror(error.errno or 0).lower()}") from error

    def _delete(self) -> None:
        self.remove_results()
        _remove(self.tensorboard, self.checkpoints, self.metrics, self.config)


def _remove(*entries: Path) -> None:
    for entry in entries:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)
