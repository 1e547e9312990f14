"""Which backend serves a solve, and how to force one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor

from inverseflow.ops._backends import blocked, dense

Solve = Callable[[Tensor, Tensor, str, int, bool], Tensor]

_BACKENDS: dict[str, Solve] = {"dense": dense.solve, "blocked": blocked.solve}
_forced: ContextVar[str | None] = ContextVar("forced_backend", default=None)


def available_backends() -> dict[str, str | None]:
    """Return every backend by name, with None where it can be used and else the reason why it can't.

    Example:
        >>> available_backends()["blocked"] is None
        True
    """
    return dict.fromkeys(_BACKENDS)


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Force one backend of the triangular solve inside a ``with`` block, in this thread.

    Args:
        name: ``"dense"`` (one dense matrix in float64, the oracle) or ``"blocked"`` (pure PyTorch, any device; the
            default).

    Raises:
        ValueError: the backend is unknown.

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


def chosen_solve() -> Solve:
    """Return the solve of the forced backend, else of the default one."""
    return _BACKENDS[_forced.get() or "blocked"]
