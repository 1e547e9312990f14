"""Triton where it is installed, and a `jit` that leaves functions alone where it isn't, so that any module imports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

try:
    import triton  # type: ignore[import-not-found,import-untyped,unused-ignore]
    import triton.language as tl  # type: ignore[import-not-found,import-untyped,unused-ignore]
except ModuleNotFoundError:  # then `unavailable` says so, and no kernel is ever launched
    triton = tl = None

__all__ = ["jit", "tl"]


def jit(function: Callable[..., None]) -> Any:
    """Compile a kernel with Triton, or hand it to its interpreter where TRITON_INTERPRET=1."""
    return function if triton is None else triton.jit(function)
