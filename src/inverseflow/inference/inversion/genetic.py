"""Genetic search: points as bit strings that are selected, crossed and mutated."""

from typing import Literal, get_args

import torch
from torch import Tensor

from inverseflow.inference.inversion.search import Local, Search
from inverseflow.utils.arguments import finite_number, one_of, whole_number

Selection = Literal["tournament", "roulette"]

_CONTESTANTS = 3


def to_bits(x: Tensor, low: Tensor, high: Tensor, bits: int, *, gray: bool = True) -> Tensor:
    """Return points of a box as strings of bits, `bits` for each coordinate, the first one the highest.

    Args:
        x: points ``(..., n)``.
        low: lower bounds ``(n,)``.
        high: upper bounds ``(n,)``.
        bits: number of bits for each coordinate, at most 52.
        gray: whether neighbors differ in one bit (Gray code), or numbers are binary.

    Returns:
        Whether each bit is set, ``(..., n · bits)``.

    Example:
        >>> to_bits(torch.tensor([1.0]), torch.zeros(1), torch.ones(1), 3, gray=False)
        tensor([True, True, True])
        >>> to_bits(torch.tensor([1.0]), torch.zeros(1), torch.ones(1), 3)
        tensor([ True, False, False])
    """
    number = ((x - low) / (high - low) * (2**bits - 1)).double().round().long()
    if gray:
        number = number ^ (number >> 1)
    places = torch.arange(bits, device=x.device).flip(0)
    code: Tensor = (number[..., None] >> places & 1).bool()
    return code.flatten(-2)


def from_bits(code: Tensor, low: Tensor, high: Tensor, *, gray: bool = True) -> Tensor:
    """Return the points of strings of bits; see `to_bits`.

    Args:
        code: strings ``(..., n · bits)``.
        low: lower bounds ``(n,)``.
        high: upper bounds ``(n,)``.
        gray: whether the strings are in Gray code.

    Example:
        >>> from_bits(torch.tensor([True, False, False]), torch.zeros(1), torch.ones(1))
        tensor([1.])
    """
    code = code.unflatten(-1, (len(low), -1)).long()
    if gray:
        code = code.cumsum(-1) % 2
    bits = code.shape[-1]
    number = (code << torch.arange(bits, device=code.device).flip(0)).sum(-1)
    share = (number.double() / (2**bits - 1)).to(low)
    return torch.lerp(low, high, share)


class Genetic(Local):
    """Populations of bit strings, one for each restart.

    In each generation the best individuals stay as they are. The others are replaced by children of two selected
    parents: one-point crossover, then mutation of single bits. See `Holland 1975
    <https://doi.org/10.7551/mitpress/1090.001.0001>`_.

    Args:
        search: the problem.
        population: number of individuals.
        bits: number of bits for each input.
        gray: whether to code inputs in Gray code, or in binary.
        selection: "tournament" of three, or "roulette" by the misfit below the worst one.
        crossover: probability that a child has two parents.
        mutation: probability that a bit flips, by default one bit of a string on average.
        elite: number of individuals that stay.
        patience: number of generations without progress before a population starts again.
    """

    def __init__(
        self,
        search: Search,
        *,
        population: int = 64,
        bits: int = 16,
        gray: bool = True,
        selection: Selection = "tournament",
        crossover: float = 0.9,
        mutation: float | None = None,
        elite: int = 2,
        patience: int = 50,
    ) -> None:
        self.elite = whole_number("elite", elite, at_least=1)
        self.population = whole_number("population", population, at_least=self.elite + 1)
        self.bits = whole_number("bits", bits, at_least=1, at_most=52)
        self.gray, self.selection = gray, one_of("selection", selection, get_args(Selection))
        self.length = self.bits * len(search.box.low)
        self.crossover = finite_number("crossover", crossover, at_least=0, at_most=1)
        mutation = 1 / self.length if mutation is None else mutation
        self.mutation = finite_number("mutation", mutation, at_least=0, at_most=1)
        super().__init__(search, patience)

    def _begin(self, count: int) -> dict[str, Tensor]:
        box = self.search.box
        x = box.draw(count * self.population).unflatten(0, (count, -1))
        code = to_bits(x, box.low, box.high, self.bits, gray=self.gray)
        # The first places are the elite, which is not evaluated again; at first it is unknown and worst of all.
        return {
            "elite": code[:, : self.elite],
            "errors": x.new_full((count, self.elite), torch.inf),
            "young": code[:, self.elite :],
        }

    def propose(self) -> Tensor:
        """Return the points of the individuals that were not evaluated yet."""
        return from_bits(self.state["young"].flatten(0, 1), self.search.box.low, self.search.box.high, gray=self.gray)

    def _move(self, x: Tensor, error: Tensor, gradient: Tensor) -> Tensor:
        state = self.state
        code = torch.cat([state["elite"], state["young"]], 1)  # (R, P, length)
        errors = torch.cat([state["errors"], error.view(len(code), -1)], 1)
        children = self._children(code, errors)
        best = errors.topk(self.elite, 1, largest=False).indices
        state["elite"], state["errors"] = _take(code, best), errors.gather(1, best)
        state["young"] = children
        return state["errors"].isinf().all(1)

    def _children(self, code: Tensor, errors: Tensor) -> Tensor:
        generator, count = self.search.box.generator, self.population - self.elite
        first, second = (_take(code, self._select(errors, count)) for _ in range(2))
        shape = (*first.shape[:2], 1)
        point = torch.randint(1, max(2, self.length), shape, generator=generator, device=code.device)
        crossed = torch.rand(shape, generator=generator, device=code.device) < self.crossover
        places = torch.arange(self.length, device=code.device)
        child = torch.where(crossed & (places >= point), second, first)
        return child ^ (torch.rand(child.shape, generator=generator, device=code.device) < self.mutation)

    def _select(self, errors: Tensor, count: int) -> Tensor:
        generator, (rows, size) = self.search.box.generator, errors.shape
        if self.selection == "tournament":
            shape = (rows, count, _CONTESTANTS)
            among = torch.randint(size, shape, generator=generator, device=errors.device)
            winner = errors.gather(1, among.flatten(1)).view(shape).argmin(2, keepdim=True)
            return among.gather(2, winner)[..., 0]
        finite = errors.where(errors.isfinite(), -torch.inf).amax(1, keepdim=True).nan_to_num(neginf=0.0)
        fitness = (finite - errors).clamp_min(0)
        fitness = fitness + torch.where(fitness.sum(1, keepdim=True) > 0, 0.0, 1.0)
        return torch.multinomial(fitness, count, replacement=True, generator=generator)


def _take(code: Tensor, index: Tensor) -> Tensor:
    return code.gather(1, index[..., None].expand(-1, -1, code.shape[2]))
