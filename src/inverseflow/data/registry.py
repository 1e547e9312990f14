"""Data sets by name."""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from inverseflow.data.audio import Encoding, load_audio
from inverseflow.data.condition import LabelCondition
from inverseflow.data.decoding import Crop
from inverseflow.data.examples import Examples, Splits
from inverseflow.data.folder import load_folder
from inverseflow.data.images import ImageSplits
from inverseflow.data.looks import LatticePolicy
from inverseflow.data.named import CIFAR10, FASHION_MNIST, MNIST, binarize, load_digits, load_official
from inverseflow.data.table import load_table
from inverseflow.data.toys import TOYS, load_toy
from inverseflow.errors import DataError

_OFFICIAL = {spec.name: spec for spec in (MNIST, FASHION_MNIST, CIFAR10)}

IMAGE_SETS = ("digits", *_OFFICIAL, "folder")
"""Names that `load_images` knows."""
DATA_SETS = (*IMAGE_SETS, "table", "audio", *TOYS)
"""Names that `load_data` knows."""


def load_data(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    split_seed: int = 0,
    condition: Literal["label"] | None = None,
    binarized: bool = False,
    image_size: int | None = None,
    crop: Crop = "resize",
    channels: int | None = None,
    columns: Sequence[str] = (),
    context_columns: Sequence[str] = (),
    categorical_columns: Sequence[str] = (),
    segment_length: int | None = None,
    encoding: Encoding = "mu-law",
    lattice: LatticePolicy = "dequantize",
    progress: bool = False,
) -> Splits[Examples]:
    """Load a data set by name, split into training, validation and test examples, with contexts if asked.

    The same arguments give the same splits on every machine.

    Args:
        name: the name of a set of images (`load_images`), ``"table"`` (`load_table`), ``"audio"`` (`load_audio`), or
            a distribution in the plane (`load_toy`).
        data_dir: folder of the images or recordings, or for ``table`` the CSV, Parquet, NPZ or NPY file.
        split_seed: chooses which examples go into which split; for a distribution, draws the points.
        condition: ``"label"`` for the class of each example as its context, a `LabelCondition`. The classes of a
            ``folder`` are its subfolders.
        binarized: for images but those of a ``folder``, as in `load_images`.
        image_size: for ``folder``, as in `load_images`.
        crop: for ``folder``, as in `load_images`.
        channels: for ``folder``, as in `load_images`.
        columns: for ``table``: the columns that are modeled. Without them all but the `context_columns`.
        context_columns: for ``table``: the columns that are the context, a `ColumnCondition`.
        categorical_columns: for ``table``: columns of numbers that stand for categories. Columns of text do anyway.
        segment_length: for ``audio``: samples of a segment, as in `load_audio`.
        encoding: for ``audio``: ``"mu-law"`` or ``"pcm"``, as in `load_audio`.
        lattice: for ``table``, as in `load_table`.
        progress: whether to show the progress on standard error, if reading takes over a second.

    Returns:
        The data set with its three splits.

    Raises:
        DataError: if the name is unknown, an option does not apply to the data set, or the data is missing or
            damaged. The message says what to do.

    Example:
        >>> load_data("digits", condition="label").train.batch([0, 1]).context.shape
        torch.Size([2, 10])
        >>> load_data("two-moons").validation
        TensorExamples(5000 × (2,))
    """
    if name not in DATA_SETS:
        raise DataError(f"unknown data set {name!r}: choose one of {', '.join(DATA_SETS)}")
    if condition not in (None, "label"):
        raise DataError(f"unknown condition {condition!r}: choose 'label', or context_columns (--context-columns)")
    of_table = {
        "columns": columns,
        "context_columns": context_columns,
        "categorical_columns": categorical_columns,
    }
    of_folder: dict[str, Any] = {"image_size": image_size, "crop": crop, "channels": channels}
    of_audio: dict[str, Any] = {"segment_length": segment_length, "encoding": encoding}
    if name != "audio":
        _refuse_others(of_audio, "audio", name)
    if binarized and name not in IMAGE_SETS:
        raise DataError(f"binarized applies to images only: leave it out for {name!r}")
    if name == "table":
        _refuse_others(of_folder, "folder", name)
        if condition is not None:
            raise DataError("a table has no labels: name the columns of the context with --context-columns")
        if data_dir is None or data_dir == "":
            raise DataError("the data set 'table' needs a CSV, Parquet, NPZ or NPY file: give data_dir (--data-dir)")
        return load_table(data_dir, split_seed=split_seed, lattice=lattice, **of_table)
    _refuse_others({**of_table, "lattice": lattice}, "table", name)
    splits: Splits[Examples]
    if name in IMAGE_SETS:
        by_class = name == "folder" and condition == "label"
        splits = _load_images(name, data_dir, split_seed, of_folder, progress, by_class=by_class, binarized=binarized)
    elif name == "audio":
        _refuse_others(of_folder, "folder", name)
        if data_dir is None or data_dir == "":
            raise DataError("the data set 'audio' needs a folder of WAV files: give data_dir (--data-dir)")
        splits = load_audio(data_dir, split_seed=split_seed, **of_audio)
    else:
        _refuse_others(of_folder, "folder", name)
        if data_dir is not None:
            raise DataError(f"the data set {name!r} is drawn: leave data_dir (--data-dir) out")
        splits = load_toy(name, split_seed=split_seed)
    return splits if condition is None else with_labels(splits)


def with_labels(splits: Splits[Examples]) -> Splits[Examples]:
    """Return a data set with the class of each example as its context.

    Raises:
        DataError: if the examples have no labels.
    """
    condition = LabelCondition(splits.classes)

    def labeled(examples: Examples) -> Examples:
        if examples.labels is None:
            raise DataError(f"{splits.title} has no classes: leave the condition 'label' out")
        return examples.with_context(condition.one_hot(examples.labels))

    return replace(
        splits,
        condition=condition,
        train=labeled(splits.train),
        validation=labeled(splits.validation),
        test=labeled(splits.test),
    )


def load_images(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    split_seed: int = 0,
    binarized: bool = False,
    image_size: int | None = None,
    crop: Crop = "resize",
    channels: int | None = None,
    progress: bool = False,
) -> ImageSplits:
    """Load a data set by name, split into training, validation and test images.

    The same arguments give the same splits on every machine.

    Args:
        name: ``"digits"`` (needs no network), ``"mnist"``, ``"fashion-mnist"``, ``"cifar10"`` or ``"folder"``.
        data_dir: folder that holds the images, required for ``folder`` and refused for ``digits``. Of the other sets
            it holds the files as published, torchvision's folders, or parquet files of the Hugging Face hub; by default
            it is ``$INVERSEFLOW_DATA``, or else a download from the hub.
        split_seed: chooses which images go into which split. Official test splits stay as they are.
        binarized: whether each pixel is drawn once as 0 or 1, with the probability of its gray level, by a fixed seed.
            Of MNIST that is not the published binarization of Larochelle and Murray. Not for ``folder``.
        image_size: for ``folder``: height and width of all images, after `crop`. By default their own, if it is equal.
        crop: for ``folder``: ``"resize"`` scales the shorter side to `image_size` and cuts out the center,
            ``"center"`` cuts the center out of the original pixels.
        channels: for ``folder``: 1 for gray, 3 for color. By default 1 if all files are gray, else 3.
        progress: whether to show the progress on standard error, if reading takes over a second.

    Returns:
        The data set with its three splits of ``uint8`` images.

    Raises:
        DataError: if the name is unknown, an option does not apply to the data set, or the data is missing or
            damaged. The message says what to do.

    Example:
        >>> splits = load_images("digits")
        >>> splits.train, splits.levels
        (TensorImages(1257 × (1, 8, 8)), 17)
        >>> load_images("cifar")
        Traceback (most recent call last):
        inverseflow.errors.DataError: unknown data set 'cifar': choose one of digits, mnist, fashion-mnist, cifar10, ...
    """
    if name not in IMAGE_SETS:
        raise DataError(f"unknown data set {name!r}: choose one of {', '.join(IMAGE_SETS)}")
    options = {"image_size": image_size, "crop": crop, "channels": channels}
    return _load_images(name, data_dir, split_seed, options, progress, by_class=False, binarized=binarized)


def _load_images(
    name: str,
    data_dir: str | os.PathLike[str] | None,
    split_seed: int,
    of_folder: dict[str, Any],
    progress: bool,
    *,
    by_class: bool,
    binarized: bool,
) -> ImageSplits:
    if name == "folder":
        if binarized:
            raise DataError("binarized applies to named sets of images only: leave it out for 'folder'")
        if data_dir is None or data_dir == "":  # an empty variable of the shell would be the working folder
            raise DataError("the data set 'folder' needs the folder of images: give data_dir (--data-dir)")
        return load_folder(data_dir, split_seed=split_seed, by_class=by_class, progress=progress, **of_folder)
    _refuse_others(of_folder, "folder", name)
    if name == "digits":
        if data_dir is not None:
            raise DataError("the data set 'digits' comes with scikit-learn: leave data_dir (--data-dir) out")
        splits = load_digits(split_seed=split_seed)
    else:
        splits = load_official(_OFFICIAL[name], data_dir, split_seed=split_seed, progress=progress)
    return binarize(splits) if binarized else splits


def _refuse_others(options: dict[str, Any], owner: str, name: str) -> None:
    """Refuse options of another data set that are not at their defaults."""
    for option, value in options.items():
        if value not in (None, "resize", "mu-law", "dequantize", (), []):
            raise DataError(f"{option} applies to the data set {owner!r} only: leave it out for {name!r}")
