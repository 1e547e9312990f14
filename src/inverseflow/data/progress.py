"""Show how far the reading of many images has come."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from inverseflow.utils.packages import packages_for

if TYPE_CHECKING:
    from tqdm import tqdm

_DELAY = 1.0  # seconds before the first sign: small sets are read in silence
_BETWEEN_LINES = 30.0  # seconds


class Progress:
    """A bar on a terminal and a line now and then elsewhere, on standard error, once reading takes over a second.

    Args:
        what: what is done, such as "reading images".
        total: number of images.
        show: whether to show anything at all.

    Example:
        >>> with Progress("reading images", 2, show=False) as progress:
        ...     progress.advance(2)
    """

    def __init__(self, what: str, total: int, *, show: bool) -> None:
        self._what = what
        self._total = total
        self._show = show
        self._done = 0
        self._bar: tqdm[Any] | None = None

    def __enter__(self) -> Progress:
        self._next_line = time.monotonic() + _DELAY
        if self._show and sys.stderr.isatty():
            with packages_for("showing progress"):
                from tqdm import tqdm
            self._bar = tqdm(
                total=self._total, desc=self._what, unit="image", delay=_DELAY, leave=False, dynamic_ncols=True
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, count: int) -> None:
        """Count `count` more images as done."""
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
        elif self._show and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _BETWEEN_LINES
            print(f"{self._what}: {self._done} of {self._total}", file=sys.stderr, flush=True)
