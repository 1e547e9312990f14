"""All graphs of seven vertices, and a density of graphs given properties that can be summed over all of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from itertools import combinations

import networkx
import numpy as np
import torch
from torch import Generator, Tensor

from inverseflow.densities import Density

VERTICES = 7
PAIRS = tuple(combinations(range(VERTICES), 2))
"""The pairs of vertices, in the order of the bits."""
_CHUNK = 2**16


@cache
def classes() -> Tensor:
    """Return one adjacency ``(1044, 21)`` of each graph of seven vertices, as bits of the pairs.

    Example:
        >>> classes().shape
        torch.Size([1044, 21])
    """
    graphs = [graph for graph in networkx.graph_atlas_g() if graph.number_of_nodes() == VERTICES]
    return torch.tensor([[graph.has_edge(*pair) for pair in PAIRS] for graph in graphs], dtype=torch.uint8)


def properties(bits: Tensor) -> Tensor:
    """Return the numbers of edges and of triangles ``(B, 2)``.

    Example:
        >>> properties(torch.ones(1, 21, dtype=torch.uint8)).tolist()
        [[21, 35]]
    """
    place = {pair: number for number, pair in enumerate(PAIRS)}
    triangles = [
        bits[:, place[a, b]] & bits[:, place[a, c]] & bits[:, place[b, c]]
        for a, b, c in combinations(range(VERTICES), 3)
    ]
    return torch.stack([bits.long().sum(1), torch.stack(triangles).long().sum(0)], 1)


def relabeled(bits: Tensor, generator: Generator) -> Tensor:
    """Return the same graphs with their vertices in a random order each."""
    adjacency = torch.zeros(len(bits), VERTICES, VERTICES, dtype=bits.dtype)
    rows, columns = (torch.tensor(side) for side in zip(*PAIRS, strict=True))
    adjacency[:, rows, columns] = bits
    adjacency[:, columns, rows] = bits
    order = torch.rand(len(bits), VERTICES, generator=generator).argsort(1)
    adjacency = adjacency.gather(1, order[:, :, None].expand_as(adjacency))
    adjacency = adjacency.gather(2, order[:, None, :].expand_as(adjacency))
    return adjacency[:, rows, columns]


@cache
def class_of_every_adjacency() -> Tensor:
    """Return the number in `classes` of each of the 2²¹ adjacencies: bit i of an index is pair i."""
    table = np.full(2 ** len(PAIRS), -1, dtype=np.int64)
    weights = 1 << np.arange(len(PAIRS), dtype=np.int64)
    place = {pair: number for number, pair in enumerate(PAIRS)}
    swaps = []  # neighboring vertices swapped: these moves lead from a graph to all its relabelings
    for vertex in range(VERTICES - 1):
        to = [*range(VERTICES)]
        to[vertex], to[vertex + 1] = vertex + 1, vertex
        swaps.append([place[tuple(sorted((to[a], to[b])))] for a, b in PAIRS])
    bits = classes().numpy()
    front, number = bits @ weights, np.arange(len(bits))
    table[front] = number
    while len(front):
        spread = (front[:, None] >> np.arange(len(PAIRS))) & 1
        moved = np.concatenate([spread[:, swap] @ weights for swap in swaps])
        numbers = np.tile(number, len(swaps))
        new = table[moved] < 0
        front, first = np.unique(moved[new], return_index=True)
        number = numbers[new][first]
        table[front] = number
    return torch.from_numpy(table)


@torch.no_grad()
def class_probabilities(density: Density, context: Tensor) -> Tensor:
    """Return the probability of each of the 1,044 graphs given a context: the sum over all its adjacencies.

    Args:
        density: of 21 bits.
        context: ``(K,)``.
    """
    total = torch.zeros(len(classes()), dtype=torch.float64)
    owner = class_of_every_adjacency()
    for first in range(0, len(owner), _CHUNK):
        index = torch.arange(first, min(first + _CHUNK, len(owner)))
        bits = (index[:, None] >> torch.arange(len(PAIRS))) & 1
        log_prob = density.log_prob(bits.to(torch.uint8), context.expand(len(bits), -1))
        total.index_add_(0, owner[index], log_prob.double().exp())
    return total


def exact_probabilities(wanted: Tensor) -> Tensor:
    """Return the posterior under a uniform prior of graphs: equal for all that have the wanted properties."""
    matches = (properties(classes()) == wanted).all(1).double()
    return matches / matches.sum()


def compared(density: Density, wanted: Tensor, context: Tensor) -> Mapping[str, float]:
    """Compare the density of graphs with the exact posterior.

    Args:
        density: of 21 bits.
        wanted: edges and triangles.
        context: what the density takes for them.

    Returns:
        The sum of all probabilities, the share with the wanted properties, the distance in total variation, and the
        number of graphs that have the properties.
    """
    model, exact = class_probabilities(density, context), exact_probabilities(wanted)
    return {
        "sum": float(model.sum()),
        "right": float(model[exact > 0].sum()),
        "total_variation": float((model - exact).abs().sum() / 2),
        "graphs": float((exact > 0).sum()),
    }
