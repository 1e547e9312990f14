"""Boundary marking: points spread along the level set of a network."""

import torch
from torch import Tensor

from inverseflow.inference.inversion.search import Rule, Search
from inverseflow.utils.arguments import finite_number, whole_number


class Boundary(Rule):
    """Points spread along a level set: the worst are deleted, and new ones added where the others are rare.

    Each generation sorts the points by misfit and deletes the last ones. Each new point is a neighbor of a parent,
    which is drawn among the points with the largest mean distance to their nearest neighbors. `Jensen et al. 1999
    <https://doi.org/10.1109/5.784232>`_ describe the method, which is Reed and Marks'. Two things are ours. Among
    points within the tolerance, which are equally good, the most crowded one is deleted first. The distance of a child
    is the parent's from its neighbors instead of a fixed part of the variance of all points.

    Args:
        search: the problem.
        points: number of points.
        generations: number of generations.
        replaced: part of the points that is deleted in each generation.
        neighbors: number of nearest neighbors that tell how crowded a point is.
    """

    def __init__(
        self,
        search: Search,
        *,
        points: int = 200,
        generations: int = 100,
        replaced: float = 0.2,
        neighbors: int = 3,
    ) -> None:
        super().__init__(search)
        self.points = whole_number("points", points, at_least=10)
        self.generations = whole_number("generations", generations, at_least=1)
        self.replaced = max(1, int(self.points * finite_number("replaced", replaced, above=0, below=0.8)))
        most = self.points - self.replaced - 1
        self.neighbors = whole_number("neighbors", neighbors, at_least=1, at_most=most)
        self.age = 0
        self.x = search.box.low.new_empty(0, len(search.box.low))
        """The points ``(points, n)``."""
        self.error = search.box.low.new_empty(0)
        """Their squared misfits."""

    @property
    def finished(self) -> bool:  # type: ignore[override]
        """Whether all generations are over."""
        return self.age > self.generations

    @property
    def found(self) -> Tensor:
        """The points within the tolerance, ``(k, n)``."""
        return self.x[self.error <= self.search.goal]

    def propose(self) -> Tensor:
        """Return the first points, or the children of the next generation."""
        box = self.search.box
        if not self.age:
            return box.draw(self.points)
        count = len(self.x)
        self._delete()
        missing = count - len(self.x)
        crowding, _ = self._crowding()
        rare = crowding.topk(max(1, self.points // 5)).indices
        parents = rare[torch.randint(len(rare), (missing,), generator=box.generator, device=rare.device)]
        noise = torch.randn(missing, len(box.low), generator=box.generator, device=rare.device).to(self.x)
        return box.clip(self.x[parents] + crowding[parents, None] * box.widths * noise)

    def update(self, x: Tensor, error: Tensor, gradient: Tensor) -> None:
        """Add the points."""
        self.age += 1
        self.x, self.error = torch.cat([self.x, x]), torch.cat([self.error, error])

    def _delete(self) -> None:
        """Delete the worst points, and of those within the tolerance the ones more crowded than their neighbors."""
        order = self.error.argsort()
        bad = min(self.replaced, int((self.error > self.search.goal).sum()))
        self.x, self.error = (values[order[: len(order) - bad]] for values in (self.x, self.error))
        crowding, neighbors = self._crowding()
        most = crowding <= crowding[neighbors].amin(1)
        least_room = crowding.where(most, torch.inf).argsort()[: min(self.replaced - bad, int(most.sum()))]
        kept = torch.ones_like(most)
        kept[least_room] = False
        self.x, self.error = self.x[kept], self.error[kept]

    def _crowding(self) -> tuple[Tensor, Tensor]:
        """Return the mean distance of each point to its nearest neighbors, in widths of the box, and who these are."""
        x = self.x / self.search.box.widths
        near = torch.cdist(x, x).fill_diagonal_(torch.inf).topk(self.neighbors, largest=False)
        return near.values.mean(1), near.indices
