"""Data sets with an official test split: finding them on disk or on the hub, and carving out the validation split."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from inverseflow.data.decoding import Decoder, decode_all
from inverseflow.data.huggingface import EncodedSplit, read_hub, read_image_folder, read_parquet
from inverseflow.data.idx import read_idx
from inverseflow.data.images import ImageSplits, TensorImages
from inverseflow.data.location import DATA_VARIABLE, existing_folder
from inverseflow.data.splitting import split_indices
from inverseflow.errors import DataError

_SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.parquet$")


@dataclass(frozen=True)
class OfficialSet:
    """What is known of such a data set beforehand."""

    name: str
    title: str
    shape: tuple[int, int, int]
    train_size: int
    """Images in the official training split, validation included."""
    test_size: int
    validation_size: int
    hub_repository: str
    folders: tuple[str, ...]
    """Subfolders of a data folder in which the files may lie, beside the folder itself."""
    idx_stems: dict[str, str] | None = None
    """Beginnings of the names of the IDX files by split, where the set is published in that format."""
    augmentations: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Split:
    images: TensorImages
    lossy: bool
    """Whether some of the images were stored as JPEG."""


def load_official(spec: OfficialSet, data_dir: str | os.PathLike[str] | None = None, *, split_seed: int) -> ImageSplits:
    """Load a data set from a folder, or else from ``$INVERSEFLOW_DATA``, or else from the Hugging Face hub.

    The folder may hold IDX files (plain or gzip), parquet files, or image folders ``train`` and ``test``, itself or in
    one of the usual subfolders. The title tells when images were stored as JPEG, or are not all of the official ones.

    Args:
        spec: the data set.
        data_dir: the folder.
        split_seed: chooses which images of the official training split are set aside for validation.

    Raises:
        DataError: there is no such folder, the data set is not in it, or it is damaged.
    """
    folder = _folder(spec, data_dir)
    train, test = _read_hub(spec) if folder is None else _read_folder(spec, folder)
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
    """Return the folder to read from, or ``None`` for the hub."""
    if data_dir is not None:
        return existing_folder(data_dir)
    variable = os.environ.get(DATA_VARIABLE)
    if not variable:
        return None
    root = existing_folder(variable, called=f"{DATA_VARIABLE} = ")
    return next((root / name for name in spec.folders if (root / name).is_dir()), None)


def _read_hub(spec: OfficialSet) -> tuple[_Split, _Split]:
    splits = read_hub(
        spec.hub_repository,
        remedy=f"name a folder that holds {spec.title} with --data-dir, or set {DATA_VARIABLE} to the folder above it",
    )
    for split in ("train", "test"):
        if split not in splits:
            raise DataError(
                f"{spec.hub_repository} on the Hugging Face hub has no split {split!r}, only {list(splits)}"
            )
    return _decode(spec, splits["train"]), _decode(spec, splits["test"])


def _read_folder(spec: OfficialSet, root: Path) -> tuple[_Split, _Split]:
    for folder in (root, *(root / name for name in spec.folders)):
        if spec.idx_stems and any(list(_idx_files(folder, stem)) for stem in spec.idx_stems.values()):
            train, test = (_read_idx_split(spec, folder, split) for split in ("train", "test"))
            return train, test
        if any(_parquet_files(folder, split) for split in ("train", "test")):
            train, test = (_decode(spec, read_parquet(_shards(folder, split))) for split in ("train", "test"))
            return train, test
        if any((folder / split).is_dir() for split in ("train", "test")):
            return _read_image_folders(spec, folder)
    idx = "the four IDX files, " if spec.idx_stems else ""
    raise DataError(
        f"{root} holds no {spec.title}: expected {idx}train.parquet and test.parquet, "
        "or the image folders train and test"
    )


def _idx_files(folder: Path, stem: str, kind: str = "*") -> Iterator[Path]:
    """Yield, plain before compressed, the IDX files of a split, under the names in use."""
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
            raise DataError(f"{folder} lacks {stem}-{kind}-idx{ndim}-ubyte (plain or .gz): put it beside the others")
        paths.append(path)
        arrays.append(read_idx(path, ndim))
    pixels, labels = arrays
    if len(pixels) != len(labels):
        raise DataError(
            f"{paths[0]} holds {len(pixels)} images but {paths[1].name} holds {len(labels)} labels: "
            "they are not of one set, download both again"
        )
    if (1, *pixels.shape[1:]) != spec.shape:
        raise DataError(
            f"{paths[0]} holds images of {pixels.shape[1]}×{pixels.shape[2]}, "
            f"but those of {spec.title} are {spec.shape[1]}×{spec.shape[2]}: put the original file in its place"
        )
    return _Split(TensorImages(pixels.unsqueeze(1), labels), lossy=False)


def _parquet_files(folder: Path, split: str) -> list[Path]:
    """Return a split's parquet files under the first of the names that the hub uses."""
    for pattern in (f"{split}.parquet", f"{split}-*.parquet", f"{split}/*.parquet"):
        if files := sorted(folder.glob(pattern)):
            return files
    return []


def _shards(folder: Path, split: str) -> list[Path]:
    files = _parquet_files(folder, split)
    if not files:
        raise DataError(f"{folder} lacks {split}.parquet: put it beside the other split's file")
    if match := _SHARD.search(files[0].name):
        promised = int(match[2])
        if promised != len(files):
            raise DataError(
                f"{folder} holds {len(files)} of the {promised} parquet files of the split {split!r}: download the rest"
            )
    return files


def _read_image_folders(spec: OfficialSet, folder: Path) -> tuple[_Split, _Split]:
    for split in ("train", "test"):
        if not (folder / split).is_dir():
            raise DataError(f"{folder} lacks the image folder {split!r}: put it beside the other split's folder")
    train, test = (read_image_folder(folder / split) for split in ("train", "test"))
    if train.classes != test.classes:
        raise DataError(f"{folder} has other class folders in train than in test: {train.classes} and {test.classes}")
    return _decode(spec, train), _decode(spec, test)


def _decode(spec: OfficialSet, split: EncodedSplit) -> _Split:
    pixels = decode_all(split.images, Decoder(spec.shape))
    return _Split(TensorImages(pixels, split.labels), lossy=any(image.is_jpeg() for image in split.images))
