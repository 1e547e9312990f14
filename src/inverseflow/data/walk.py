"""Find the files of one kind in a folder, and which of them are for training, validation and test."""

import os
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from inverseflow.data.paths import listed, printable
from inverseflow.errors import DataError


@dataclass(frozen=True)
class FileKind:
    """A kind of files that is told by the endings of their names."""

    noun: str
    """What one of them is called."""
    suffixes: frozenset[str]
    """Endings of the names, in lower case."""


IMAGE_FILES = FileKind(
    "image",
    frozenset(
        f".{name}"
        for name in (
            *("bmp", "dib", "gif", "jpg", "jpeg", "jpe", "jfif", "mpo", "jp2", "j2k", "j2c", "jpc", "jpf", "jpx"),
            *("png", "apng", "pbm", "pgm", "ppm", "pnm", "tif", "tiff", "webp"),
        )
    ),
)
AUDIO_FILES = FileKind("recording", frozenset({".wav", ".wave"}))

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
    kind: FileKind
    files: dict[str | None, list[Path]] = field(default_factory=lambda: defaultdict(list))
    """Files of the kind by split: the first folder on a path that is named after a split gives it, None stands for no
    such folder. A split whose folders hold none has an empty list."""
    others: list[Path] = field(default_factory=list)
    """Files of other kinds, and what is hidden: its name begins with a dot."""


def find_files(root: Path, kind: FileKind) -> FoundFiles:
    """Find all files in a folder and its subfolders, through links. Hidden folders are not searched.

    A folder that can be reached in several ways is read once for each split, so cycles of links end.
    """
    found = FoundFiles(root, kind)
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
        files = found.files[split]
        found.others.extend(folder / name for name in subfolders if name.startswith("."))
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        subfolders.sort(key=lambda name: (os.path.islink(os.path.join(where, name)), name))
        for name in names:
            (files if _is_of(kind, os.path.join(where, name)) else found.others).append(folder / name)
    for paths in (*found.files.values(), found.others):
        paths.sort(key=Path.as_posix)
    return found


def paths_by_split(found: FoundFiles) -> tuple[dict[str, list[Path]], tuple[str, ...]]:
    """Return the files by split, "train" first, and notes for the user. A split without subfolders is missing.

    Raises:
        DataError: if the files of a split are missing.
    """
    noun = found.kind.noun
    where = printable(found.root)
    others = counted("other file", found.others)
    notes = [f"left out of {where}: {others}"] if others else []
    given: dict[str, list[Path]] = {
        split: found.files[split] for split in ("validation", "test") if split in found.files
    }
    outside, train = found.files[None], found.files.get("train")
    if not given:
        train = sorted([*outside, *(train or [])], key=Path.as_posix)
        if not train:
            raise DataError(
                f"{where} holds no {noun}s{f', only {others}' if others else ''}: put {noun} files there "
                f"({' '.join(sorted(found.kind.suffixes))}), or name another folder"
            )
    elif train is None:
        held_out = {os.path.realpath(found.root / path) for paths in given.values() for path in paths}
        train = [path for path in outside if os.path.realpath(found.root / path) not in held_out]
    elif outside:
        notes.append(f"left out of {where}: {counted(noun, outside)} outside of its subfolders for splits")
    parts: dict[str, list[Path]] = {"train": train, **given}
    for split, paths in parts.items():
        if not paths:
            raise DataError(
                f"{where} holds no {noun}s for {split}: put some into a subfolder {split!r}, or rename the subfolders "
                "that are named after splits"
            )
    return parts, tuple(notes)


def counted(noun: str, paths: list[Path]) -> str:
    """Return how many files there are and the names of some; nothing if there are none."""
    return f"{len(paths)} {noun}{'s' if len(paths) > 1 else ''} ({listed(paths)})" if paths else ""


def _refuse(error: OSError) -> NoReturn:
    raise DataError(
        f"{printable(error.filename)} cannot be read ({error.strerror}): change its permissions, or remove it"
    ) from error


def _is_of(kind: FileKind, path: str) -> bool:
    name = os.path.basename(path)
    if name.startswith(".") or os.path.splitext(name)[1].lower() not in kind.suffixes:
        return False
    # A link to nothing counts, so that reading it fails by name. A pipe does not: opening it would wait for ever.
    return os.path.isfile(path) or not os.path.exists(path)
