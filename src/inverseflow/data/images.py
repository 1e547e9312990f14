"""Sets of 8-bit images of one size, and the three splits of a data set."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from inverseflow.data.augmentation import AUGMENTATIONS, Augmentation
from inverseflow.errors import DataError

Indices = Sequence[int] | Tensor


class Images(Dataset[Tensor], ABC):
    """Base class of sets of ``uint8`` images of one shape, read one at a time, in batches, or all at once.

    `__getitems__` returns a whole batch, so a ``DataLoader`` needs a ``collate_fn`` that returns its argument.

    Attributes:
        shape: ``(C, H, W)`` of every image.
        labels: ``(N,)`` ``int64`` classes, or `None` if the images have none.

    Example:
        >>> from inverseflow.data import load_images
        >>> images = load_images("digits").test
        >>> len(images), images.shape
        (360, (1, 8, 8))
        >>> images[0].shape, images.__getitems__([0, 5, 2]).shape, images.tensor().dtype
        (torch.Size([1, 8, 8]), torch.Size([3, 1, 8, 8]), torch.uint8)
        >>> loader = torch.utils.data.DataLoader(images, batch_size=100, collate_fn=lambda batch: batch)
        >>> [len(batch) for batch in loader]
        [100, 100, 100, 60]
    """

    shape: tuple[int, int, int]
    labels: Tensor | None

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of images N."""

    @abstractmethod
    def __getitem__(self, index: int) -> Tensor:
        """Return one image, ``(C, H, W)``."""

    @abstractmethod
    def __getitems__(self, indices: Indices) -> Tensor:
        """Return a batch, ``(len(indices), C, H, W)``, in the order of `indices`."""

    @abstractmethod
    def select(self, indices: Indices) -> "Images":
        """Return the images at `indices`, with their labels, as a set of their own."""

    def tensor(self) -> Tensor:
        """Return all images, ``(N, C, H, W)``: N·C·H·W bytes of memory if they are read from files."""
        return self.__getitems__(range(len(self)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} × {self.shape})"


class TensorImages(Images):
    """Images held in memory.

    Args:
        pixels: ``(N, C, H, W)`` ``uint8``; not copied.
        labels: ``(N,)`` classes of any integer dtype, or `None`.

    Raises:
        DataError: if `pixels` is not a ``uint8`` batch, or `labels` does not have one integer for each image.

    Example:
        >>> TensorImages(torch.zeros(10, 3, 4, 4, dtype=torch.uint8)).select([0, 1])
        TensorImages(2 × (3, 4, 4))
    """

    def __init__(self, pixels: Tensor, labels: Tensor | None = None) -> None:
        if pixels.dtype != torch.uint8 or pixels.ndim != 4:
            raise DataError(f"pixels must be (N, C, H, W) of uint8, got {tuple(pixels.shape)} of {pixels.dtype}")
        if labels is not None:
            if labels.shape != pixels.shape[:1] or labels.is_floating_point() or labels.is_complex():
                raise DataError(
                    f"labels must be {len(pixels)} integers, one for each image, "
                    f"got {tuple(labels.shape)} of {labels.dtype}"
                )
            labels = labels.long()
        channels, height, width = pixels.shape[1:]
        self.shape = (channels, height, width)
        self.labels = labels
        self._pixels = pixels

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, index: int) -> Tensor:
        return self._pixels[index]

    def __getitems__(self, indices: Indices) -> Tensor:
        # NumPy copies in this thread. Torch wakes all of its threads, which takes long when the cores are busy.
        return torch.from_numpy(self._pixels.numpy().take(np.asarray(indices, dtype=np.int64), axis=0))

    def select(self, indices: Indices) -> "TensorImages":
        """Return a copy of the images at `indices`, with their labels."""
        chosen = torch.as_tensor(indices, dtype=torch.long)
        return TensorImages(self.__getitems__(chosen), None if self.labels is None else self.labels[chosen])

    def tensor(self) -> Tensor:
        """Return all images, ``(N, C, H, W)``, without copying them."""
        return self._pixels


@dataclass(frozen=True)
class ImageSplits:
    """A data set: its name, the range of its pixels, and its three splits.

    Raises:
        DataError: if a split is empty, or its images do not have the shape `event_shape`.

    Example:
        >>> from inverseflow.data import load_images
        >>> splits = load_images("digits")
        >>> splits.title, splits.levels, splits.event_shape
        ('digits', 17, (1, 8, 8))
        >>> splits.train, splits.validation, splits.test
        (TensorImages(1257 × (1, 8, 8)), TensorImages(180 × (1, 8, 8)), TensorImages(360 × (1, 8, 8)))
    """

    name: str
    """The name given to `load_images`, such as ``"cifar10"``."""
    title: str
    """The name to print, such as ``"CIFAR-10 (JPEG)"``."""
    levels: int
    """Number of gray levels: pixels are integers from 0 to ``levels - 1``."""
    event_shape: tuple[int, int, int]
    """``(C, H, W)`` of every image."""
    train: Images
    """Images to fit to."""
    validation: Images
    """Images to select models by."""
    test: Images
    """Images to report on."""
    augmentations: tuple[str, ...] = ()
    """Names of the augmentations that suit these images."""
    notes: tuple[str, ...] = ()
    """Sentences for the user about how the set was read, such as which files were left out."""

    def __post_init__(self) -> None:
        for split, images in (("train", self.train), ("validation", self.validation), ("test", self.test)):
            if len(images) == 0:
                raise DataError(f"the {split} split of {self.title} has no images")
            if images.shape != self.event_shape:
                raise DataError(
                    f"the {split} split of {self.title} has images {images.shape}, expected {self.event_shape}"
                )

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
            inverseflow.errors.DataError: 'horizontal_flip' does not suit digits, whose images it would make into ...
        """
        if name not in AUGMENTATIONS:
            raise DataError(f"unknown augmentation {name!r}: choose one of {', '.join(sorted(AUGMENTATIONS))}")
        if name not in self.augmentations:
            sensible = ", ".join(self.augmentations) or "none"
            raise DataError(
                f"{name!r} does not suit {self.title}, whose images it would make into something else: "
                f"leave it out (augmentations that suit {self.title}: {sensible})"
            )
        return AUGMENTATIONS[name]
