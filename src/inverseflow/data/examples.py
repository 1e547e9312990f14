"""Examples with their contexts, and the three splits of a data set."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
from torch import Tensor
from torch.utils.data import Dataset
from typing_extensions import Self

from inverseflow.data.augmentation import AUGMENTATIONS, Augmentation
from inverseflow.data.condition import Condition
from inverseflow.data.looks import Lattice
from inverseflow.errors import DataError

Indices = Sequence[int] | Tensor


@dataclass(frozen=True)
class Batch:
    """Examples x, and the contexts that they are conditioned on.

    Example:
        >>> batch = Batch(torch.zeros(5, 2), context=torch.ones(5, 3))
        >>> len(batch), batch.to("cpu").context.shape
        (5, torch.Size([5, 3]))
    """

    x: Tensor
    """``(B, *event_shape)``."""
    context: Tensor | None = None
    """``(B, *context_shape)``, or None without a condition."""

    def __len__(self) -> int:
        return len(self.x)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Batch":
        """Return the batch on a device."""
        context = None if self.context is None else self.context.to(device, non_blocking=non_blocking)
        return Batch(self.x.to(device, non_blocking=non_blocking), context)


class Examples(Dataset[Tensor], ABC):
    """Base class of sets of examples of one shape, each with a context or none of them.

    A subclass MUST set `shape` and implement `__len__`, `__getitems__` and `_select`.
    """

    shape: tuple[int, ...]
    """Shape of every example."""
    context: Tensor | None = None
    """``(N, *context_shape)``, one context for each example, or None."""
    labels: Tensor | None = None
    """``(N,)`` ``int64`` classes, or None if the examples have none."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of examples N."""

    @abstractmethod
    def __getitems__(self, indices: Indices) -> Tensor:
        """Return examples without their contexts, ``(len(indices), *shape)``, in the order of `indices`."""

    @abstractmethod
    def _select(self, indices: Indices) -> Self:
        """Return the examples at `indices`, without their contexts, as a set of their own."""

    def __getitem__(self, index: int) -> Tensor:
        return self.__getitems__([index])[0]

    def batch(self, indices: Indices) -> Batch:
        """Return examples with their contexts, in the order of `indices`."""
        x = self.__getitems__(indices)
        return Batch(x, None if self.context is None else self.context[torch.as_tensor(indices, dtype=torch.long)])

    def select(self, indices: Indices) -> Self:
        """Return the examples at `indices`, with their contexts, as a set of their own."""
        chosen = self._select(indices)
        if self.context is not None:
            chosen.context = self.context[torch.as_tensor(indices, dtype=torch.long)]
        return chosen

    def with_context(self, context: Tensor) -> Self:
        """Return the same examples with other contexts, ``(N, *context_shape)``.

        Raises:
            DataError: if there is not one finite context for each example.
        """
        if context.ndim < 2 or len(context) != len(self):
            raise DataError(
                f"{len(self)} examples need as many contexts (N, K), got a tensor of shape {tuple(context.shape)}"
            )
        if not bool(context.isfinite().all()):
            row = int((~context.flatten(1).isfinite()).any(1).nonzero()[0])
            raise DataError(f"the context of example {row} is not finite; leave the example out")
        other = copy.copy(self)
        other.context = context
        return other

    def tensor(self) -> Tensor:
        """Return all examples, ``(N, *shape)``."""
        return self.__getitems__(range(len(self)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} × {self.shape})"


class TensorExamples(Examples):
    """Examples held in memory.

    Args:
        x: ``(N, *event_shape)``; not copied.
        context: ``(N, *context_shape)``, one for each example, or None.
        labels: ``(N,)`` classes of any integer dtype, or None.

    Raises:
        DataError: if x is no batch, or there is not one context or label for each example.

    Example:
        >>> examples = TensorExamples(torch.randn(10, 2), torch.randn(10, 3))
        >>> examples.batch([4, 2]).context.shape
        torch.Size([2, 3])
    """

    def __init__(self, x: Tensor, context: Tensor | None = None, labels: Tensor | None = None) -> None:
        if x.ndim < 2:
            raise DataError(f"examples must be a batch (N, *event_shape), got shape {tuple(x.shape)}")
        self.shape = tuple(x.shape[1:])
        self.labels = None if labels is None else checked_labels(labels, len(x))
        self._x = x
        if context is not None:
            self.context = self.with_context(context).context

    def __len__(self) -> int:
        return len(self._x)

    def __getitems__(self, indices: Indices) -> Tensor:
        return self._x[torch.as_tensor(indices, dtype=torch.long)]

    def _select(self, indices: Indices) -> "TensorExamples":
        chosen = torch.as_tensor(indices, dtype=torch.long)
        return TensorExamples(self._x[chosen], labels=None if self.labels is None else self.labels[chosen])


def checked_labels(labels: Tensor, count: int) -> Tensor:
    """Return labels as ``int64``, or refuse what is not one integer for each of `count` examples."""
    if labels.shape != (count,) or labels.is_floating_point() or labels.is_complex():
        raise DataError(
            f"labels must be {count} integers, one for each example, got {tuple(labels.shape)} of {labels.dtype}"
        )
    return labels.long()


ExamplesT = TypeVar("ExamplesT", bound=Examples, covariant=True)


@dataclass(frozen=True)
class Splits(Generic[ExamplesT]):
    """A data set: its name, the range of its values, and its three splits.

    Raises:
        DataError: if the training or validation split is empty, examples do not have the shape `event_shape`, or the
            condition does not fit.

    Example:
        >>> from inverseflow.data import load_images
        >>> splits = load_images("digits")
        >>> splits.title, splits.levels, splits.event_shape
        ('digits', 17, (1, 8, 8))
        >>> splits.train, splits.validation, splits.test
        (TensorImages(1257 × (1, 8, 8)), TensorImages(180 × (1, 8, 8)), TensorImages(360 × (1, 8, 8)))
    """

    name: str
    """The name that it is loaded by, such as ``"cifar10"``."""
    title: str
    """The name to print, such as ``"CIFAR-10 (JPEG)"``."""
    levels: int | None
    """Number of gray levels if values are integers from 0 to ``levels - 1``, None for continuous values."""
    event_shape: tuple[int, ...]
    """Shape of every example."""
    train: ExamplesT
    """Examples to fit to."""
    validation: ExamplesT
    """Examples to select models by."""
    test: ExamplesT
    """Examples to report on; may be empty."""
    augmentations: tuple[str, ...] = ()
    """Names of the augmentations that suit these examples."""
    notes: tuple[str, ...] = ()
    """Sentences for the user about how the set was read, such as which files were left out."""
    condition: Condition | None = None
    """What the contexts of the examples say, None without contexts."""
    columns: tuple[str, ...] = ()
    """Names of the elements of an example that is a row of a table."""
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    """For each of `columns` that holds categories, their names: its elements are the numbers of the categories, whole
    numbers from 0 on, which a flow dequantizes."""
    lattices: Mapping[str, Lattice] = field(default_factory=dict, hash=False)
    """For each of `columns` whose values lie on a lattice: its elements number them, and a flow dequantizes these."""
    classes: tuple[str, ...] = ()
    """Names of the classes that the labels of the examples number."""
    sampling_rate: int | None = None
    """Samples a second of audio, None for other data."""

    def __post_init__(self) -> None:
        size = None if self.condition is None else self.condition.size
        for split, examples in (("train", self.train), ("validation", self.validation), ("test", self.test)):
            if len(examples) == 0 and split != "test":
                raise DataError(f"the {split} split of {self.title} has no examples")
            if examples.shape != self.event_shape:
                raise DataError(
                    f"the {split} split of {self.title} has examples {examples.shape}, expected {self.event_shape}"
                )
            found = None if examples.context is None else examples.context.shape[1]
            if found != size:
                raise DataError(f"the {split} split of {self.title} has contexts of length {found}, expected {size}")

    def augmentation(self, name: str) -> Augmentation:
        """Return an augmentation, if it suits this data set.

        Args:
            name: one of `augmentations`.

        Returns:
            A function of a ``(B, C, H, W)`` ``uint8`` batch and a ``torch.Generator`` on the batch's device.

        Raises:
            DataError: if there is no such augmentation, or it does not suit this data set.

        Example:
            >>> from inverseflow.data import load_images
            >>> load_images("digits").augmentation("horizontal_flip")
            Traceback (most recent call last):
            inverseflow.errors.DataError: 'horizontal_flip' does not suit digits: leave it out ...
        """
        if name not in AUGMENTATIONS:
            raise DataError(f"unknown augmentation {name!r}: choose one of {', '.join(sorted(AUGMENTATIONS))}")
        if name not in self.augmentations:
            sensible = ", ".join(self.augmentations) or "none"
            raise DataError(
                f"{name!r} does not suit {self.title}: leave it out (augmentations that suit {self.title}: {sensible})"
            )
        return AUGMENTATIONS[name]
