"""Peak memory of every method on a case, measured on a CPU in a separate process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from statistics import median

import torch

from benchmarks.cases import Case
from benchmarks.contenders import call, contenders, problem, training_step
from benchmarks.memory import Memory, peak_memory

Memories = dict[str, dict[str, Memory]]
"""By method, then by ``"forward"`` and ``"training"``."""

_GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": "16384", "MALLOC_TRIM_THRESHOLD_": "16384"}  # in glibc, in bytes
_SLEEPS = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}  # so as not to disturb times that the parent measures
_REPETITIONS = 5


class MemoryMeter:
    """Measurement on a CPU in another process, whose allocator returns freed memory immediately.

    Otherwise memory that the allocator keeps from earlier calls would count as used.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @staticmethod
    @contextmanager
    def started() -> Iterator[MemoryMeter]:
        """Start the process with the current number of threads, and end it on leaving the block."""
        command = [sys.executable, "-c", f"import {__name__} as meter; meter.serve({torch.get_num_threads()})"]
        same_modules = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONSAFEPATH": "1"}
        environment = os.environ | _GIVES_BACK | _SLEEPS | same_modules
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=environment
        ) as process:
            try:
                yield MemoryMeter(process)
            finally:
                process.kill()

    def measure(self, case: Case) -> Memories:
        """Measure every method that can be trained, on one case."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(BrokenPipeError):  # the answer will be missing too
            self._process.stdin.write(json.dumps(asdict(case)).encode() + b"\n")
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process measuring memory ended at {case.name} with code {self._process.wait()}")
        return {
            method: {part: Memory(**memory) for part, memory in of_parts.items()}
            for method, of_parts in json.loads(answer).items()
        }


def memories(case: Case, device: torch.device) -> Memories:
    """Measure every method of a case that can be trained, in this process."""
    y, weight = problem(case, device)
    measured: Memories = {}
    for name, method in contenders(case, y, weight).items():
        if method.trains:
            forward, training = call(method, weight), training_step(method, weight)
            with torch.no_grad():
                forward()
                of_forward = _repeated([peak_memory(forward, device) for _ in range(_REPETITIONS)])
            training()
            of_training = _repeated([peak_memory(training, device) for _ in range(_REPETITIONS)])
            measured[name] = {"forward": of_forward, "training": of_training}
    return measured


def _repeated(several: list[Memory]) -> Memory:
    """Return the median of the resident memory, because each processor counts pages in lots of its own."""
    resident = [memory.resident for memory in several if memory.resident is not None]
    return Memory(max(memory.tensors for memory in several), round(median(resident)) if resident else None)


def serve(threads: int) -> None:
    """Measure each case that arrives as a line of JSON until the input ends.

    Args:
        threads: number of torch's threads.
    """
    torch.set_num_threads(threads)
    for line in sys.stdin:
        measured = memories(Case(**json.loads(line)), torch.device("cpu"))
        answer = {name: {part: asdict(memory) for part, memory in parts.items()} for name, parts in measured.items()}
        print(json.dumps(answer), flush=True)
