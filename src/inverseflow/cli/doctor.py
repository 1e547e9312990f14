"""inverseflow doctor."""

from __future__ import annotations

from inverseflow.cli.command import Command

_PACKAGES = {
    "torch": "everything",
    "numpy": "everything",
    "safetensors": "saving and loading flows",
    "lightning": "training",
    "jsonargparse": "the command line",
    "tensorboard": "training",
    "matplotlib": "pictures",
    "pillow": "pictures",
    "datasets": "mnist and cifar10",
    "scikit-learn": "digits",
}


def doctor() -> None:
    """Tell what is installed here, which devices there are, and which backends can be used and why not."""
    import os
    import platform
    from importlib.metadata import PackageNotFoundError, version

    import torch

    from inverseflow.ops import available_backends

    print("versions")
    _line("inverseflow", version("inverseflow"))
    _line("python", f"{platform.python_version()}, {platform.system()} {platform.machine()}")
    for name, purpose in _PACKAGES.items():
        try:
            _line(name, version(name))
        except PackageNotFoundError:
            _line(name, f"missing; needed for {purpose}: pip install 'inverseflow[train]'")

    print("devices")
    _line("cpu", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads")
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        _line(f"cuda:{index}", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    if not torch.cuda.is_available():
        _line("cuda", f"no: {_why_no_cuda(torch.version.cuda)}")
    _line("mps", "yes" if torch.backends.mps.is_available() else "no")

    print("backends of the inverse convolution")
    for name, reason in available_backends().items():
        _line(name, "available" if reason is None else f"not available: {reason}")


def _why_no_cuda(built_for: str | None) -> str:
    return (
        "this torch was built without CUDA" if built_for is None else f"built for CUDA {built_for}, but no GPU is found"
    )


def _line(name: str, text: str) -> None:
    print(f"  {name:<14}{text}")


COMMAND = Command(doctor)
