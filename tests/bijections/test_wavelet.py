import math
from functools import partial
from itertools import product

import pytest
import torch

from inverseflow.bijections import Additive, TwoBranch, WaveletSqueeze
from inverseflow.bijections.wavelet import daubechies
from inverseflow.nets import MLP


def test_the_haar_bands_of_a_block_are_those_of_the_definition():
    a, b, c, d = block = torch.randn(4, dtype=torch.float64)
    z, log_det = WaveletSqueeze()(block.view(1, 1, 2, 2))
    expected = torch.stack([a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d]) / 2
    torch.testing.assert_close(z.flatten(), expected, rtol=0, atol=1e-15)
    assert log_det == 0


@pytest.mark.parametrize("moments", [1, 2, 5, 10])
def test_the_filters_are_orthonormal_and_details_vanish_on_polynomials(moments):
    low = torch.tensor(daubechies(moments), dtype=torch.float64)
    high = low.flip(0) * torch.tensor([(-1) ** m for m in range(len(low))])
    assert abs(low.sum() - math.sqrt(2)) < 1e-12
    for shift in range(moments):
        products = low[2 * shift :] @ low[: len(low) - 2 * shift], high[2 * shift :] @ low[: len(low) - 2 * shift]
        torch.testing.assert_close(
            torch.stack(products), torch.tensor([float(shift == 0), 0]).double(), rtol=0, atol=1e-9
        )
    places = torch.linspace(-1, 1, len(low), dtype=torch.float64)
    for power in range(moments):
        assert abs(high @ places**power) < 1e-9


@pytest.mark.parametrize(("moments", "side"), [(1, 4), (2, 2), (3, 6), (10, 4)])
def test_the_matrix_of_the_transform_is_orthogonal_even_where_the_filter_is_longer_than_the_image(moments, side):
    units = torch.eye(side * side, dtype=torch.float64).view(-1, 1, side, side)
    matrix = WaveletSqueeze(moments)(units)[0].flatten(1)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(side * side).double(), rtol=0, atol=1e-9)


def test_bands_come_first_and_channels_second_for_volumes_too():
    x = torch.randn(2, 3, 4, 2, 2, dtype=torch.float64)
    z, _ = WaveletSqueeze(spatial_axes=3)(x)
    for index, signs in enumerate(product((1, -1), repeat=3)):
        band = torch.zeros(2, 3, 2, 1, 1, dtype=torch.float64)
        for corner in product((0, 1), repeat=3):
            weight = math.prod(sign if odd else 1 for sign, odd in zip(signs, corner, strict=True))
            band += weight * x[:, :, corner[0] :: 2, corner[1] :: 2, corner[2] :: 2] / math.sqrt(8)
        torch.testing.assert_close(z[:, 3 * index : 3 * index + 3], band, rtol=0, atol=1e-14)


def test_an_odd_side_is_refused():
    with pytest.raises(ValueError, match="WaveletSqueeze can't fold the width 5 .* pad it to 6"):
        WaveletSqueeze()(torch.zeros(1, 3, 4, 5))


def test_the_haar_transform_is_a_lifting_step():
    layer = TwoBranch(2, partial(MLP, width=4), map=Additive(), swap=True).double()
    for coupling, factor in zip(layer.layers, (-1.0, 0.5), strict=True):
        coupling.net = torch.nn.Linear(1, 1, bias=False).double()
        torch.nn.init.constant_(coupling.net.weight, factor)
    pairs = torch.randn(5, 2, dtype=torch.float64)
    z, _ = layer(pairs)
    haar, _ = WaveletSqueeze(spatial_axes=1)(pairs[:, None])
    expected = haar[:, :, 0] * torch.tensor([1 / math.sqrt(2), -math.sqrt(2)], dtype=torch.float64)
    torch.testing.assert_close(z, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("swap", [False, True])
def test_each_branch_is_changed_given_the_other(swap):
    torch.manual_seed(0)
    layer = TwoBranch(5, partial(MLP, width=4), num_first=2, swap=swap).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x = torch.randn(3, 5, dtype=torch.float64)
    once, again = (x[:, 2:], x[:, :2]) if swap else (x[:, :2], x[:, 2:])
    shift, rest = layer.layers
    once = once + shift.net(again)
    scale, move = rest.net(once).chunk(2, dim=1)
    again = again * (2 * torch.tanh(scale / 2)).exp() + move
    torch.testing.assert_close(layer(x)[0], torch.cat([again, once] if swap else [once, again], dim=1))


def test_one_network_for_both_branches_is_refused():
    with pytest.raises(TypeError, match="builder of two networks, got the network MLP"):
        TwoBranch(4, MLP(2, 4, width=4))
