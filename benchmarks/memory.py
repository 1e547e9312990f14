"""Peak memory of a call beyond what was there before it."""

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
    """Bytes at the peak of a call, its result included, beyond what was there before it."""

    tensors: int
    """What torch's allocator gave out; on CUDA that is everything."""
    resident: int | None
    """Growth of the whole process, with buffers that torch does not see; None where it can't be told."""


def peak_memory(function: Callable[[], object], device: torch.device) -> Memory:
    """Measure a call that has been warmed up.

    On a CPU `tensors` adds up the allocations and releases that the profiler reports, and `resident` is the kernel's
    high-water mark of the resident set (Linux, glibc) over a call before which all free memory was given back. Below
    a mebibyte that is pages and noise, and is left out.

    Args:
        function: what to call.
        device: where it runs.

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
    """Keep what the profiler itself writes to stderr from whoever watches a progress bar there."""
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
