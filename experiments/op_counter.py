"""Count the solves and dense matrices of a computation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class OpCounter(TorchDispatchMode):
    """Counter, for a ``with`` block, of the operations that make sampling sequential or dense.

    Attributes:
        solves: calls of the k×k solve.
        convolutions: calls of the k×k one-sided convolution.
        largest_matrix: order of the largest dense matrix that is inverted, factorized or used in a solve, or 0.

    Example:
        >>> layer, x = InverseConv2d(4), torch.randn(2, 4, 6, 6)
        >>> with OpCounter() as counter:
        ...     _ = layer.inverse(x)
        >>> counter.solves, counter.convolutions, counter.largest_matrix
        (0, 1, 0)
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.solves = 0
        self.convolutions = 0
        self.largest_matrix = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Count a call and execute it."""
        if func is torch.ops.inverseflow.inv_conv2d.default:
            self.solves += 1
        elif func is torch.ops.inverseflow.causal_conv2d.default:
            self.convolutions += 1
        elif "linalg" in str(func) and args and isinstance(args[0], Tensor) and args[0].ndim >= 2:
            self.largest_matrix = max(self.largest_matrix, args[0].shape[-1])
        return func(*args, **(kwargs or {}))
