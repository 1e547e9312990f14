"""Choose the backend that serves a call, force one, or add one."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from torch import Tensor

from inverseflow.errors import BackendError
from inverseflow.ops._backends import blocked, dense, native
from inverseflow.ops._backends.volume import Volume


class Backend(Protocol):
    """What a backend offers, as a module or an object: the three operators on images of one device and dtype.

    A is the one-sided convolution of `causal_conv2d`, of tensors with at least one element. ``diagonal`` says what the
    diagonal of the last tap holds: ``"free"`` (what the weight has there), ``"unit"`` (ones) or ``"zero"`` (zeros). The
    entries of the weight that A does not depend on may hold anything. Volumes are solved slice after slice; a backend
    that does so faster itself has a function ``solve_volume`` with the arguments of ``solve``.
    """

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
        """Return the gradient of <grad, A x> by the weight; contiguous, and zero where A does not depend on it."""

    def variant(self, image: Tensor, kernel: Tensor, groups: int) -> str:
        """Say in a few words how the backend will serve a call."""


_BACKENDS: dict[str, Backend] = {"native": native, "blocked": blocked, "dense": dense}
_CHOSEN_FROM = ("native", "blocked")  # the first that can serve a call; the others only when forced
_forced: ContextVar[str | None] = ContextVar("forced_backend", default=None)


def available_backends() -> dict[str, str | None]:
    """Return for every backend None if it can be used, or else the reason why it can't.

    Example:
        >>> available_backends()["blocked"] is None
        True
    """
    return {name: module.unavailable() for name, module in _BACKENDS.items()}


def register_backend(name: str, module: Backend) -> None:
    """Add a backend, which serves the calls inside of `backend` of its name and no others.

    Args:
        name: the name; the same module may be registered again under it, another one may not.
        module: a module or an object with the functions of `Backend`.

    Raises:
        ValueError: if another backend has the name.
        TypeError: if a function is missing.

    Example:
        >>> register_backend("mine", torch.nn.functional)
        Traceback (most recent call last):
        ...
        TypeError: the backend 'mine' lacks unavailable, refuses, convolve, solve, weight_gradient, variant; see Backend
    """
    needed = (function for function in vars(Backend) if not function.startswith("_"))
    missing = [function for function in needed if not callable(getattr(module, function, None))]
    if missing:
        raise TypeError(f"the backend {name!r} lacks {', '.join(missing)}; see Backend")
    if _BACKENDS.setdefault(name, module) is not module:
        raise ValueError(f"there is a backend {name!r} already; choose another name")


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Force one backend inside a ``with`` block, in this thread.

    Args:
        name: ``"native"`` (C++, CPU), ``"blocked"`` (pure PyTorch, any device), ``"dense"`` (one dense matrix in
            float64, the oracle) or a name given to `register_backend`.

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


def chosen(image: Tensor) -> Backend:
    """Return the forced backend if it can serve the call, else the first that can; for volumes, by their slices."""
    images = _BACKENDS[chosen_name(image)]
    return images if image.ndim == 4 else Volume(images)


def chosen_name(image: Tensor) -> str:
    """Return the name of the backend that serves the call."""
    forced = _forced.get()
    if forced is None:
        return next(name for name in _CHOSEN_FROM if _reason_against(name, image) is None)
    if reason := _reason_against(forced, image):
        raise BackendError(f"the backend {forced!r} was asked for but cannot serve this call: {reason}")
    return forced


def _reason_against(name: str, image: Tensor) -> str | None:
    return _BACKENDS[name].unavailable() or _BACKENDS[name].refuses(image)
