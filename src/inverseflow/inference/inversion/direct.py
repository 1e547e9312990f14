"""Searches with one candidate at a time that need no derivatives."""

import torch
from torch import Tensor

from inverseflow.inference.inversion.search import Local, Search
from inverseflow.utils.arguments import finite_number

_SPREAD = 0.1  # first step, as a part of the box


class Coordinate(Local):
    """Move one input at a time, up or down, by a step that doubles when the misfit falls and halves otherwise.

    Args:
        search: the problem.
        spread: first step, in widths of the box (1 where it has none).
        patience: number of steps without progress before a candidate starts again, by default 40 for each input.
    """

    def __init__(self, search: Search, *, spread: float = _SPREAD, patience: int | None = None) -> None:
        self.spread = finite_number("spread", spread, above=0)
        super().__init__(search, 40 * len(search.box.low) if patience is None else patience)

    def _begin(self, count: int) -> dict[str, Tensor]:
        x = self.search.box.draw(count)
        return {
            "x": x,
            "error": x.new_full((count,), torch.inf),
            "steps": (self.spread * self.search.box.widths).repeat(count, 1),
            "turn": x.new_zeros(count, 1, dtype=torch.long),
            "failures": x.new_zeros(count, 1, dtype=torch.long),
        }

    def propose(self) -> Tensor:
        """Return the points with one input moved, unmoved where nothing is known yet."""
        x, turn = self.state["x"], self.state["turn"]
        moved = self.search.box.clip(x.scatter_add(1, turn, self.state["steps"].gather(1, turn)))
        return torch.where(self.state["error"].isinf()[:, None], x, moved)

    def _move(self, x: Tensor, error: Tensor, gradient: Tensor) -> Tensor:
        state = self.state
        started = state["error"].isinf()[:, None]
        accepted = (error < state["error"])[:, None]
        state["x"] = torch.where(accepted, x, state["x"])
        state["error"] = torch.where(accepted[:, 0], error, state["error"])
        # Twice as far after a success, back after a first failure, half as far the other way after a second one.
        factor = torch.where(accepted, 2.0, torch.where(state["failures"] == 0, -1.0, -0.5))
        step = state["steps"].gather(1, state["turn"]) * torch.where(started, 1.0, factor)
        state["steps"] = state["steps"].scatter(1, state["turn"], step)
        over = ~(started | accepted) & (state["failures"] == 1)
        state["failures"] = torch.where(started | accepted | over, 0, 1)
        state["turn"] = torch.where(over, (state["turn"] + 1) % x.shape[1], state["turn"])
        tiny = state["steps"].abs() <= torch.finfo(x.dtype).eps * (1 + state["x"].abs())
        return state["error"].isinf() | tiny.all(1)


class NelderMead(Local):
    """Simplex search: reflect the worst of n + 1 points, expand, contract, or shrink the simplex.

    See `Nelder and Mead 1965 <https://doi.org/10.1093/comjnl/7.4.308>`_.

    Args:
        search: the problem.
        spread: size of the first simplex, in widths of the box (1 where it has none).
        patience: number of steps without progress before a candidate starts again, by default 20 for each input.
    """

    def __init__(self, search: Search, *, spread: float = _SPREAD, patience: int | None = None) -> None:
        self.spread = finite_number("spread", spread, above=0)
        super().__init__(search, 20 * (1 + len(search.box.low)) if patience is None else patience)

    def _begin(self, count: int) -> dict[str, Tensor]:
        box = self.search.box
        x = box.draw(count)[:, None]  # (count, 1, n)
        # Away from the nearer bound, so that the simplex does not degenerate.
        inward = torch.where(box.high - x >= x - box.low, 1.0, -1.0) * self.spread * box.widths
        points = box.clip(torch.cat([x, x + torch.eye(len(box.low)).to(x) * inward], 1))
        return {
            "points": points,
            "errors": x.new_full(points.shape[:2], torch.inf),
            "next": x.new_zeros(count, dtype=torch.long),  # the point of the simplex to evaluate, n + 1 if all are
            "scale": x.new_ones(count),  # where to go from the center: 1 reflects, 2 expands, ±0.5 contracts
            "reflected": x[:, 0].clone(),
            "error": x.new_full((count,), torch.inf),  # of the reflected point
        }

    def propose(self) -> Tensor:
        """Return a point of each simplex that was not evaluated yet, or one beyond the center of its best points."""
        points, following = self.state["points"], self.state["next"]
        center = points[:, :-1].mean(1)
        beyond = self.search.box.clip(center + self.state["scale"][:, None] * (center - points[:, -1]))
        own = points[torch.arange(len(points)), following.clamp_max(points.shape[1] - 1)]
        return torch.where((following < points.shape[1])[:, None], own, beyond)

    def _move(self, x: Tensor, error: Tensor, gradient: Tensor) -> Tensor:
        state = self.state
        points, errors, following, scale = state["points"], state["errors"], state["next"], state["scale"]
        rows, last = torch.arange(len(points), device=x.device), points.shape[1] - 1
        filling = following <= last
        errors[rows[filling], following[filling]] = error[filling]
        following[filling] += 1

        worst, second, best = errors[:, -1], errors[:, -2], errors[:, 0]
        reflecting = ~filling & (scale == 1)
        expanding, contracting = ~filling & (scale == 2), ~filling & (scale.abs() == 0.5)
        ahead = reflecting & (error < best)
        beside = reflecting & ~ahead & (error < second)
        closer = contracting & (error < torch.minimum(worst, state["error"]))
        shrinking = contracting & ~closer
        reflected = expanding & (error >= state["error"])  # it was no use to go further
        replaced = beside | expanding | closer
        points[replaced, -1] = torch.where(reflected[:, None], state["reflected"], x)[replaced]
        errors[replaced, -1] = torch.where(reflected, state["error"], error)[replaced]
        contraction = torch.where(error < worst, 0.5, -0.5)
        scale = torch.where(reflecting & ~(ahead | beside), contraction, torch.where(ahead, 2.0, 1.0).to(scale))
        state["scale"] = scale
        state["reflected"] = torch.where(reflecting[:, None], x, state["reflected"])
        state["error"] = torch.where(reflecting, error, state["error"])

        full = following > last
        order = torch.where(full[:, None], errors.argsort(1), torch.arange(last + 1, device=x.device))
        state["errors"] = errors.gather(1, order)
        state["points"] = points = points.gather(1, order[..., None].expand_as(points))
        halved = points[:, :1] + 0.5 * (points - points[:, :1])
        state["points"] = torch.where(shrinking[:, None, None], halved, points)
        following[shrinking] = 1
        size = (state["points"] - state["points"][:, :1]).abs().amax((1, 2))
        tiny = size <= torch.finfo(x.dtype).eps * (1 + state["points"].abs().amax((1, 2)))
        return tiny | (full & state["errors"][:, 0].isinf())
