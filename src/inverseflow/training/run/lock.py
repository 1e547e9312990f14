"""The lock of a run folder: one training process at a time."""

import errno
import os
import socket
from contextlib import suppress
from pathlib import Path

from inverseflow.errors import RunError

try:
    import fcntl
except ImportError:  # Windows: runs are not locked
    fcntl = None  # type: ignore[assignment]

LOCK_NAME = ".lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # of the file system


class RunLock:
    """Exclusive lock of a run folder, released at the end of a ``with`` block or when the process dies.

    It is the operating system's lock of a file in the folder, so a lock file left by a killed process locks nothing. On
    a file system without locks every run is let in.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / LOCK_NAME
        self._file: int | None = None

    def __enter__(self) -> "RunLock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def acquire(self) -> None:
        """Lock the folder, made if it does not exist; do nothing if this object has locked it already."""
        try:
            while self._file is None and fcntl is not None:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._file = self._open()
        except OSError as error:
            raise RunError(f"cannot write to {self._folder}: {(error.strerror or str(error)).lower()}") from error

    def check(self) -> None:
        """Check that the folder is still the one that was locked, and was not removed or replaced."""
        if self._file is not None and not self._is_current(self._file):
            raise RunError(f"{self._folder} was removed or replaced during training; nothing more is written to it")

    def release(self) -> None:
        """Unlock the folder."""
        if self._file is None:
            return
        if self._is_current(self._file):
            with suppress(OSError):
                self._path.unlink()
        os.close(self._file)
        self._file = None

    def _open(self) -> int | None:
        """Open and lock the file; None if another process deleted it in between."""
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(file, 1000).decode("utf-8", "replace").strip() or "another process"
            os.close(file)
            raise RunError(
                f"{self._folder} is in use: {owner} trains in it; wait for it or stop it, or choose another folder "
                "with --out"
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(file)
                raise
        if not self._is_current(file):
            os.close(file)
            return None
        os.truncate(file, 0)
        os.write(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        return file

    def _is_current(self, file: int) -> bool:
        try:
            return os.path.samestat(os.fstat(file), self._path.stat(follow_symlinks=False))
        except OSError:
            return False
