"""What a measurement was taken on."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

import torch


def machine(device: torch.device) -> dict[str, str | int]:
    """Return processor, accelerator, threads and versions.

    Example:
        >>> machine(torch.device("cpu"))["device"]
        'cpu'
    """
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "inverseflow": version("inverseflow"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    name = next((value.strip() for key, value in facts.items() if key.strip() == "model name"), platform.machine())
    flags = next((value.split() for key, value in facts.items() if key.strip() == "flags"), [])
    widest = next((flag for flag in ("avx512f", "avx2") if flag in flags), None)
    return f"{name} ({widest})" if widest else name
