"""Search of all points of a grid or of a sequence that fills the box."""

import torch
from torch import Tensor

from inverseflow.errors import OptionError
from inverseflow.inference.inversion.search import Rule, Search
from inverseflow.utils.arguments import whole_number

_BATCH = 512


class Exhaustive(Rule):
    """Evaluate every point of a grid, or the points of a Sobol sequence, and keep all solutions.

    Args:
        search: the problem.
        points: number of points of the sequence.
        grid: number of points of a grid in each coordinate, from bound to bound. By default there is no grid.
    """

    def __init__(self, search: Search, *, points: int = 65_536, grid: int | None = None) -> None:
        super().__init__(search)
        self.grid = None if grid is None else whole_number("grid", grid, at_least=2)
        self.count = (
            whole_number("points", points, at_least=1) if self.grid is None else self.grid ** len(search.box.low)
        )
        """Number of points."""
        if self.count > search.max_evaluations:
            raise OptionError(
                f"{self.count:,} points are more than max_evaluations, {search.max_evaluations:,}; take fewer, or "
                "another method where the inputs are many"
            )
        self.start = 0
        self._found = [search.box.low.new_empty(0, len(search.box.low))]

    @property
    def finished(self) -> bool:  # type: ignore[override]
        """Whether all points were seen."""
        return self.start >= self.count

    @property
    def found(self) -> Tensor:
        """All solutions so far, ``(k, n)``."""
        return torch.cat(self._found)

    def propose(self) -> Tensor:
        """Return the next points."""
        box, size = self.search.box, min(_BATCH, self.count - self.start)
        if self.grid is None:
            return box.draw(size)
        places = torch.arange(self.start, self.start + size, device=box.low.device)[:, None]
        powers = self.grid ** torch.arange(len(box.low), device=box.low.device).flip(0)
        return box.clip(box.low + (places // powers % self.grid) / (self.grid - 1) * box.widths)

    def update(self, x: Tensor, error: Tensor, gradient: Tensor) -> None:
        """Keep the solutions."""
        self.start += len(x)
        self._found.append(x[error <= self.search.goal])
