"""Steps along gradients: plain, Adam, with a line search, and L-BFGS."""

from typing import Literal, get_args

import torch
from torch import Tensor

from inverseflow.inference.inversion.search import Local, Rule, Search
from inverseflow.utils.arguments import finite_number, one_of, whole_number

Step = Literal["plain", "adam", "backtracking", "exact"]

_ARMIJO = 1e-4  # least decrease, as a part of what the slope promises
_BETAS, _EPS = (0.9, 0.999), 1e-8


def gradient(search: Search, *, step: Step = "backtracking", learning_rate: float = 0.1, patience: int = 200) -> Rule:
    """Iterative inversion: move down the gradient of the misfit.

    Args:
        search: the problem.
        step: "plain" of one learning rate, "adam", "backtracking", which halves the step until the misfit falls, or
            "exact", a line search that is exact for affine networks.
        learning_rate: the learning rate, or the first one of a line search.
        patience: number of steps without progress before a candidate starts again.
    """
    step = one_of("step", step, get_args(Step))
    learning_rate = finite_number("learning_rate", learning_rate, above=0)
    if step in ("plain", "adam"):
        return FixedStep(search, adam=step == "adam", learning_rate=learning_rate, patience=patience)
    return LineSearch(search, memory=0, exact=step == "exact", learning_rate=learning_rate, patience=patience)


def lbfgs(search: Search, *, memory: int = 10, patience: int = 50) -> Rule:
    """L-BFGS, projected to the box: Newton's steps with a Hessian estimated from the latest gradients.

    Args:
        search: the problem.
        memory: number of latest steps that the estimate is made from.
        patience: number of steps without progress before a candidate starts again.
    """
    memory = whole_number("memory", memory, at_least=1)
    return LineSearch(search, memory=memory, exact=False, learning_rate=1.0, patience=patience)


class FixedStep(Local):
    """Gradient descent and Adam: every step is taken."""

    def __init__(self, search: Search, *, adam: bool, learning_rate: float, patience: int) -> None:
        self.adam, self.learning_rate = adam, learning_rate
        super().__init__(search, patience)

    def _begin(self, count: int) -> dict[str, Tensor]:
        x = self.search.box.draw(count)
        zeros = {name: torch.zeros_like(x) for name in ("step", "mean", "square")}
        return {"x": x, "age": x.new_zeros(count, 1), **zeros}

    def propose(self) -> Tensor:
        """Return the points one step further."""
        return self.search.box.clip(self.state["x"] - self.learning_rate * self.state["step"])

    def _move(self, x: Tensor, error: Tensor, gradient: Tensor) -> Tensor:
        state = self.state
        state["x"], state["step"] = x, gradient
        if self.adam:
            state["age"] += 1
            for name, beta, value in zip(("mean", "square"), _BETAS, (gradient, gradient.square()), strict=True):
                state[name] = torch.lerp(value, state[name], beta)
            first, second = (1 - beta ** state["age"] for beta in _BETAS)
            state["step"] = state["mean"] / first / ((state["square"] / second).sqrt() + _EPS)
        return error.isinf() | (self.propose() == x).all(1)


class LineSearch(Local):
    """Steps of a length that lowers the misfit, along the gradient or Newton's direction as L-BFGS estimates it.

    Inputs at a bound that the gradient presses against stay there. See `Nocedal and Wright, Numerical Optimization
    <https://doi.org/10.1007/978-0-387-40065-5>`_, sections 3.5 and 7.2.
    """

    def __init__(self, search: Search, *, memory: int, exact: bool, learning_rate: float, patience: int) -> None:
        self.memory, self.exact, self.learning_rate = memory, exact, learning_rate
        super().__init__(search, patience)

    def _begin(self, count: int) -> dict[str, Tensor]:
        x = self.search.box.draw(count)
        past = x.new_zeros(count, self.memory, x.shape[1])
        return {
            "x": x,
            "error": x.new_full((count,), torch.inf),
            "gradient": torch.zeros_like(x),
            "direction": torch.zeros_like(x),
            "length": x.new_full((count,), self.learning_rate),
            "refined": x.new_zeros(count, dtype=torch.bool),  # whether the length is the minimum of a parabola
            "moves": past,
            "changes": past.clone(),
            "weights": past[..., 0].clone(),  # 1 / (move · change), 0 for an empty place
        }

    def propose(self) -> Tensor:
        """Return the points at the present length along the directions."""
        return self.search.box.clip(self.state["x"] + self.state["length"][:, None] * self.state["direction"])

    def _move(self, x: Tensor, error: Tensor, gradient: Tensor) -> Tensor:
        state = self.state
        move, started = x - state["x"], state["error"].isinf()
        slope = (state["gradient"] * move).sum(1)
        # The parabola through both misfits and the slope has its minimum at this multiple of the move.
        curvature = error - state["error"] - slope
        best = -slope / (2 * curvature)
        accepted = error <= state["error"] + _ARMIJO * slope
        if self.exact:
            again = ~(started | state["refined"]) & (curvature > 0) & best.isfinite()
            accepted &= ~again
            state["refined"] |= again
            state["length"] = torch.where(again, best * state["length"], state["length"])
        else:
            again = torch.zeros_like(accepted)
        shorter = ~(accepted | again)
        state["length"] = torch.where(shorter, state["length"] * best.nan_to_num(0.5).clamp(0.1, 0.5), state["length"])
        if self.memory:
            self._remember(accepted & ~started, move, gradient - state["gradient"])
        for name, value in (("x", x), ("error", error), ("gradient", gradient)):
            state[name] = torch.where(accepted if value.ndim == 1 else accepted[:, None], value, state[name])
        state["direction"] = torch.where(accepted[:, None], self._direction(), state["direction"])
        state["refined"] &= ~accepted
        if self.memory:
            longer = torch.where(state["weights"][:, -1] == 0, 1 / gradient.norm(dim=1).clamp_min(1), 1.0)
        else:
            longer = torch.where(started, 1.0, 2.0) * state["length"]
        state["length"] = torch.where(accepted, longer, state["length"])
        return error.isinf() & started | (self.propose() == state["x"]).all(1)

    def _remember(self, which: Tensor, move: Tensor, change: Tensor) -> None:
        product = (move * change).sum(1)
        which = which & (product > 1e-10 * move.norm(dim=1) * change.norm(dim=1))
        for name, value in (("moves", move), ("changes", change), ("weights", 1 / product)):
            past = self.state[name]
            newer = torch.cat([past[:, 1:], value[:, None]], 1)
            self.state[name] = torch.where(which.view(-1, *[1] * (past.ndim - 1)), newer, past)

    def _direction(self) -> Tensor:
        state, box = self.state, self.search.box
        x, gradient = state["x"], state["gradient"]
        free = ~(((x <= box.low) & (gradient > 0)) | ((x >= box.high) & (gradient < 0)))
        steepest = gradient = gradient * free
        parts = []
        for i in reversed(range(self.memory)):
            part = state["weights"][:, i, None] * (state["moves"][:, i] * gradient).sum(1, keepdim=True)
            gradient = gradient - part * state["changes"][:, i]
            parts.append(part)
        if self.memory:
            change = state["changes"][:, -1].square().sum(1) * state["weights"][:, -1]
            gradient = gradient / change.where(change > 0, 1.0)[:, None]
        for i, part in zip(range(self.memory), reversed(parts), strict=True):
            other = state["weights"][:, i, None] * (state["changes"][:, i] * gradient).sum(1, keepdim=True)
            gradient = gradient + (part - other) * state["moves"][:, i]
        gradient = gradient * free
        downhill = (gradient * steepest).sum(1, keepdim=True) > 0
        return -torch.where(downhill, gradient, steepest)
