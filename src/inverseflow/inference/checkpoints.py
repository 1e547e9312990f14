"""The folder of a training of a posterior that can be continued."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inverseflow.errors import DataError, OptionError, RunError
from inverseflow.utils.files import delete, write_json

_SAME = 1e-6  # in deviations: simulated again on another processor, pairs differ in their last digits


class Begun:
    """A training with a folder for its checkpoints: ``settings.json``, and runs of `inverseflow.fit`.

    Args:
        folder: the folder.
        settings: all that the training depends on but the pairs; plain data.
        x: parameters ``(N, D)``.
        y: observations ``(N, *shape)``.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], x: Tensor, y: Tensor) -> None:
        self.folder = folder
        self._settings = settings
        self._pairs = torch.cat([x, y.flatten(1)], 1)

    @contextmanager
    def training(self, *, resume: bool) -> Iterator[Path]:
        """Yield a folder for runs of `inverseflow.fit`; delete it if the block raises before the first checkpoint."""
        path, runs = self.folder / "settings.json", self.folder / "runs"
        content = json.loads(json.dumps({"settings": self._settings, "pairs": self._fingerprint()}))
        if resume:
            self._check_same(content)
        elif path.exists():
            raise RunError(f"{self.folder} holds a training: resume=True continues it, or name another folder")
        try:
            write_json(path, content)
            yield runs
        except BaseException:
            if not any(runs.glob("*/checkpoints/last.ckpt")):
                delete(path, runs)
                with suppress(OSError):  # there is something else in it
                    self.folder.rmdir()
            raise

    def _check_same(self, content: Mapping[str, Any]) -> None:
        path = self.folder / "settings.json"
        try:
            before = json.loads(path.read_text("utf-8"))
            settings, pairs = before["settings"], torch.tensor(before["pairs"], dtype=torch.float64)
        except FileNotFoundError:
            raise RunError(f"{self.folder} holds no training to resume: leave resume out to begin one") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path} is damaged; delete {self.folder} and begin anew") from error
        for name, value in content["settings"].items():
            if value != settings.get(name):
                raise OptionError(
                    f"{name} was {settings.get(name)} when the training in {self.folder} began, and is {value}: resume "
                    "it with the same settings, or begin another one"
                )
        found = torch.tensor(content["pairs"], dtype=torch.float64)
        if pairs.shape != found.shape or bool(((pairs - found).abs() > _SAME * found[1]).any()):
            raise DataError(
                f"the pairs have changed since the training in {self.folder} began: restore them, or begin another one"
            )

    def _fingerprint(self) -> list[list[float]]:
        """Return the mean and the deviation of each column, and a mean that depends on the order of the rows."""
        rows = self._pairs
        order = torch.linspace(0, 1, len(rows), dtype=rows.dtype)
        fingerprint: list[list[float]] = torch.stack([rows.mean(0), rows.std(0), order @ rows / len(rows)]).tolist()
        return fingerprint
