"""This process: its rank before the processes have met, and the signals that stop it. Imports nothing heavy."""

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any


def is_first_process() -> bool:
    """Return whether this is the process that writes files and messages.

    Lightning's `rank_zero_only` needs Lightning, which takes seconds to import, and ignores the rank of the node.
    """
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK"):  # in the order that Lightning asks
        if name in os.environ:
            return int(os.environ[name]) == 0 and (name == "RANK" or int(os.environ.get("NODE_RANK", "0")) == 0)
    return int(os.environ.get("NODE_RANK", "0")) == 0


class StopRequest:
    """Context in which the first Ctrl-C or SIGTERM requests a stop, and the second one stops at once.

    A signal that was ignored before, such as Ctrl-C in a background job, stays ignored.
    """

    def __init__(self) -> None:
        self.requested = False
        self._former: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():  # no other thread may handle signals
            self._former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def listen(self) -> None:
        """Handle the signals from now on; before, they stop at once."""
        for number, handler in self._former.items():
            signal.signal(number, signal.SIG_IGN if handler is signal.SIG_IGN else self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        if is_first_process():
            print("\nstopping after this step; once more stops at once", file=sys.stderr, flush=True)
