"""Peak memory of a call, above the level before it."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.autograd.profiler import profile

_PAGES_MATTER_BELOW = 1 << 20
_PROCESS = Path("/proc/self")


@dataclass(frozen=True)
class Memory:
    """Peak bytes of a call, including its result, above the level before it."""

    tensors: int
    """Memory from torch's allocator; on CUDA this is all memory."""
    resident: int | None
    """Growth of the whole process, including buffers that torch does not see; None if unknown."""


def peak_memory(function: Callable[[], object], device: torch.device) -> Memory:
    """Measure a call that has been warmed up.

    On a CPU `tensors` follows the allocations and releases that the profiler reports. `resident` is the high-water mark
    of the resident set in the operating system (Linux, glibc), after all free memory has been returned. Below a
    mebibyte it would be mostly noise, so it is None.

    Args:
        function: the call.
        device: the device on which it runs.

    Example:
        >>> peak_memory(lambda: torch.zeros(1000), torch.device("cpu")).tensors
        4000
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        function()
        torch.cuda.synchronize(device)
        return Memory(torch.cuda.max_memory_allocated(device) - before, None)
    tensors = _allocated(function)
    return Memory(tensors, _resident(function) if tensors >= _PAGES_MATTER_BELOW else None)


def _allocated(function: Callable[[], object]) -> int:
    with _quiet_profiler(), profile(profile_memory=True, use_kineto=False) as run:
        result = function()
    del result
    assert run.kineto_results is not None
    events = sorted(run.kineto_results.events(), key=lambda event: event.start_ns())
    live = peak = 0
    for event in events:
        if event.name() == "[memory]":
            live += event.nbytes()
            peak = max(peak, live)
    return peak


@contextmanager
def _quiet_profiler() -> Iterator[None]:
    """Suppress the messages of the profiler on stderr, which would disturb a progress bar."""
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


def _resident(function: Callable[[], object]) -> int | None:
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    try:
        (_PROCESS / "clear_refs").write_text("5")  # resets the high-water mark
        before = _status("VmRSS")
        result = function()
        peak = _status("VmHWM")
    except OSError:
        return None
    del result
    return max(0, peak - before)


def _status(name: str) -> int:
    lines = (_PROCESS / "status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))
