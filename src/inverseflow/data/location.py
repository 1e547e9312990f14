"""Where data lies on this machine, and how its files are named in messages."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from inverseflow.errors import DataError

DATA_VARIABLE = "INVERSEFLOW_DATA"
"""Environment variable naming the folder whose subfolders are data sets."""


def existing_folder(path: str | os.PathLike[str], called: str = "") -> Path:
    """Return `path` as a folder that exists. A leading ``~`` is the home folder; links are followed.

    Args:
        path: the folder.
        called: what names the folder, as the beginning of an error message.

    Raises:
        DataError: if there is no such folder, or it is a file.
    """
    folder = Path(path)
    with suppress(RuntimeError):  # ~somebody, of whom this machine does not know
        folder = folder.expanduser()
    shown = f"{called}{printable(folder)}"
    try:
        is_folder, exists, is_link = folder.is_dir(), folder.exists(), folder.is_symlink()
    except (OSError, ValueError) as error:  # a name too long, a null character, a folder that may not be searched
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(
            f"{shown} cannot be read ({reason}): give the folder that holds the data (--data-dir)"
        ) from None
    if is_folder:
        return folder
    if exists:
        raise DataError(f"{shown} is a file: give the folder that holds it (--data-dir)")
    missing = f"is a link to {printable(os.readlink(folder))}, which does not exist" if is_link else "does not exist"
    raise DataError(f"{shown} {missing}: give the folder that holds the data (--data-dir)")


def printable(path: str | os.PathLike[str]) -> str:
    r"""Return a path as text that any terminal and any UTF-8 file can hold.

    Bytes that are not UTF-8, control characters and line breaks are written as escapes.

    Example:
        >>> printable("caf\udce9/a\nb.png")
        'caf\\xe9/a\\nb.png'
    """
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
