from itertools import pairwise

import pytest
import torch
from torch import nn

from inverseflow.nets import InvAuto


def test_one_set_of_parameters_is_half_of_a_network_and_a_free_reverse():
    sizes = [3, 8, 5, 3]
    free = [nn.Linear(*pair) for chain in (sizes, sizes[::-1]) for pair in pairwise(chain)]
    count = sum(parameter.numel() for layer in free for parameter in layer.parameters())
    for orthogonal in (False, True):
        net = InvAuto(sizes, orthogonal=orthogonal)
        assert 2 * sum(parameter.numel() for parameter in net.parameters()) == count


def test_the_layers_are_those_of_the_formula():
    net, x = InvAuto([3, 4, 2], slope=0.1).double(), torch.randn(5, 3, dtype=torch.float64)
    first, second = net.layers
    hidden = x @ first.weight.T + first.bias
    hidden = torch.where(hidden > 0, hidden, 0.1 * hidden)
    h = hidden @ second.weight.T + second.bias
    torch.testing.assert_close(net.encode(x), h)
    back = (h - second.bias) @ second.weight
    back = torch.where(back > 0, back, 10 * back)
    torch.testing.assert_close(net.decode(h), (back - first.bias) @ first.weight)


@pytest.mark.parametrize("sizes", [[6, 6, 6], [4, 6, 9]], ids=["square", "expanding"])
def test_decoding_undoes_encoding_where_no_layer_compresses(sizes):
    net = InvAuto(sizes, orthogonal=True)
    x = torch.randn(50, sizes[0])
    assert (net.decode(net.encode(x)) - x).abs().max() < 1e-5
    assert net.orthogonality() < 1e-8


def test_encoding_undoes_decoding_where_every_layer_compresses_and_not_the_other_way_round():
    net = InvAuto([9, 6, 4], orthogonal=True)
    h, x = torch.randn(50, 4), torch.randn(50, 9)
    assert (net.encode(net.decode(h)) - h).abs().max() < 1e-5
    assert (net.decode(net.encode(x)) - x).abs().max() > 0.1
    assert net.orthogonality() < 1e-8


def test_training_keeps_matrices_orthonormal_that_are_so_by_construction():
    net, x = InvAuto([4, 4, 4], orthogonal=True), torch.randn(64, 4)
    before = net.layers[0].weight.clone()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(20):
        optimizer.zero_grad()
        (net.encode(x) - x.flip(1)).square().mean().backward()
        optimizer.step()
    assert (net.layers[0].weight - before).abs().max() > 0.05
    assert net.orthogonality() < 1e-8


def test_the_penalty_leads_free_matrices_back_to_orthonormal_ones():
    net, x = InvAuto([4, 4, 4]), torch.randn(256, 4)
    with torch.no_grad():
        for layer in net.layers:
            layer.weight.add_(0.3 * torch.randn(4, 4))
    assert net.orthogonality() > 0.1
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(300):
        optimizer.zero_grad()
        net.orthogonality().backward()
        optimizer.step()
    assert net.orthogonality().sqrt() < 1e-3
    assert (net.decode(net.encode(x)) - x).abs().max() < 1e-2


def test_orthogonality_is_the_squared_norm_of_the_smaller_gram_matrix_less_one():
    net = InvAuto([3, 2])
    with torch.no_grad():
        net.layers[0].weight.copy_(torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]))
    assert net.orthogonality().item() == pytest.approx(0 + 1 + 1 + 1)  # W Wᵀ = [[1, 1], [1, 2]]


def test_the_slope_and_the_sizes_are_checked():
    with pytest.raises(ValueError, match="slope must be above 0 and at most 1, got 0"):
        InvAuto([2, 2], slope=0)
    with pytest.raises(ValueError, match=r"sizes must be those of input and output at least, got \(2,\)"):
        InvAuto([2])
