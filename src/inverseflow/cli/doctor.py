"""inverseflow doctor."""

from inverseflow.utils.packages import OPTIONAL


def doctor(*, speed: bool = False) -> None:
    """Show versions, devices and backends.

    Try:

        inverseflow doctor
        inverseflow doctor --speed

    Args:
        speed: also compare the time of the inverse convolution with conv2d, forward and with gradient. This takes about
            a minute.
    """
    import os
    import platform
    from importlib.metadata import PackageNotFoundError, version

    import torch

    from inverseflow.ops import available_backends

    print("versions")
    _line("inverseflow", version("inverseflow"))
    _line("python", f"{platform.python_version()}, {platform.system()} {platform.machine()}")
    for name in ("torch", "numpy"):
        _line(name, version(name))
    for package in OPTIONAL.values():
        try:
            _line(package.name, version(package.name))
        except PackageNotFoundError:
            _line(package.name, f"missing; needed for {package.purpose}: {package.remedy}")

    print("devices")
    _line("cpu", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads")
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        _line(f"cuda:{index}", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    if not torch.cuda.is_available():
        built = torch.version.cuda
        why = "this torch was built without CUDA" if built is None else f"built for CUDA {built}, but no GPU is found"
        _line("cuda", f"no: {why}")
    _line("mps", "yes" if torch.backends.mps.is_available() else "no")

    print("backends of the inverse convolution")
    for name, reason in available_backends().items():
        _line(name, "available" if reason is None else f"not available: {reason}")

    if speed:
        from inverseflow.cli.speed import speed_table

        for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
            print(speed_table(torch.device(device)))


def _line(name: str, text: str) -> None:
    print(f"  {name:<16}{text}")
