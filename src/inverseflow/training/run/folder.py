"""The run folder and the names of the files in it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from shlex import quote
from typing import Any

import yaml

from inverseflow.errors import OptionError, RunError
from inverseflow.training.options import TrainOptions
from inverseflow.training.run.lock import LOCK_NAME
from inverseflow.utils.files import atomic_write, delete_temporary, is_temporary

_LARGEST_CONFIG = 2**20  # bytes; ours have 2 kB


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
        """Whether the folder holds a training run."""
        try:
            self.settings()
        except RunError:
            return False
        return True

    def options(self) -> TrainOptions:
        """Return the settings of the run.

        Raises:
            RunError: if the folder holds no run, or its settings are damaged.
        """
        try:
            return TrainOptions.from_mapping(self.settings())
        except OptionError as error:
            raise RunError(f"{self.config} is damaged: {error}") from error

    def settings(self) -> dict[str, Any]:
        """Return the settings of the run as config.yaml has them, unchecked.

        Raises:
            RunError: if the folder holds no run, or config.yaml cannot be read.
        """
        content = self._content() if self.config.is_file() else None
        if isinstance(content, dict) and {"data", "max_steps", "model", "optimizer"} <= content.keys():
            return content
        if self.path.is_file():
            raise RunError(f"{self.path} is a file; name the folder of a run")
        missing = "holds no training run" if self.path.is_dir() else "does not exist"
        raise RunError(f"{self.path} {missing}; `inverseflow train DATA {self._out_option}` makes one")

    def resume_command(self, data: str) -> str:
        """Return the shell command that continues the run.

        Args:
            data: name of the data set.

        Example:
            >>> Run("my runs/one").resume_command("digits")
            "inverseflow train digits --out 'my runs/one' --resume"
        """
        return f"inverseflow train {quote(data)} {self._out_option} --resume"

    def check_free(self, *, resume: bool, overwrite: bool) -> None:
        """Check that a run may be written here, and change nothing.

        Args:
            resume: whether a run in the folder is continued.
            overwrite: whether a run in the folder is deleted.

        Raises:
            RunError: if the folder holds a run and neither is set, or holds something else.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file; choose another folder with --out")
        if str(self.path) != str(self.path).encode(errors="replace").decode():
            raise RunError(
                f"{self.path} is no name in UTF-8, which TensorBoard needs; choose another folder with --out"
            )
        if not self.path.is_dir() or all(
            entry.name == LOCK_NAME or is_temporary(entry) for entry in self.path.iterdir()
        ):
            return
        if not self.exists:
            raise RunError(f"{self.path} is not empty and {self._why_no_run()}; choose another folder with --out")
        if not (resume or overwrite):
            raise RunError(
                f"{self.path} holds a run already; "
                "--resume continues it, --overwrite deletes it, --out chooses another folder"
            )

    def prepare(self, options: TrainOptions, *, overwrite: bool) -> None:
        """Make the folder and write the settings into it.

        Args:
            options: the settings.
            overwrite: first delete what a previous run left in the folder, and nothing else.

        Raises:
            RunError: if the folder cannot be written to.
        """
        try:
            delete_temporary(self.path)  # left by a process that was killed while it wrote
            delete_temporary(self.checkpoints)
            if overwrite and self.exists:
                self._delete()
            text = "# The settings of this run. `inverseflow train --config` takes this file.\n"
            text += yaml.safe_dump(options.to_mapping(), sort_keys=False, allow_unicode=True)
            with atomic_write(self.config) as temporary:
                temporary.write_text(text, "utf-8")
            self.checkpoints.mkdir(exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot write to {self.path}: {_reason(error)}") from error

    def remove_results(self) -> None:
        """Delete the results of a finished run: the exported model, the report and the pictures.

        Raises:
            RunError: if they cannot be deleted.
        """
        try:
            _remove(self.report, self.model, self.samples, self.reconstructions, self.curves)
        except OSError as error:
            raise RunError(f"cannot write to {self.path}: {_reason(error)}") from error

    @property
    def _out_option(self) -> str:
        path = str(self.path)
        return f"--out={quote(path)}" if path.startswith("-") else f"--out {quote(path)}"

    def _content(self) -> Any:
        try:
            if self.config.stat().st_size > _LARGEST_CONFIG:
                raise RunError(f"{self.config} is damaged: it is larger than 1 MiB")
            return yaml.safe_load(self.config.read_text("utf-8"))
        except OSError as error:
            raise RunError(f"cannot read {self.config}: {_reason(error)}") from error
        except RecursionError as error:
            raise RunError(f"{self.config} is damaged: it is nested too deeply") from error
        except UnicodeDecodeError as error:
            raise RunError(f"{self.config} is damaged: it is not UTF-8 text") from error
        except (yaml.YAMLError, ValueError, TypeError) as error:  # a number of 5,000 digits, a list as a key ...
            raise RunError(f"{self.config} is damaged: {' '.join(str(error).split())}") from error

    def _why_no_run(self) -> str:
        try:
            self._content()
        except RunError as error:
            if self.config.is_file():
                return f"holds no training run that can be read ({error})"
        return "holds no training run"

    def _delete(self) -> None:
        self.remove_results()
        _remove(self.tensorboard, self.checkpoints, self.metrics, self.config)


def _remove(*entries: Path) -> None:
    for entry in entries:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
