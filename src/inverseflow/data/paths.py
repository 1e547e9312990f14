"""Check the paths of data, and show them in messages."""

import os
from pathlib import Path

from inverseflow.errors import DataError


def existing_folder(path: str | os.PathLike[str], source: str = "") -> Path:
    """Return the path of an existing folder, with ``~`` expanded. `source` begins an error message."""
    folder = Path(os.path.expanduser(path))  # unlike Path.expanduser, leaves the name of an unknown user
    if not os.path.isdir(folder):
        problem = "is a file" if os.path.isfile(folder) else "does not exist"
        raise DataError(f"{source}{printable(folder)} {problem}: give the folder that holds the data (--data-dir)")
    return folder


def printable(path: str | os.PathLike[str]) -> str:
    """Return a path as text for any terminal: bytes that are not UTF-8 and control characters become escapes."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def listed(paths: list[Path]) -> str:
    """Return the first three paths, separated by commas."""
    return ", ".join([*map(printable, paths[:3]), *(["..."] if len(paths) > 3 else [])])
