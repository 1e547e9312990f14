"""Find the images in a folder, by a plain walk."""

from __future__ import annotations

import os
import stat
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from inverseflow.data.encoded import SUFFIXES, Encoded
from inverseflow.data.location import printable
from inverseflow.errors import DataError

_NAMED = 3  # files that a message names before it only counts
_RUN = frozenset(["config.yaml", "checkpoints"])  # what the folder of a training run holds, next to its pictures
_NOT_DONE = (".part", ".partial", ".crdownload", ".download", ".tmp", ".bak", ".orig", "~")


@dataclass(frozen=True)
class FoundFiles:
    """The content of a folder and its subfolders. Paths are relative to `root`, in the order of their text."""

    root: Path
    images: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    """All subfolders, even those without images."""
    others: list[Path] = field(default_factory=list)
    """Files that are not images."""
    hidden: list[Path] = field(default_factory=list)
    """Files and folders whose names begin with a dot."""
    runs: list[Path] = field(default_factory=list)
    """Folders of training runs."""

    def encoded(self, path: Path) -> Encoded:
        """Return the image at one of the paths."""
        return Encoded(self.root / path, printable(self.root / path))

    def describe_others(self) -> str:
        """Name and count what is not an image; an empty string if there is nothing else."""
        kinds = {"other file": self.others, "hidden file": self.hidden, "training run": self.runs}
        return ", ".join(
            f"{len(paths)} {kind}{'' if len(paths) == 1 else 's'} ({listed(paths)})"
            for kind, paths in kinds.items()
            if paths
        )

    def require_images(self) -> None:
        """Refuse a folder without images.

        Raises:
            DataError: if there are no images; it names what was found instead.
        """
        if not self.images:
            others = self.describe_others()
            raise DataError(
                f"{printable(self.root)} holds no images{f', only {others}' if others else ''}: put image files there "
                f"({' '.join(sorted(SUFFIXES))}), or name another folder"
            )


def find_files(root: Path, group: Callable[[Path], str | None] = lambda folder: None) -> FoundFiles:
    """Find all files in a folder and its subfolders, through links, and tell images from others.

    A file is an image if its name ends like one (`SUFFIXES`, in any case), or if it begins as PNG, JPEG, GIF or WebP
    files do and is not a backup or a partial download by its name. Files and folders whose names begin with a dot are
    hidden. They and the folders of training runs are listed but not looked into.

    A folder that can be reached in several ways is read once, if possible not through a link, so cycles of links end.

    Args:
        root: the folder.
        group: of a subfolder, perhaps the name of a group. A folder outside of a group and links to it in groups are
            all read.

    Raises:
        DataError: if a folder cannot be read.
    """
    found = FoundFiles(root)
    identities: dict[Path, tuple[int, int]] = {}
    seen = defaultdict[tuple[int, int], set[str | None]](set)
    folders, linked = deque([Path()]), deque[Path]()
    while folders or linked:
        folder = folders.popleft() if folders else linked.popleft()
        status = os.stat(root / folder)
        identity = identities[folder] = status.st_dev, status.st_ino
        groups, own_group = seen[identity], group(folder)
        in_itself = any(identities[parent] == identity for parent in folder.parents)
        if in_itself or own_group in groups or (own_group is None and groups):
            continue
        groups.add(own_group)
        names = _names(root / folder)
        if folder != Path():
            if names >= _RUN:
                found.runs.append(folder)
                continue
            found.folders.append(folder)
        for name in sorted(names):
            path = folder / name
            mode = _mode(root / path)
            if name.startswith("."):
                found.hidden.append(path)
            elif stat.S_ISDIR(mode):
                (linked if os.path.islink(root / path) else folders).append(path)
            elif _is_image(root / path, mode):
                found.images.append(path)
            else:
                found.others.append(path)
    for paths in (found.images, found.folders, found.others, found.hidden, found.runs):
        paths.sort(key=Path.as_posix)
    return found


def listed(paths: list[Path]) -> str:
    """Return the first few of the paths, separated by commas."""
    shown = ", ".join(printable(path) for path in paths[:_NAMED])
    return f"{shown}, ..." if len(paths) > _NAMED else shown


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except OSError as error:
        raise DataError(
            f"{printable(folder)} cannot be read ({error.strerror}): change its permissions, or remove it"
        ) from error


def _mode(path: Path) -> int:
    """Return the kind of file that `path` is, or that it links to; 0 for a link to nothing."""
    try:
        return os.stat(path).st_mode
    except OSError:
        return 0


def _is_image(path: Path, mode: int) -> bool:
    if mode and not stat.S_ISREG(mode):
        return False  # opening a pipe would wait for ever
    if path.suffix.lower() in SUFFIXES:
        return True
    if path.name.lower().endswith(_NOT_DONE):
        return False
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError:
        return False
    # Other formats have signatures too weak, or share them: many cameras' raw files begin like TIFF.
    webp = head[:4] == b"RIFF" and head[8:] == b"WEBP"
    return webp or head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a"))
