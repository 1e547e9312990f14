"""Choose the backend that serves a call, or force one.

============  ========================  ===============================================================
backend       serves                    chosen
============  ========================  ===============================================================
``native``    CPU, float32 / float64    first, where the extension was built
``blocked``   everything                otherwise
``triton``    CUDA, float32 / bfloat16  only when forced: it has run in Triton's interpreter, and never on a GPU
``dense``     small problems            only when forced: it is the oracle of the tests
============  ========================  ===============================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from torch import Tensor

from inverseflow.errors import BackendError
from inverseflow.ops._backends import blocked, dense, native
from inverseflow.ops._backends.triton import launch as triton


class Backend(Protocol):
    """The functions of a module of ``_backends``."""

    def unavailable(self) -> str | None:
        """Say why the backend cannot be used here, or return None."""

    def refuses(self, image: Tensor) -> str | None:
        """Say why the backend cannot serve a call, or return None."""

    def convolve(self, x: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str, transposed: bool) -> Tensor:
        """Return A x, or the transpose of A times x; contiguous."""

    def solve(self, y: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str, transposed: bool) -> Tensor:
        """Return the x with A x = y, or with the transpose of A times x equal to y; contiguous."""

    def weight_gradient(
        self, x: Tensor, grad: Tensor, weight: Tensor, corner: str, groups: int, diagonal: str
    ) -> Tensor:
        """Return the gradient of <grad, A x> with respect to the weight, of which only the shape is read.

        It is contiguous, and zero in the entries of the weight that A does not depend on.
        """

    def variant(self, image: Tensor, kernel: Tensor, groups: int) -> str:
        """Say in a few words how the backend will serve a call."""


_BACKENDS: dict[str, Backend] = {"native": native, "blocked": blocked, "triton": triton, "dense": dense}
_CHOSEN_FROM = ("native", "blocked")
_forced: ContextVar[str | None] = ContextVar("forced_backend", default=None)


def available_backends() -> dict[str, str | None]:
    """Return for every backend None if it can be used, or else the reason why it can't.

    Example:
        >>> available_backends()["blocked"] is None
        True
    """
    return {name: module.unavailable() for name, module in _BACKENDS.items()}


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Force one backend inside a ``with`` block, in this thread.

    Args:
        name: ``"native"`` (C++, CPU), ``"blocked"`` (pure PyTorch, any device), ``"triton"`` (CUDA) or ``"dense"`` (one
            dense matrix in float64, the oracle).

    Raises:
        ValueError: if the backend is unknown.
        BackendError: inside the block, if the backend cannot serve a call.

    Example:
        >>> y, weight = torch.randn(1, 2, 4, 4), 0.1 * torch.randn(2, 2, 3, 3)
        >>> with backend("dense"):
        ...     x = inv_conv2d(y, weight, unitriangular=True)
        >>> torch.allclose(x, inv_conv2d(y, weight, unitriangular=True), atol=1e-5)
        True
    """
    if name not in _BACKENDS:
        raise ValueError(f"unknown backend {name!r}: choose one of {', '.join(map(repr, _BACKENDS))}")
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


def description(image: Tensor, weight: Tensor, groups: int) -> str:
    """Say which backend serves a solve of this image, dtype and kernel, and how."""
    name = chosen_name(image)
    return f"{name}: {_BACKENDS[name].variant(image, weight, groups)}"


def chosen(image: Tensor) -> Backend:
    """Return the forced backend if it can serve the call, else the first that can."""
    return _BACKENDS[chosen_name(image)]


def chosen_name(image: Tensor) -> str:
    """Return the name of the backend that serves the call."""
    forced = _forced.get()
    if forced is not None:
        reason = _reason_against(forced, image)
        if reason is not None:
            raise BackendError(f"the backend {forced!r} was asked for but cannot serve this call: {reason}")
        return forced
    return next(name for name in _CHOSEN_FROM if _reason_against(name, image) is None)


def _reason_against(name: str, image: Tensor) -> str | None:
    return _BACKENDS[name].unavailable() or _BACKENDS[name].refuses(image)
