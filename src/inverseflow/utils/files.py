"""Write files and folders atomically: under a temporary name in the same folder, then renamed."""

import errno
import io
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_TEMPORARY = re.compile(r"\..{0,20}\.[0-9a-f]{16}\.part.{0,20}", re.DOTALL)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to, and rename it to `path` when the block ends without an error.

    After an error the temporary file is deleted, and a previous file at `path` is untouched. A symbolic link at `path`
    is written through to its target. A device or a pipe cannot be replaced, so it is yielded itself.

    The temporary file is created exclusively under a random name, so concurrent writers don't collide and no link is
    followed. It keeps the suffix, from which some writers infer the format. A new file gets its permissions from the
    umask, a replaced one keeps those it had. Missing parent folders are created.
    """
    with errors_naming(path):
        if "\0" in str(path):
            raise OSError(errno.EINVAL, "the name contains a null character", str(path).replace("\0", "\\0"))
        target = Path(os.path.realpath(path)) if path.is_symlink() else path
        if target.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
        mode = target.stat().st_mode if target.exists() else None
        if mode is not None and stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        target.parent.mkdir(parents=True, exist_ok=True)
    if mode is not None and not stat.S_ISREG(mode):
        with errors_naming(path):
            yield path
        return
    temporary = _temporary(target)
    try:
        with errors_naming(path, temporary):
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            permissions = stat.S_IMODE(temporary.stat().st_mode if mode is None else mode)
            yield temporary
            temporary.chmod(permissions)  # some writers replace the file by one of their own
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(target.parent)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder to fill, and put it in place of `path` when the block ends without an error."""
    temporary = _temporary(path)
    try:
        with errors_naming(path, temporary):
            temporary.mkdir(parents=True)
            yield temporary
            if path.is_dir():
                shutil.rmtree(path)
            os.replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, "utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write `content` to `path` as indented JSON, atomically."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # The name of a file may hold lone surrogates, which UTF-8 has not. As \udcXX they are valid JSON and come back.
    data = text.encode("utf-8", "backslashreplace")
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def write_torch(path: Path, content: Any) -> None:
    """Write `content` to `path` by `torch.save`, atomically."""
    import torch

    buffer = io.BytesIO()  # on a full disk torch's own writer raises a RuntimeError without a cause
    torch.save(content, buffer)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        file.write(buffer.getbuffer())


def is_temporary(path: Path) -> bool:
    """Return whether `path` has a name that `atomic_write` or `atomic_folder` gives to a temporary file or folder."""
    return _TEMPORARY.fullmatch(path.name) is not None


def delete_temporary(folder: Path) -> None:
    """Delete what killed writers left behind in a folder. Nobody may be writing into it at the time."""
    delete(*filter(is_temporary, folder.iterdir() if folder.is_dir() else ()))


def delete(*paths: Path) -> None:
    """Delete files, links and whole folders; missing ones are ignored."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    """Return a random name in the folder of `path`, short even if `path` has the longest name allowed."""
    return path.with_name(f".{path.stem[:20]}.{secrets.token_hex(8)}.part{path.suffix[-20:]}")


@contextmanager
def errors_naming(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Make system errors of the block name `path` if they name no file, or a file in `temporary`."""
    try:
        yield
    except OSError as error:
        inner = Path()
        if isinstance(error.filename, (str, bytes)):
            named = Path(os.fsdecode(error.filename))
            if temporary is None or not named.is_relative_to(temporary):
                raise
            inner = named.relative_to(temporary)
        number = errno.EIO if error.errno is None else error.errno
        raise OSError(number, error.strerror or str(error), str(path / inner)) from error


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):  # not every file system lets a folder be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
