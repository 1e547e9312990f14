"""Squared distance of a network's outputs from a target, its gradient, and how often the network was evaluated."""

from collections.abc import Callable

import torch
from torch import Tensor

from inverseflow.errors import OptionError

Network = Callable[[Tensor], Tensor]
Gradient = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""From x ``(B, n)``, a target ``(m,)`` and a mask ``(m,)`` to squared misfits ``(B,)`` and their gradients."""


class Misfit:
    r"""Squared misfit :math:`L(x) = \sum_{i \in O} (t_i - f_i(x))^2`, with or without its gradient.

    Args:
        network: f, from ``(B, n)`` to ``(B, m)``. Its weights get no gradient.
        target: t, ``(m,)``.
        mask: which outputs O count, booleans ``(m,)``.
        gradient: whether to compute gradients too; a function computes them in its own way.
    """

    def __init__(self, network: Network, target: Tensor, mask: Tensor, gradient: bool | Gradient) -> None:
        self.network, self.target, self.mask, self.gradient = network, target, mask, gradient
        self.evaluations = 0
        """Number of inputs whose outputs were computed."""
        self.gradients = 0
        """Number of inputs whose gradients were computed."""

    def error(self, x: Tensor) -> Tensor:
        """Return the squared misfits ``(B,)``."""
        try:
            outputs = self.network(x)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            if self.evaluations:
                raise
            raise OptionError(
                f"the network cannot take a batch of inputs of shape {tuple(x.shape)}: {error}; set inputs to the "
                "length of its input vectors, and let it take batches of any size"
            ) from error
        shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        if not isinstance(outputs, Tensor) or outputs.numel() != len(x) * len(self.target):
            raise OptionError(
                f"the network must map inputs {tuple(x.shape)} to ({len(x)}, {len(self.target)}), as many outputs as "
                f"the target has values, got {shape}"
            )
        self.evaluations += len(x)
        return (outputs.reshape(len(x), -1) - self.target)[:, self.mask].square().sum(1)

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the squared misfits ``(B,)``, inf where not finite, and their gradients ``(B, n)`` or zeros."""
        gradient = torch.zeros_like(x)
        if callable(self.gradient):
            error, gradient = self.gradient(x, self.target, self.mask)
            self.evaluations += len(x)
        elif self.gradient:
            leaf = x.detach().requires_grad_()
            error = self.error(leaf)
            if not error.requires_grad:
                raise OptionError(
                    "the network's outputs have no gradient by its inputs; choose the method coordinate, nelder-mead, "
                    "exhaustive or genetic"
                )
            (gradient,) = torch.autograd.grad(error.sum(), leaf)
        else:
            with torch.no_grad():
                error = self.error(x)
        self.gradients += len(x) if self.gradient else 0
        finite = error.isfinite() & gradient.isfinite().all(1)
        return error.detach().where(finite, torch.inf), gradient.where(finite[:, None], 0.0)
