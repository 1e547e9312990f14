"""Sets of 8-bit images of one size."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from inverseflow.data.examples import Examples, Indices, Splits, checked_labels
from inverseflow.errors import DataError


class Images(Examples):
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
        channels, height, width = pixels.shape[1:]
        self.shape = (channels, height, width)
        self.labels = None if labels is None else checked_labels(labels, len(pixels))
        self._pixels = pixels

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitems__(self, indices: Indices) -> Tensor:
        # NumPy copies in this thread. Torch wakes all of its threads, which takes long when the cores are busy.
        return torch.from_numpy(self._pixels.numpy().take(np.asarray(indices, dtype=np.int64), axis=0))

    def _select(self, indices: Indices) -> "TensorImages":
        chosen = torch.as_tensor(indices, dtype=torch.long)
        return TensorImages(self.__getitems__(chosen), None if self.labels is None else self.labels[chosen])

    def tensor(self) -> Tensor:
        """Return all images, ``(N, C, H, W)``, without copying them."""
        return self._pixels


@dataclass(frozen=True)
class ImageSplits(Splits[Images]):
    """A data set of images; the fields of `Splits`."""

    levels: int
    event_shape: tuple[int, int, int]
