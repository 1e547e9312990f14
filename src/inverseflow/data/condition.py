"""Conditions: how labels and columns of a table become contexts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from inverseflow.errors import DataError


class Condition(Protocol):
    """How the values that a user names become contexts ``(N, size)``."""

    @property
    def size(self) -> int:
        """Length K of a context."""


@dataclass(frozen=True)
class LabelCondition:
    """One class of several, as a context with a one at its place.

    Args:
        classes: the names of the classes.

    Example:
        >>> LabelCondition(("cat", "dog")).encode(["dog"])
        tensor([[0., 1.]])
    """

    classes: tuple[str, ...]

    @property
    def size(self) -> int:
        """Number of classes."""
        return len(self.classes)

    def encode(self, names: Sequence[str]) -> Tensor:
        """Return the contexts ``(N, size)`` of classes by name.

        Raises:
            DataError: if there is no such class; the message lists the classes.
        """
        for name in names:
            if name not in self.classes:
                raise DataError(f"there is no class {name!r}: choose one of {', '.join(self.classes)}")
        return self.one_hot(torch.tensor([self.classes.index(name) for name in names], dtype=torch.long))

    def one_hot(self, labels: Tensor) -> Tensor:
        """Return the contexts ``(N, size)`` of classes by number ``(N,)``."""
        return torch.nn.functional.one_hot(labels.long(), self.size).float()
