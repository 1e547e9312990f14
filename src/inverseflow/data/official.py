"""Data sets with an official test split: find them on disk or on the hub, and hold out the validation split."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from inverseflow.data.cifar_batches import ARCHIVES, has_batches, read_archive, read_batches
from inverseflow.data.decoding import Decoder, decode_all
from inverseflow.data.encoded import EncodedSplit
from inverseflow.data.hub import fetch_from_hub
from inverseflow.data.idx import read_idx
from inverseflow.data.images import ImageSplits, TensorImages
from inverseflow.data.location import DATA_VARIABLE, existing_folder, printable
from inverseflow.data.parquet import read_parquet
from inverseflow.data.splitting import split_indices
from inverseflow.data.walk import find_files
from inverseflow.errors import DataError

_SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.parquet$")
_IMAGE_FOLDERS = {"train": ("train", "training"), "test": ("test", "testing")}


@dataclass(frozen=True)
class OfficialSet:
    """Description of such a data set."""

    name: str
    title: str
    shape: tuple[int, int, int]
    train_size: int
    """Images in the official training split, validation included."""
    test_size: int
    validation_size: int
    hub_repository: str
    folders: tuple[str, ...]
    """Subfolders of a data folder in which to look for the files, after the folder itself, one or two levels deep."""
    idx_stems: dict[str, str] | None = None
    """Beginnings of the names of the IDX files by split, if the set is published in that format."""
    augmentations: tuple[str, ...] = ()
    has_batches: bool = False
    """Whether the set is published as the batch files of CIFAR-10."""


@dataclass(frozen=True)
class _Split:
    images: TensorImages
    lossy: bool = False
    """Whether some of the images were stored as JPEG."""


def load_official(
    spec: OfficialSet,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    split_seed: int,
    progress: bool = False,
) -> ImageSplits:
    """Load a data set from a folder, or else from ``$INVERSEFLOW_DATA``, or else from the Hugging Face hub.

    The folder may hold IDX files (plain or gzip), parquet files, the batch files of CIFAR-10, or image folders for
    training and test, itself or in one of the usual subfolders. The title says if images were stored as JPEG, or if
    their number is not the official one.

    Args:
        spec: the data set.
        data_dir: the folder.
        split_seed: chooses the validation images in the official training split.
        progress: whether to show the progress on standard error.

    Raises:
        DataError: if there is no such folder, the data set is not in it, or it is damaged.
    """
    folder = _folder(spec, data_dir)
    if folder is None:
        folder = fetch_from_hub(
            spec.hub_repository,
            remedy=f"name a folder that holds {spec.title} with --data-dir, or set {DATA_VARIABLE} to the folder above",
        )
    train, test = _read_folder(spec, folder, progress)
    count = len(train.images)
    held_out = max(1, count * spec.validation_size // spec.train_size)
    remaining, validation = split_indices(count, held_out, seed=split_seed)
    notes = ["JPEG"] if train.lossy or test.lossy else []
    if (count, len(test.images)) != (spec.train_size, spec.test_size):
        notes.append(f"{count} + {len(test.images)} images")
    return ImageSplits(
        name=spec.name,
        title=f"{spec.title} ({', '.join(notes)})" if notes else spec.title,
        levels=256,
        event_shape=spec.shape,
        train=train.images.select(remaining),
        validation=train.images.select(validation),
        test=test.images,
        augmentations=spec.augmentations,
    )


def _folder(spec: OfficialSet, data_dir: str | os.PathLike[str] | None) -> Path | None:
    """Return the folder to read from, or `None` for the hub."""
    if data_dir is not None:
        return existing_folder(data_dir)
    variable = os.environ.get(DATA_VARIABLE)
    if not variable:
        return None
    root = existing_folder(variable, called=f"{DATA_VARIABLE} = ")
    if _archive(spec, root) is not None:
        return root
    return next((root / name for name in spec.folders if (root / name).is_dir()), None)


def _read_folder(spec: OfficialSet, root: Path, progress: bool) -> tuple[_Split, _Split]:
    below = [Path(name) for name in spec.folders]
    folders = [root, *(root / name for name in below), *(root / name / deeper for name in below for deeper in below)]
    for folder in folders:
        if spec.idx_stems and any(list(_idx_files(folder, stem)) for stem in spec.idx_stems.values()):
            train, test = (_read_idx_split(spec, folder, split) for split in ("train", "test"))
            return train, test
        if any(_parquet_files(folder, split) for split in ("train", "test")):
            train, test = (_decode(spec, read_parquet(_shards(folder, split)), progress) for split in ("train", "test"))
            return train, test
        if spec.has_batches and has_batches(folder):
            splits = read_batches(folder)
            return _Split(splits["train"]), _Split(splits["test"])
        if any(_image_folder(folder, split) for split in ("train", "test")):
            return _read_image_folders(spec, folder, progress)
    for folder in folders:
        if archive := _archive(spec, folder):
            splits = read_archive(archive)
            return _Split(splits["train"]), _Split(splits["test"])
    raise DataError(f"{printable(root)} holds no {spec.title}: expected {_expected(spec)}; found {_content(root)}")


def _expected(spec: OfficialSet) -> str:
    forms = ["train.parquet and test.parquet", "the image folders train and test"]
    if spec.idx_stems:
        forms.insert(0, "the four IDX files")
    if spec.has_batches:
        forms.insert(0, "cifar-10-batches-py or its archive")
    return f"{', '.join(forms[:-1])}, or {forms[-1]}"


def _content(folder: Path) -> str:
    names = sorted(printable(path.name) for path in folder.iterdir())
    if len(names) > 5:
        return f"{', '.join(names[:5])} and {len(names) - 5} more"
    return ", ".join(names) or "nothing"


def _idx_files(folder: Path, stem: str, kind: str = "*") -> Iterator[Path]:
    """Yield the IDX files of a split under the names in use, plain ones before compressed ones."""
    for pattern in (f"{stem}-{kind}-idx?-ubyte", f"{stem}-{kind}.idx?-ubyte"):
        for suffix in ("", ".gz"):
            yield from sorted(folder.glob(pattern + suffix))


def _read_idx_split(spec: OfficialSet, folder: Path, split: str) -> _Split:
    assert spec.idx_stems is not None
    arrays: list[Tensor] = []
    paths: list[Path] = []
    for kind, ndim in (("images", 3), ("labels", 1)):
        stem = spec.idx_stems[split]
        path = next(_idx_files(folder, stem, kind), None)
        if path is None:
            raise DataError(
                f"{printable(folder)} lacks {stem}-{kind}-idx{ndim}-ubyte (plain or .gz): put it next to the others"
            )
        paths.append(path)
        arrays.append(read_idx(path, ndim))
    pixels, labels = arrays
    images_path, labels_path = paths
    if len(pixels) != len(labels):
        raise DataError(
            f"{printable(images_path)} holds {len(pixels)} images but {printable(labels_path.name)} holds "
            f"{len(labels)} labels: they are not of one set, download both again"
        )
    if (1, *pixels.shape[1:]) != spec.shape:
        raise DataError(
            f"{printable(images_path)} holds images of {pixels.shape[1]}×{pixels.shape[2]}, "
            f"but {spec.title} has images of {spec.shape[1]}×{spec.shape[2]}: put the original file in its place"
        )
    return _Split(TensorImages(pixels.unsqueeze(1), labels))


def _parquet_files(folder: Path, split: str) -> list[Path]:
    """Return a split's parquet files under the first of the names that the hub uses."""
    for pattern in (f"{split}.parquet", f"{split}-*.parquet", f"{split}/*.parquet"):
        if files := sorted(folder.glob(pattern)):
            return files
    return []


def _shards(folder: Path, split: str) -> list[Path]:
    files = _parquet_files(folder, split)
    if not files:
        raise DataError(f"{printable(folder)} lacks {split}.parquet: put it next to the file of the other split")
    if match := _SHARD.search(files[0].name):
        promised = int(match[2])
        if promised != len(files):
            raise DataError(
                f"{printable(folder)} holds {len(files)} of the {promised} parquet files of the split {split!r}: "
                "download the rest"
            )
    return files


def _image_folder(folder: Path, split: str) -> Path | None:
    """Return the subfolder with the images of a split, its name written in any case."""
    if not folder.is_dir():
        return None
    subfolders = sorted(path for path in folder.iterdir() if path.name.lower() in _IMAGE_FOLDERS[split])
    return next((path for path in subfolders if path.is_dir()), None)


def _read_image_folders(spec: OfficialSet, folder: Path, progress: bool) -> tuple[_Split, _Split]:
    splits = {}
    for split in ("train", "test"):
        subfolder = _image_folder(folder, split)
        if subfolder is None:
            raise DataError(f"{printable(folder)} lacks the image folder {split!r}: put it next to the other one")
        splits[split] = _encoded_split(subfolder)
    train, test = splits["train"], splits["test"]
    if train.classes != test.classes:
        raise DataError(
            f"{printable(folder)} has other class folders in train than in test: {train.classes} and {test.classes}"
        )
    return _decode(spec, train, progress), _decode(spec, test, progress)


def _encoded_split(folder: Path) -> EncodedSplit:
    """Find the images in a folder. If all lie in subfolders at one depth, the subfolders' names are the classes."""
    found = find_files(folder)
    found.require_images()
    images = [found.encoded(path) for path in found.images]
    classes = sorted({path.parent.name for path in found.images})
    depths = {len(path.parents) for path in found.images}
    if len(classes) < 2 or len(depths) > 1:
        return EncodedSplit(images, labels=None)
    labels = torch.tensor([classes.index(path.parent.name) for path in found.images])
    return EncodedSplit(images, labels, tuple(map(printable, classes)))


def _archive(spec: OfficialSet, folder: Path) -> Path | None:
    if not spec.has_batches:
        return None
    return next((folder / name for name in ARCHIVES if (folder / name).is_file()), None)


def _decode(spec: OfficialSet, split: EncodedSplit, progress: bool) -> _Split:
    pixels = decode_all(split.images, Decoder(spec.shape), progress=progress)
    return _Split(TensorImages(pixels, split.labels), lossy=any(image.is_jpeg() for image in split.images))
