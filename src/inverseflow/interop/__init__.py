"""Other packages' transforms and densities as ours, and ours as theirs: one module for each package.

`as_bijection` and `as_density` turn an object of the other package into ours, `from_bijection` and `from_density` turn
ours into theirs. A module is imported when it is first used, and so is its package.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inverseflow.interop import freia, nflows, normflows, pyro, sbi, torch, zuko

__all__ = ["freia", "nflows", "normflows", "pyro", "sbi", "torch", "zuko"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'inverseflow.interop' has no attribute {name!r}; it has {', '.join(__all__)}")
    return import_module(f"inverseflow.interop.{name}")


def __dir__() -> list[str]:
    return __all__
