"""Stop training after the current step on Ctrl-C or SIGTERM."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from typing import Any

from inverseflow.training.loop.ranks import is_first_process


class StopRequest:
    """Handler of Ctrl-C and SIGTERM: the first signal requests a stop, the second one stops at once.

    A context manager. At the end of the block the signals have their previous handlers again. A signal that was ignored
    before, such as Ctrl-C in a background job, stays ignored.
    """

    def __init__(self) -> None:
        self.requested = False
        self._former: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():  # no other thread may handle signals
            self._former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former = {}

    def listen(self) -> None:
        """Handle Ctrl-C and SIGTERM until the end of the block."""
        for number, handler in self._former.items():
            ignored = handler is signal.SIG_IGN
            signal.signal(number, signal.SIG_IGN if ignored else self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        if is_first_process():
            print("\nstopping after this step; once more stops at once", file=sys.stderr, flush=True)
