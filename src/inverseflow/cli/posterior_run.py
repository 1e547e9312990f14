"""The folder that `inverseflow infer` fills. Imports nothing heavy."""

import json
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import yaml
from cyclopts import Parameter, Token

from inverseflow.errors import DataError, RunError
from inverseflow.utils.files import errors_naming


class PosteriorRun:
    """Paths of the files of a trained posterior.

    Args:
        path: the folder, which need not exist. A leading ``~`` is expanded.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(os.path.expanduser(path))
        self.config = self.path / "config.yaml"
        self.metrics = self.path / "metrics.csv"
        self.posterior = self.path / "posterior.json"
        self.report = self.path / "report.json"
        self.page = self.path / "report.html"
        self.calibration = self.path / "calibration.png"
        self.corner = self.path / "corner.png"
        self.training = self.path / "training"
        """Checkpoints, until the training has come to its end."""

    @property
    def exists(self) -> bool:
        """Whether the folder holds a posterior."""
        return self.posterior.is_file()

    @property
    def is_unfinished(self) -> bool:
        """Whether the folder holds a training that can be continued."""
        return (self.training / "settings.json").is_file()

    def check(self) -> None:
        """Raise RunError unless the folder holds a posterior."""
        if not self.exists:
            if self.path.is_file():
                raise RunError(f"{self.path} is a file; name the folder of a posterior")
            if self.is_unfinished:
                raise RunError(
                    f"{self.path} holds an unfinished training; `inverseflow infer` with --resume continues it"
                )
            missing = "holds no posterior" if self.path.is_dir() else "does not exist"
            raise RunError(f"{self.path} {missing}; `inverseflow infer PROBLEM --out {self.path}` makes one")

    def check_free(self, *, resume: bool, overwrite: bool) -> None:
        """Check that a posterior may be written here; raise RunError if not."""
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file; choose another folder with --out")
        if resume and not self.is_unfinished:
            state = "holds a posterior that is finished" if self.exists else "holds no training"
            raise RunError(f"{self.path} {state}, so there is nothing to continue; leave --resume out")
        if self.path.is_dir() and any(self.path.iterdir()) and not resume:
            if not (self.exists or self.is_unfinished):
                raise RunError(f"{self.path} is not empty and holds no posterior; choose another folder with --out")
            if not overwrite:
                state = "an unfinished training" if self.is_unfinished else "a posterior already"
                others = "--resume continues it, --overwrite" if self.is_unfinished else "--overwrite"
                raise RunError(f"{self.path} holds {state}; {others} replaces it, --out chooses another folder")
        if self.path.is_dir() and self.path.samefile(Path.cwd()):
            raise RunError(f"{self.path} is the current folder; choose a folder inside of it with --out")
        try:  # raises now what would be raised after the training
            self.path.parent.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.path.parent).close()
        except OSError as error:
            raise RunError(f"cannot write to {self.path}: {(error.strerror or str(error)).lower()}") from error

    def settings(self) -> dict[str, Any]:
        """Return the content of config.yaml; raise RunError if it is missing or damaged."""
        return self._read(self.config, yaml.safe_load)

    def results(self) -> dict[str, Any]:
        """Return the content of report.json; raise RunError if it is missing or damaged."""
        return self._read(self.report, json.loads)

    def _read(self, path: Path, parse: Any) -> dict[str, Any]:
        self.check()
        try:
            with errors_naming(path):
                content = parse(path.read_text("utf-8"))
            if isinstance(content, dict):
                return content
        except FileNotFoundError:
            raise RunError(f"{path} is missing; `inverseflow infer` with --overwrite makes it anew") from None
        except (yaml.YAMLError, ValueError, RecursionError):
            pass
        raise RunError(f"{path} is damaged; `inverseflow infer` with --overwrite makes it anew")


@contextmanager
def table_errors() -> Iterator[None]:
    """Leave an option of `train` out of errors about a file."""
    try:
        yield
    except DataError as error:
        error.args = (str(error).replace(" (--data-dir)", ""),)
        raise


@contextmanager
def warnings_said(quiet: bool = False) -> Iterator[None]:
    """Print warnings as lines of their own, once each, and what Python adds to them not at all."""
    shown: set[str] = set()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        text = " ".join(str(message).split())
        if text not in shown and not quiet:
            print(f"inverseflow: {text}", file=sys.stderr)
        shown.add(text)

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield


def _folder(kind: Any, tokens: Sequence[Token]) -> PosteriorRun:
    word = tokens[0].value
    if not word or "\0" in word:
        raise ValueError(f"RUN must be the name of a folder, got {word!r}")
    return PosteriorRun(word)


PosteriorFolder = Annotated[PosteriorRun, Parameter(converter=_folder, n_tokens=1, accepts_keys=False)]
