from itertools import permutations

import networkx
import pytest
import torch

from experiments.graphs.enumerated import (
    PAIRS,
    class_of_every_adjacency,
    class_probabilities,
    classes,
    exact_probabilities,
    properties,
    relabeled,
)
from inverseflow.densities import MADE


def graph_of(bits):
    graph = networkx.empty_graph(7)
    graph.add_edges_from(pair for pair, there in zip(PAIRS, bits.tolist(), strict=True) if there)
    return graph


def test_properties_are_those_of_networkx_and_survive_relabeling():
    bits = classes()[::40]
    found = [(graph.number_of_edges(), sum(networkx.triangles(graph).values()) // 3) for graph in map(graph_of, bits)]
    assert properties(bits).tolist() == [list(each) for each in found]
    moved = relabeled(bits, torch.Generator().manual_seed(0))
    assert not torch.equal(moved, bits)
    assert torch.equal(properties(moved), properties(bits))
    for before, after in zip(bits[::5], moved[::5], strict=True):
        assert networkx.is_isomorphic(graph_of(before), graph_of(after))


def test_exact_posterior_is_uniform_on_the_graphs_with_the_properties():
    exact = exact_probabilities(torch.tensor([9, 2]))
    assert float(exact.sum()) == pytest.approx(1)
    assert int((exact > 0).sum()) == 42 and float(exact.max()) == pytest.approx(1 / 42)


@pytest.mark.slow
def test_every_adjacency_belongs_to_one_graph_and_probabilities_sum_to_one():
    owner = class_of_every_adjacency()
    sizes = torch.bincount(owner)
    assert int(owner.min()) == 0 and len(sizes) == 1044
    weights = 1 << torch.arange(21)
    for number in (0, 100, 517, 1043):
        bits = classes()[number]
        edges = [pair for pair, there in zip(PAIRS, bits.tolist(), strict=True) if there]
        images = {frozenset(frozenset((order[a], order[b])) for a, b in edges) for order in permutations(range(7))}
        assert int(sizes[number]) == len(images)
    moved = relabeled(classes(), torch.Generator().manual_seed(1))
    assert torch.equal(owner[(moved.long() * weights).sum(1)], torch.arange(1044))
    torch.manual_seed(0)
    made = MADE((21,), levels=2, width=16, context_channels=2)
    assert float(class_probabilities(made, torch.tensor([9.0, 2.0])).sum()) == pytest.approx(1, abs=1e-5)
