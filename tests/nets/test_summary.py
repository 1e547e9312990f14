import pytest
import torch

from inverseflow.nets import GraphSummary, ImageSummary, SeriesSummary, SetSummary, create_summary

SHAPES = {"set": (6, 2), "series": (2, 20), "image": (1, 9, 8), "graph": (5, 3 + 5)}


@pytest.mark.parametrize(("kind", "shape"), SHAPES.items())
def test_every_parameter_of_a_summary_gets_a_gradient_and_moments_broadcast(kind, shape):
    network, y = create_summary(kind, shape, features=3, width=8), 5 + 2 * torch.randn(100, *shape)
    mean, deviation = network.moments(y)
    assert ((y - mean) / deviation).shape == y.shape
    summary = network(y)
    assert summary.shape == (100, 3)
    summary.square().sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in network.parameters())


def test_the_order_of_a_set_is_ignored():
    network, y, order = SetSummary((7, 2)).double(), torch.randn(4, 7, 2).double(), torch.randperm(7)
    torch.testing.assert_close(network(y[:, order]), network(y), rtol=0, atol=1e-14)
    assert not torch.allclose(network(y + 0.1), network(y))


def test_the_numbering_of_the_vertices_of_a_graph_is_ignored():
    network, features = GraphSummary((6, 2 + 6)).double(), torch.randn(4, 6, 2).double()
    adjacency = torch.rand(4, 6, 6).double().round()
    order = torch.randperm(6)
    y = torch.cat([features, adjacency], 2)
    numbered = torch.cat([features[:, order], adjacency[:, order][:, :, order]], 2)
    torch.testing.assert_close(network(numbered), network(y), rtol=0, atol=1e-13)
    other = torch.cat([features[:, order], adjacency], 2)
    assert not torch.allclose(network(other), network(y))
    for mean_or_deviation, renumbered in zip(network.moments(y), network.moments(numbered), strict=True):
        torch.testing.assert_close(mean_or_deviation, renumbered)


def test_a_graph_without_features_has_degrees():
    path, star = torch.zeros(4, 4), torch.zeros(4, 4)
    path[[0, 1, 2], [1, 2, 3]] = star[[0, 0, 0], [1, 2, 3]] = 1
    y = torch.stack([path + path.T, star + star.T])
    summary = GraphSummary((4, 4))(y)
    assert not torch.allclose(summary[0], summary[1])


def test_inner_positions_of_images_and_series_are_equivalent_up_to_the_stride():
    image, series = torch.zeros(2, 1, 32, 32), torch.zeros(2, 1, 64)
    image[0, 0, 12, 12] = image[1, 0, 16, 20] = series[0, 0, 24] = series[1, 0, 40] = 3
    for network, y in ((ImageSummary((1, 32, 32)), image), (SeriesSummary((1, 64)), series)):
        summary = network(y)
        torch.testing.assert_close(summary[0], summary[1], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "shape", "message"),
    [
        ("set", (3,), r"a set is an observation \(n, C\), got the shape \(3,\)"),
        ("image", (3, 4), r"an image is an observation \(C, H, W\)"),
        ("graph", (5, 4), "a graph of 5 vertices needs at least as many columns, got 4"),
        ("tree", (5, 4), "unknown summary 'tree': choose 'set', 'series', 'image' or 'graph'"),
    ],
)
def test_observations_of_another_kind_are_refused(kind, shape, message):
    with pytest.raises(ValueError, match=message):
        create_summary(kind, shape)
