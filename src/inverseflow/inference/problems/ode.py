"""Ordinary differential equations, many at a time."""

from collections.abc import Callable

import torch
from torch import Tensor


def rk4(derivative: Callable[[Tensor], Tensor], state: Tensor, *, step: float, steps: int, every: int) -> Tensor:
    """Integrate an autonomous equation by the classical Runge–Kutta method of order four.

    Args:
        derivative: from states ``(B, S)`` to their derivatives.
        state: the states at the start.
        step: size of a step.
        steps: number of steps.
        every: steps between two states that are returned.

    Returns:
        ``(B, 1 + steps // every, S)``, the start included.

    Example:
        >>> rk4(lambda s: -s, torch.ones(1, 1).double(), step=0.1, steps=10, every=5).flatten()
        tensor([1.0000, 0.6065, 0.3679], dtype=torch.float64)
    """
    states = [state]
    for index in range(1, steps + 1):
        k1 = derivative(state)
        k2 = derivative(state + step / 2 * k1)
        k3 = derivative(state + step / 2 * k2)
        k4 = derivative(state + step * k3)
        state = state + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        if index % every == 0:
            states.append(state)
    return torch.stack(states, 1)
