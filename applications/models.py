"""Networks of the applications: what `fit` takes in place of a density, and weights as files."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import torch
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor, nn

from inverseflow.densities import Density
from inverseflow.errors import DataError, OptionError
from inverseflow.utils.files import atomic_write, errors_naming


class Network(Density):
    """Base class of networks that have no density: `fit` takes them with an objective."""

    @property
    def continuous(self) -> bool:
        """False: there is no density that gray levels could spoil."""
        return False

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Refuse.

        Raises:
            OptionError: always.
        """
        self._refuse()

    def sample(
        self, n: int, context: Tensor | None = None, *, temperature: float = 1.0, generator: Generator | None = None
    ) -> Tensor:
        """Refuse.

        Raises:
            OptionError: always.
        """
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise OptionError(f"{type(self).__name__} has no density: call it")


def save(model: nn.Module, path: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write the weights of a network as safetensors, in a dtype."""
    weights = {
        name: (value.to(dtype) if value.is_floating_point() else value).contiguous()
        for name, value in model.state_dict().items()
    }
    with atomic_write(path) as temporary, errors_naming(path, temporary):
        save_file(weights, temporary)


def load(model: nn.Module, path: Path, command: str) -> None:
    """Read the weights of a network.

    Args:
        model: the network.
        path: of the file.
        command: which makes the file, for the message.

    Raises:
        DataError: if the file is missing, or holds another network.
    """
    if not path.is_file():
        raise DataError(f"there is no model {path}: make it with {command}")
    try:
        model.load_state_dict(load_file(path))
    except Exception as error:
        raise DataError(f"{path} holds another network: make it with {command}") from error
