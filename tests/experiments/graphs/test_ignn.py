import pytest
import torch
from torch.autograd.functional import jacobian

from experiments.graphs.ignn import IGNN, GraphFilter, chebyshev, largest_lipschitz
from experiments.graphs.moons import graph, node_features, node_labels, one_hot
from inverseflow.errors import ConvergenceError

LINE = torch.diag(torch.ones(5), 1) + torch.diag(torch.ones(5), -1)  # six nodes in a row


def model(adjacency, **options):
    torch.manual_seed(0)
    return IGNN(adjacency.double(), blocks=2, width=5, **options).double()


@pytest.mark.parametrize("bound", [None, 0.9])
def test_log_determinant_is_that_of_the_dense_jacobian(bound):
    network = model(LINE, max_lipschitz=bound)
    x = torch.randn(3, 2, 6, dtype=torch.float64)
    _, log_det = network.flow(x)
    for one, value in zip(x, log_det, strict=True):
        dense = jacobian(lambda x: network.flow(x[None])[0][0], one).reshape(12, 12)
        torch.testing.assert_close(value, torch.linalg.slogdet(dense).logabsdet)


def test_renumbering_the_nodes_renumbers_the_result():
    adjacency = graph("karate club")
    order = torch.randperm(len(adjacency))
    x = torch.randn(2, 2, len(adjacency), dtype=torch.float64)
    here, there = model(adjacency), model(adjacency[order][:, order])
    torch.testing.assert_close(here.flow(x)[0][:, :, order], there.flow(x[:, :, order])[0])


def test_a_block_reaches_two_edges_far_for_each_order_of_its_filters():
    network = model(LINE, order=1)
    dense = jacobian(lambda x: network.flow.layers[0](x[None])[0][0], torch.randn(2, 6, dtype=torch.float64))
    reached = dense.abs().amax((0, 2)) > 0
    assert reached[0].tolist() == [True, True, True, False, False, False]


def test_chebyshev_polynomials_and_bounded_filters_have_norms_of_at_most_their_bound():
    polynomials = chebyshev(graph("small world").double(), 3)
    assert bool((torch.linalg.matrix_norm(polynomials, 2) <= 1 + 1e-12).all())
    torch.testing.assert_close(
        polynomials[3], 4 * polynomials[1] @ polynomials[1] @ polynomials[1] - 3 * polynomials[1]
    )
    torch.manual_seed(0)
    layer = GraphFilter(2, 4, polynomials, 0.7).double()
    with torch.no_grad():
        layer.weight.mul_(100)
    assert float(torch.linalg.matrix_norm(layer.matrix().detach(), 2)) <= 0.7 + 1e-12
    x = torch.randn(1, 2, 20, dtype=torch.float64)
    torch.testing.assert_close((layer.matrix() @ x.flatten()).reshape(1, 4, 20), layer(x) - layer.bias[:, None])


def test_bounded_blocks_invert_and_free_ones_raise_where_there_is_no_inverse():
    x = torch.randn(4, 2, 6, dtype=torch.float64)
    bounded, free = model(LINE, max_lipschitz=0.9), model(LINE)
    with torch.no_grad():
        for network in (bounded, free):
            for layer in network.flow.layers:
                layer.outer.weight.mul_(100)
    torch.testing.assert_close(bounded.flow.inverse(bounded.flow(x)[0])[0], x)
    assert largest_lipschitz(bounded, x) <= 0.9 < 1 < largest_lipschitz(free, x)
    with pytest.raises(ConvergenceError):
        free.flow.inverse(free.flow(x)[0])


def test_density_is_that_of_its_samples_for_one_node():
    network = model(torch.zeros(1, 1), max_lipschitz=0.5, deviation=0.5)
    context = one_hot(torch.zeros(1, 1, dtype=torch.long)).double()
    grid = torch.linspace(-12, 12, 241, dtype=torch.float64)
    points = torch.cartesian_prod(grid, grid)[:, :, None]
    density = network.log_prob(points, context.expand(len(points), -1, -1)).exp().detach()
    assert float(density.sum()) * 0.1**2 == pytest.approx(1, abs=1e-3)
    drawn = network.sample(4000, context[0])
    mean = (density[:, None] * points[:, :, 0]).sum(0) * 0.1**2
    assert bool(((drawn[:, :, 0].mean(0) - mean).abs() < 4 * drawn[:, :, 0].std(0) / 4000**0.5 + 1e-3).all())


def test_terms_of_the_objective_hold_the_likelihood():
    adjacency = graph("path")
    generator = torch.Generator().manual_seed(0)
    labels = node_labels(20, adjacency, generator)
    x, context = node_features(labels, adjacency, generator).double(), one_hot(labels).double()
    network = model(adjacency)
    terms = network.terms(x, context)
    torch.testing.assert_close(terms["nats"], -network.log_prob(x, context).mean())
    assert bool(terms["transport"] > 0)
