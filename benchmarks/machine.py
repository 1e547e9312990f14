"""Description of the machine that a measurement ran on."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import conv2d

Machine = dict[str, str | int | float]
_MATRICES = {"cpu": (1024, 1536), "cuda": (4096, 8192)}
_CONVOLUTIONS = {"cpu": (8, 64, 34), "cuda": (64, 256, 66)}
_REPEATS = 5


def machine(device: torch.device) -> Machine:
    """Return processor, accelerator, threads, versions and the measured peak rate.

    Args:
        device: device of the measurement.

    Example:
        >>> machine(torch.device("cpu"))["device"]
        'cpu'
    """
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "inverseflow": version("inverseflow"),
        "peak_gflops": peak_gflops(device),
    }


def peak_gflops(device: torch.device) -> float:
    """Return the highest rate of a few large float32 matrix products and a wide convolution, in GFLOP/s.

    Args:
        device: device to measure.
    """
    best = 0.0
    for size in _MATRICES[device.type]:
        a, b = torch.randn(size, size, device=device), torch.randn(size, size, device=device)
        best = max(best, 2e-9 * size**3 / _fastest(partial(torch.matmul, a, b)))
    images, channels, side = _CONVOLUTIONS[device.type]
    x = torch.randn(images, channels, side, side, device=device)
    kernel = torch.randn(channels, channels, 3, 3, device=device)
    flops = 2 * images * (side - 2) ** 2 * channels**2 * 9
    return max(best, 1e-9 * flops / _fastest(partial(conv2d, x, kernel)))


def _fastest(function: Callable[[], Tensor]) -> float:
    times = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        float(function().flatten()[0])  # reading an element waits for the device
        times.append(time.perf_counter() - began)
    return min(times)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    name = facts.get("model name", platform.machine())
    flags = facts.get("flags", "").split()
    widest = next((flag for flag in ("avx512f", "avx2") if flag in flags), None)
    return f"{name} ({widest})" if widest else name
