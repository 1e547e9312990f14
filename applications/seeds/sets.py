"""Labeled pictures of several views: drawn, of clothing, or from folders of classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from applications.pictures import LEVELS, SUFFIXES, read_picture
from applications.seeds.kernels import CLASSES, kernels
from inverseflow.data import load_images
from inverseflow.errors import DataError
from inverseflow.utils.seeding import derived_seed

IMBALANCE = (1, 8, 1, 4)
"""Relative sizes of the four classes in training: our reading of the thesis."""
CLOTHES = {6: "shirt", 2: "pullover", 4: "coat", 0: "T-shirt"}
"""Classes of Fashion-MNIST that resemble one another, in the order of `IMBALANCE`."""


@dataclass(frozen=True)
class Labeled:
    """Objects, each seen from one or several sides, and their classes."""

    pictures: Tensor
    """Values from 0 to 1, ``(N, views, channels, H, W)``."""
    labels: Tensor
    """``(N,)``, numbers of `names`."""
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, which: Tensor) -> Labeled:
        """Return some of the objects, by their numbers."""
        return Labeled(self.pictures[which], self.labels[which], self.names)

    def joined(self, pictures: Tensor, labels: Tensor) -> Labeled:
        """Return these objects and others."""
        return Labeled(torch.cat([self.pictures, pictures]), torch.cat([self.labels, labels]), self.names)

    @property
    def counts(self) -> list[int]:
        """Number of objects of each class."""
        return torch.bincount(self.labels, minlength=len(self.names)).tolist()

    @property
    def rare(self) -> list[int]:
        """The classes with the fewest objects.

        Example:
            >>> Labeled(torch.zeros(5, 1, 1, 2, 2), torch.tensor([0, 1, 1, 2, 1]), ("a", "b", "c")).rare
            [0, 2]
        """
        return [label for label, count in enumerate(self.counts) if count == min(self.counts)]


def drawn_kernels(unit: int, test: int, *, side: int = 32, seed: int = 0) -> tuple[Labeled, Labeled]:
    """Draw kernels to train on, in the proportions of `IMBALANCE`, and as many of each class to test on.

    Args:
        unit: kernels of the rarest class in training.
        test: kernels of each class in the test.
        side: side of a picture in pixels.
        seed: of the kernels.
    """
    sets = []
    for purpose, counts in (("train", [unit * share for share in IMBALANCE]), ("test", [test] * len(CLASSES))):
        labels = torch.repeat_interleave(torch.arange(len(CLASSES)), torch.tensor(counts))
        drawn = kernels(labels.tolist(), side=side, seed=derived_seed(seed, purpose))
        sets.append(Labeled(drawn, labels, CLASSES))
    return sets[0], sets[1]


def clothes(unit: int, test: int, *, data_dir: Path | None, seed: int = 0) -> tuple[Labeled, Labeled]:
    """Read four classes of Fashion-MNIST as `drawn_kernels` draws kernels; the test pictures are those of the test set.

    Raises:
        DataError: if Fashion-MNIST is missing.
    """
    data = load_images("fashion-mnist", data_dir=data_dir)
    generator = torch.Generator().manual_seed(derived_seed(seed, "clothes"))
    sets = []
    for images, counts in ((data.train, [unit * share for share in IMBALANCE]), (data.test, [test] * len(CLOTHES))):
        assert images.labels is not None
        chosen = []
        for label, count in zip(CLOTHES, counts, strict=True):
            places = (images.labels == label).nonzero()[:, 0]
            chosen.append(places[torch.randperm(len(places), generator=generator)[:count]])
        labels = torch.repeat_interleave(torch.arange(len(chosen)), torch.tensor([len(places) for places in chosen]))
        pixels = F.pad(images.tensor()[torch.cat(chosen)], (2, 2, 2, 2))
        sets.append(Labeled(pixels[:, None].float() / LEVELS, labels, tuple(CLOTHES.values())))
    return sets[0], sets[1]


def read_classes(folders: Sequence[Path], *, side: int = 32) -> Labeled:
    """Read pictures from folders of classes, one folder for each view: ``FOLDER/CLASS/PICTURE``.

    Pictures of several views belong together by their class and name. Each is scaled to a square.

    Args:
        folders: one for each view.
        side: side of the square in pixels.

    Raises:
        DataError: if a folder is missing or holds fewer than two classes, a class has fewer than two pictures, or a
            picture is missing in a view.
    """
    classes = [_pictures(folder) for folder in folders]
    for folder, other in zip(folders[1:], classes[1:], strict=True):
        for name in sorted(classes[0].keys() | other.keys()):
            apart = sorted(classes[0].get(name, {}).keys() ^ other.get(name, {}).keys())
            if apart:
                raise DataError(
                    f"{name}/{apart[0]} is in only one of {folders[0]} and {folder}: each object needs a picture of "
                    "the same name in every view"
                )
    pictures, labels = [], []
    for label, (name, files) in enumerate(classes[0].items()):
        for file in files:
            views = [read_picture(of[name][file]) for of in classes]
            pictures.append(torch.stack([square(view, side) for view in views]))
            labels.append(label)
    return Labeled(torch.stack(pictures), torch.tensor(labels), tuple(classes[0]))


def split(data: Labeled, share: float, seed: int = 0) -> tuple[Labeled, Labeled]:
    """Hold out a share of each class, at least one object and not all; all views of an object stay together.

    Example:
        >>> data = Labeled(torch.zeros(12, 1, 1, 2, 2), torch.tensor([0] * 10 + [1] * 2), ("a", "b"))
        >>> [part.counts for part in split(data, 0.2)]
        [[8, 1], [2, 1]]
    """
    generator = torch.Generator().manual_seed(derived_seed(seed, "split"))
    held = torch.zeros(len(data), dtype=torch.bool)
    for label, count in enumerate(data.counts):
        places = (data.labels == label).nonzero()[:, 0]
        out = min(max(1, round(share * count)), count - 1)
        held[places[torch.randperm(count, generator=generator)[:out]]] = True
    return data.select((~held).nonzero()[:, 0]), data.select(held.nonzero()[:, 0])


def _pictures(folder: Path) -> dict[str, dict[str, Path]]:
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}")
    classes = {}
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        files = {path.name: path for path in sorted(inner.iterdir()) if path.suffix.lower() in SUFFIXES}
        if len(files) < 2:
            raise DataError(f"{inner} holds {len(files)} pictures: a class needs two, to train on and to test on")
        classes[inner.name] = files
    if len(classes) < 2:
        raise DataError(f"{folder} holds {len(classes)} folders of classes: it needs at least two")
    return classes


def square(picture: Tensor, side: int) -> Tensor:
    """Scale a picture to a square of a side in pixels."""
    return F.interpolate(picture[None], (side, side), mode="bilinear", antialias=True, align_corners=False)[0]
