import itertools

import torch

from inverseflow.inference import invert
from tests.inference.inversion.networks import square_norm


def test_a_grid_recalls_every_cell_of_a_level_set():
    size = 201
    ends = torch.linspace(-1.5, 1.5, size, dtype=torch.float64)
    corners = square_norm(torch.cartesian_prod(ends, ends)).view(size, size) - 1
    signs = torch.stack([corners[i : size - 1 + i, j : size - 1 + j] for i, j in itertools.product((0, 1), (0, 1))]) > 0
    crossed = signs.any(0) & ~signs.all(0)
    step = 3 / (size - 1)
    # A node nearest to a level set is half a diagonal away, and the slope is at most 2 · 1.02 there.
    found = invert(
        lambda x: square_norm(x),
        torch.tensor([1.0], dtype=torch.float64),
        method="exhaustive",
        box=([-1.5, -1.5], [1.5, 1.5]),
        grid=size,
        tolerance=2.04 * step * 2**0.5,
    )
    places = ((found.solutions + 1.5) / step).round().long()
    node = torch.zeros(size, size, dtype=torch.bool)
    node[places[:, 0], places[:, 1]] = True
    recalled = node[:-1, :-1] | node[1:, :-1] | node[:-1, 1:] | node[1:, 1:]
    assert crossed.sum() > 500
    assert recalled[crossed].all()


def test_a_grid_holds_each_node_once_from_bound_to_bound():
    seen = []

    def network(x):
        seen.append(x.detach().clone())
        return x.sum(1)

    invert(network, torch.tensor([9.0]), method="exhaustive", box=([0.0, 2.0, -1.0], [1.0, 4.0, 1.0]), grid=3)
    nodes = torch.cat(seen[:-1])
    expected = torch.cartesian_prod(torch.tensor([0, 0.5, 1]), torch.tensor([2.0, 3, 4]), torch.tensor([-1.0, 0, 1]))
    assert torch.equal(nodes, expected)
