"""The peak memory of every method of a case, on a CPU in a process of its own."""

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
"""By method: of ``"forward"`` and of ``"training"``."""

_GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": "16384", "MALLOC_TRIM_THRESHOLD_": "16384"}  # of glibc, bytes
_SLEEPS = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}  # while this process takes times
_REPETITIONS = 5


class MemoryMeter:
    """Measures on a CPU in another process, whose allocator gives back at once what is freed.

    What an allocator keeps for the next call depends on the calls before and would count as if it were in use.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @staticmethod
    @contextmanager
    def started() -> Iterator[MemoryMeter]:
        """Start the process, with as many threads as there are here, and end it on leaving.

        Example:
            >>> with MemoryMeter.started() as meter:
            ...     sorted(meter.measure(Case(1, 1, 8, 3))["conv2d"])
            ['forward', 'training']
        """
        command = [sys.executable, "-c", f"import {__name__} as meter; meter.serve({torch.get_num_threads()})"]
        same_modules = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONSAFEPATH": "1"}
        environment = os.environ | _GIVES_BACK | _SLEEPS | same_modules
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=environment
        ) as process:
            try:
                yield MemoryMeter(process)
            finally:
                process.kill()  # it has nothing to lose

    def measure(self, case: Case) -> Memories:
        """Measure every method that can be trained."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(BrokenPipeError):  # the answer will be missing too
            self._process.stdin.write(json.dumps(asdict(case)).encode() + b"\n")
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process that measures memory ended at {case.name} with {self._process.wait()}")
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
    """Return the median: the kernel counts pages in lots, on each processor its own."""
    resident = [memory.resident for memory in several if memory.resident is not None]
    return Memory(max(memory.tensors for memory in several), round(median(resident)) if resident else None)


def serve(threads: int) -> None:
    """Measure the cases that come in, line by line, until no more come.

    Args:
        threads: number of torch's threads.
    """
    torch.set_num_threads(threads)
    for line in sys.stdin:
        measured = memories(Case(**json.loads(line)), torch.device("cpu"))
        answer = {name: {part: asdict(memory) for part, memory in parts.items()} for name, parts in measured.items()}
        print(json.dumps(answer), flush=True)
