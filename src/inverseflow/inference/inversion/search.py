"""Boxes to search, and the base classes of all step rules."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from inverseflow.utils.seeding import derived_seed

_PROGRESS = 0.98  # a squared misfit that falls by less than 2 % is none


class Box:
    """Bounds of the inputs, and the points where a search starts.

    Args:
        low: lower bounds ``(n,)``, −inf where there is none.
        high: upper bounds ``(n,)``, inf where there is none.
        seed: seed of the starts, and of `generator`.
        start: the first point ``(n,)`` where a search starts; None for a drawn one.

    Example:
        >>> box = Box(torch.tensor([0.0, -torch.inf]), torch.tensor([2.0, torch.inf]), seed=0)
        >>> box.draw(3).shape
        torch.Size([3, 2])
        >>> box.clip(torch.tensor([[3.0, 3.0]]))
        tensor([[2., 3.]])
    """

    def __init__(self, low: Tensor, high: Tensor, *, seed: int, start: Tensor | None = None) -> None:
        self.low, self.high, self._start = low, high, start
        self.widths = torch.where((high - low).isfinite(), high - low, 1.0)
        """Width in each coordinate, 1 where it is infinite."""
        self.generator = torch.Generator(low.device).manual_seed(derived_seed(seed, "inversion"))
        self._sobol = SobolEngine(len(low), scramble=True, seed=derived_seed(seed, "starts"))

    @property
    def bounded(self) -> bool:
        """Whether all bounds are finite."""
        return bool((self.high - self.low).isfinite().all())

    def clip(self, x: Tensor) -> Tensor:
        """Return the nearest points of the box."""
        return x.clamp(self.low, self.high)

    def draw(self, count: int) -> Tensor:
        """Draw points ``(count, n)`` of a scrambled Sobol sequence.

        They are uniform between two bounds, have an exponential distribution beyond one, and a standard normal
        distribution without any. The first of all is the given one, if there is one.
        """
        u = self._sobol.draw(count, dtype=torch.float64).clamp(1e-6, 1 - 1e-6).to(self.low)
        below, above = self.low.isfinite(), self.high.isfinite()
        x = torch.where(
            below, self.low - (1 - u).log(), torch.where(above, self.high + u.log(), torch.special.ndtri(u))
        )
        x = torch.where(below & above, self.low + u * (self.high - self.low), x)
        if self._start is not None:
            x[0], self._start = self._start, None
        return self.clip(x)


@dataclass(frozen=True)
class Search:
    """What a step rule knows of the problem."""

    box: Box
    """Bounds of the inputs."""
    restarts: int
    """Number of searches side by side."""
    goal: float
    """Largest squared misfit of a solution."""
    max_evaluations: int
    """Most inputs that the network is evaluated for."""


class Rule(ABC):
    """Base class of step rules: they propose points, and see what the network makes of them.

    Args:
        search: the problem.
    """

    finished = False
    """Whether there is nothing more to propose."""

    def __init__(self, search: Search) -> None:
        self.search = search

    @property
    @abstractmethod
    def found(self) -> Tensor:
        """All solutions so far, ``(k, n)``."""

    @abstractmethod
    def propose(self) -> Tensor:
        """Return the next points ``(B, n)``, inside of the box."""

    @abstractmethod
    def update(self, x: Tensor, error: Tensor, gradient: Tensor) -> None:
        """Take note of the points that were proposed.

        Args:
            x: the points ``(B, n)``.
            error: their squared misfits ``(B,)``, inf where the network is not finite.
            gradient: the gradients of the misfits ``(B, n)``, zeros for a rule that uses none.
        """


class Local(Rule):
    """Base class of rules that improve many candidates side by side.

    A candidate that is a solution is done. One that makes no progress, for example because the units of the network
    are saturated, starts again elsewhere.

    Args:
        search: the problem.
        patience: number of steps without progress before a candidate starts again.
    """

    def __init__(self, search: Search, patience: int) -> None:
        super().__init__(search)
        self.patience = patience
        self._found: list[Tensor] = []
        self.state = self._start(search.restarts)
        """Tensors by name, with a row for each candidate."""

    @property
    def found(self) -> Tensor:
        """All solutions so far, ``(k, n)``."""
        return torch.cat([self.search.box.low.new_empty(0, len(self.search.box.low)), *self._found])

    @property
    def finished(self) -> bool:  # type: ignore[override]
        """Whether every candidate is a solution."""
        return not len(self.state["least"])

    def update(self, x: Tensor, error: Tensor, gradient: Tensor) -> None:
        """Move the candidates, set solutions aside, and start those again that are stuck."""
        stuck = self._move(x, error, gradient)
        state = self.state
        least = error.view(len(stuck), -1).amin(1)
        better = least < _PROGRESS * state["least"]
        state["idle"] = torch.where(better, 0, state["idle"] + 1)
        state["least"] = torch.where(better, least, state["least"])
        done = least <= self.search.goal
        again = (stuck | (state["idle"] >= self.patience)) & ~done
        if again.any():
            for name, values in self._start(int(again.sum())).items():
                state[name][again] = values
        if done.any():
            self._found.append(x[error <= self.search.goal])
            self.state = {name: values[~done] for name, values in state.items()}

    def _start(self, count: int) -> dict[str, Tensor]:
        low = self.search.box.low
        counters = {"least": low.new_full((count,), torch.inf), "idle": low.new_zeros(count, dtype=torch.long)}
        return counters | self._begin(count)

    @abstractmethod
    def _begin(self, count: int) -> dict[str, Tensor]:
        """Return the state of candidates that start."""

    @abstractmethod
    def _move(self, x: Tensor, error: Tensor, gradient: Tensor) -> Tensor:
        """Move every candidate, and return which ones ``(rows,)`` cannot move."""
