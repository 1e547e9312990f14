"""What Hugging Face ``datasets`` reads for us: parquet files, folders of images, and data sets on the hub."""

import glob
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from inverseflow.data.decoding import Encoded
from inverseflow.errors import DataError
from inverseflow.utils.packages import packages_for

if TYPE_CHECKING:
    import datasets

_IMAGE_COLUMNS = ("img", "image")
_LABEL_COLUMN = "label"


@dataclass(frozen=True)
class EncodedSplit:
    """One split as it is stored."""

    images: list[Encoded]
    labels: Tensor | None
    """``(N,)`` ``int64``, or ``None`` where none are stored."""
    classes: tuple[str, ...] | None = None
    """Names of the labels, where they are stored."""


def read_parquet(files: Sequence[Path]) -> EncodedSplit:
    """Read parquet files in the layout of the hub: a column ``img`` or ``image`` of encoded images, perhaps ``label``.

    Args:
        files: the shards of one split, in order.

    Raises:
        DataError: a file is missing or damaged, or holds something else.
    """
    where = str(files[0]) if len(files) == 1 else f"{files[0].parent} ({files[0].name} ... {files[-1].name})"
    return _encoded_split(_load(where, "parquet", [glob.escape(str(file)) for file in files]), where)


def read_image_folder(folder: Path) -> EncodedSplit:
    """Find the images of any kind that Pillow reads in a folder and its subfolders, sorted by path.

    Hidden files, and files that by their name are not images, are passed over. Labels are the numbers of the subfolders
    in alphabetical order, if all images lie in such.

    Raises:
        DataError: there are no images, or the folder cannot be read.
    """
    table = _load(str(folder), "imagefolder", [glob.escape(str(folder)) + "/**"], drop_metadata=True)
    split = _encoded_split(table, str(folder))
    order = sorted(range(len(split.images)), key=lambda index: Path(split.images[index].name).as_posix())
    labels = None if split.labels is None else split.labels[torch.tensor(order)]
    return EncodedSplit([split.images[index] for index in order], labels, split.classes)


def read_hub(repository: str, remedy: str) -> dict[str, EncodedSplit]:
    """Fetch a data set from the Hugging Face hub, or from the copy that an earlier call left in its cache.

    Args:
        repository: the data set's name on the hub, such as ``"ylecun/mnist"``.
        remedy: what to do instead where the hub is out of reach, the end of an error message.

    Returns:
        The splits by name.

    Raises:
        DataError: the hub is out of reach and the data set not in its cache.
    """
    with packages_for("fetching data from the Hugging Face hub"):
        import datasets
    try:
        with _quiet(local=False):
            tables = datasets.load_dataset(repository)
    except Exception as error:  # the hub's client raises the errors of several network libraries
        raise DataError(
            f"{repository} cannot be fetched from the Hugging Face hub ({_reason(error)}): {remedy}"
        ) from error
    return {split: _encoded_split(table, f"{repository}, split {split!r}") for split, table in tables.items()}


def _load(where: str, builder: str, patterns: list[str], **options: Any) -> "datasets.Dataset":
    with packages_for(f"reading {where}"):
        import datasets
    try:
        with _quiet(local=True):
            return datasets.load_dataset(builder, data_files={"train": patterns}, split="train", **options)
    except Exception as error:  # damage shows as errors of pyarrow and of datasets, which have no base in common
        # An OSError of the operating system has a number; pyarrow also uses OSError for damaged content.
        cause = _root(error)
        if isinstance(cause, OSError) and cause.errno is not None:
            raise DataError(
                f"{where} cannot be read through the Hugging Face cache ({_reason(error)}): check permissions and free "
                "space, or set HF_HOME to another folder"
            ) from error
        if isinstance(error, FileNotFoundError) or "corresponds to no data" in str(error):
            raise DataError(f"{where} holds no images: put image files there, or name another place") from error
        raise DataError(f"{where} is damaged or not {builder} data ({_reason(error)}): download it again") from error


def _encoded_split(table: "datasets.Dataset", where: str) -> EncodedSplit:
    import datasets

    column = next((name for name in _IMAGE_COLUMNS if name in table.column_names), None)
    if column is None:
        raise DataError(
            f"{where} has no column of images: expected one of {', '.join(_IMAGE_COLUMNS)}, "
            f"found {', '.join(table.column_names) or 'none'}"
        )
    content = table.with_format("arrow")[:]  # as stored: the images are not decoded
    images = [_encoded(value, f"row {row} of {where}") for row, value in enumerate(content[column].to_pylist())]
    if _LABEL_COLUMN not in table.column_names:
        return EncodedSplit(images, labels=None)
    labels = content[_LABEL_COLUMN].to_pylist()
    odd = next((row for row, label in enumerate(labels) if not isinstance(label, int)), None)
    if odd is not None:
        raise DataError(f"row {odd} of {where} has the label {labels[odd]!r}: labels must be whole numbers")
    feature = table.features[_LABEL_COLUMN]
    classes = tuple(feature.names) if isinstance(feature, datasets.ClassLabel) else None
    return EncodedSplit(images, torch.tensor(labels, dtype=torch.int64), classes)


def _encoded(value: Any, name: str) -> Encoded:
    """Take an image out of its cell: bytes, or ``{"bytes": ..., "path": ...}`` with one of the two."""
    content, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
    if isinstance(content, bytes):
        return Encoded(content, name)
    if isinstance(path, str):
        return Encoded(Path(path), path)
    raise DataError(f"{name} holds no encoded image: expected the bytes of a PNG or JPEG file, found {type(content)}")


def _root(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _reason(error: BaseException) -> str:
    cause = _root(error)
    first_line = str(cause).strip().partition("\n")[0]
    return re.sub(r"[.:]$", "", first_line) or type(cause).__name__


@contextmanager
def _quiet(*, local: bool) -> Iterator[None]:
    """Keep ``datasets`` from printing what our own error says and, of local files, from reporting anything at all."""
    import datasets
    from huggingface_hub.utils import logging as hub_logging

    verbosity, hub_verbosity = datasets.logging.get_verbosity(), hub_logging.get_verbosity()
    bars, counting = datasets.is_progress_bar_enabled(), datasets.config.HF_UPDATE_DOWNLOAD_COUNTS
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    hub_logging.set_verbosity(logging.ERROR)
    if local:
        datasets.disable_progress_bars()
        # Otherwise reading a local file tells the hub, for its statistics, and waits seconds where there is no network.
        datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    try:
        yield
    finally:
        datasets.logging.set_verbosity(verbosity)
        hub_logging.set_verbosity(hub_verbosity)
        datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = counting
        if bars:
            datasets.enable_progress_bars()
