"""Files that are either whole or not there: written aside in the same folder, then renamed."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Gives a name beside `path` to write to. When the block ends well the file takes the name `path`, else it goes.

    Raises:
        OSError: If the file cannot be written; it names `path`, not the name beside it.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "words.txt"
    >>> with written_aside(path) as aside:
    ...     _ = aside.write_text("whole")
    >>> path.read_text()
    'whole'
    """
    aside = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        with aside.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException as error:
        with suppress(OSError):
            aside.unlink()
        if isinstance(error, OSError) and error.errno is not None:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise
    _sync_folder(path.parent)


@contextmanager
def written_folder(path: Path) -> Iterator[Path]:
    """Gives an empty folder beside `path` to write to. When the block ends well it takes its place, else it goes.

    A former folder at `path` is kept until the new one is whole.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside, former = path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.former")
    for left_over in (aside, former):
        shutil.rmtree(left_over, ignore_errors=True)
    aside.mkdir()
    try:
        yield aside
        if path.exists():
            os.replace(path, former)
        os.replace(aside, path)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    shutil.rmtree(former, ignore_errors=True)
    _sync_folder(path.parent)


def write_json(path: Path, content: Any) -> None:
    """Writes `content` as indented JSON. Numbers that JSON does not know are refused."""
    with written_aside(path) as aside:
        aside.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")


def write_torch(path: Path, content: Any) -> None:
    """Writes `content` as `torch.save` does, but by way of memory, so that an error tells what the disk has to say."""
    import torch

    buffer = io.BytesIO()
    torch.save(content, buffer)
    with written_aside(path) as aside, aside.open("wb") as file:
        file.write(buffer.getbuffer())


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):  # not every file system lets a folder be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
