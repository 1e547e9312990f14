"""Find the images in a folder, and which of them are for training, validation and test."""

import os
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from inverseflow.data.paths import printable
from inverseflow.errors import DataError

SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("bmp", "dib", "gif", "jpg", "jpeg", "jpe", "jfif", "mpo", "jp2", "j2k", "j2c", "jpc", "jpf", "jpx"),
        *("png", "apng", "pbm", "pgm", "ppm", "pnm", "tif", "tiff", "webp"),
    )
)
"""Endings, in lower case, of the names of image files."""

_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def named_split(path: Path) -> str | None:
    """Return the split that the first folder on `path` that is named after one gives."""
    return next((_SPLITS[name.lower()] for name in path.parts if name.lower() in _SPLITS), None)


@dataclass(frozen=True)
class FoundFiles:
    """The files in a folder and its subfolders: paths relative to `root`, sorted."""

    root: Path
    images: dict[str | None, list[Path]] = field(default_factory=lambda: defaultdict(list))
    """Images by split: the first folder on a path that is named after a split gives it, None stands for no such folder.
    A split whose folders hold no images has an empty list."""
    others: list[Path] = field(default_factory=list)
    """Files that are not images, and what is hidden: its name begins with a dot."""


def find_files(root: Path) -> FoundFiles:
    """Find all files in a folder and its subfolders, through links. Hidden folders are not searched.

    A folder that can be reached in several ways is read once for each split, so cycles of links end.
    """
    found = FoundFiles(root)
    identities: dict[Path, tuple[int, int]] = {}
    seen: set[tuple[str | None, tuple[int, int]]] = set()
    for where, subfolders, names in os.walk(root, followlinks=True, onerror=_refuse):
        folder = Path(where).relative_to(root)
        status = os.stat(where)
        identity = identities[folder] = status.st_dev, status.st_ino
        split = named_split(folder)
        if (split, identity) in seen or any(identities[parent] == identity for parent in folder.parents):
            subfolders.clear()
            continue
        seen.add((split, identity))
        images = found.images[split]
        found.others.extend(folder / name for name in subfolders if name.startswith("."))
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        subfolders.sort(key=lambda name: (os.path.islink(os.path.join(where, name)), name))
        for name in names:
            (images if _is_image(os.path.join(where, name)) else found.others).append(folder / name)
    for paths in (*found.images.values(), found.others):
        paths.sort(key=Path.as_posix)
    return found


def _refuse(error: OSError) -> NoReturn:
    raise DataError(
        f"{printable(error.filename)} cannot be read ({error.strerror}): change its permissions, or remove it"
    ) from error


def _is_image(path: str) -> bool:
    name = os.path.basename(path)
    if name.startswith(".") or os.path.splitext(name)[1].lower() not in SUFFIXES:
        return False
    # A link to nothing counts, so that reading it fails by name. A pipe does not: opening it would wait for ever.
    return os.path.isfile(path) or not os.path.exists(path)
