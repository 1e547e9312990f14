from functools import partial

import pytest
import torch
from torch import nn

from inverseflow.bijections import AffineCoupling, QuadCoupling
from inverseflow.nets import MLP, ConvNet


def linear(in_features, out_features):
    """Build a conditioner that does not start at zero."""
    return nn.Linear(in_features, out_features).double()


def by_the_definition(x, nets, bound):
    """Return z and the log-determinant block by block, each network seeing what came in."""
    size = x.shape[1] // (len(nets) + 1)
    z, log_det = x.clone(), 0
    for j, net in enumerate(nets, start=1):
        before, block = x[:, : j * size], slice(j * size, (j + 1) * size)
        raw_scale, shift = net(before)[:, :size], net(before)[:, size:]
        log_scale = bound * torch.tanh(raw_scale / bound)
        z[:, block] = x[:, block] * log_scale.exp() + shift
        log_det = log_det + log_scale.sum(1)
    return z, log_det


@pytest.mark.parametrize(("channels", "blocks"), [(8, 4), (8, 2), (6, 3), (5, 5)])
def test_it_is_the_coupling_of_the_definition_conditioned_on_blocks_as_they_came(channels, blocks):
    nets = []

    def net(in_features, out_features):
        nets.append(linear(in_features, out_features))
        return nets[-1]

    layer = QuadCoupling(channels, net, blocks=blocks, max_log_scale=0.7)
    x = torch.randn(6, channels, dtype=torch.float64)
    z, log_det = layer(x)
    torch.testing.assert_close((z, log_det), by_the_definition(x, nets, 0.7))
    back, log_det_back = layer.inverse(z)
    torch.testing.assert_close((back, log_det_back), (x, -log_det))


def test_two_blocks_are_an_affine_coupling():
    layer = QuadCoupling(6, linear, blocks=2)
    affine = AffineCoupling(6, layer.couplings[0].net)
    x = torch.randn(3, 6, dtype=torch.float64)
    torch.testing.assert_close(layer(x), affine(x), rtol=0, atol=0)
    torch.testing.assert_close(layer.inverse(x), affine.inverse(x), rtol=0, atol=0)


def test_blocks_of_one_channel_are_autoregressive():
    layer = QuadCoupling(4, linear, blocks=4)
    x = torch.randn(4, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: layer(x[None])[0][0], x)
    assert (jacobian.triu(1) == 0).all()
    assert (jacobian[torch.ones(4, 4).tril().bool()] != 0).sum() == 10


def test_networks_are_asked_for_the_channels_before_their_block_and_those_of_the_context():
    asked = []

    def net(in_channels, out_channels):
        asked.append((in_channels, out_channels))
        return ConvNet(in_channels, out_channels, width=4)

    layer = QuadCoupling(12, net, context_channels=5)
    assert asked == [(3 + 5, 6), (6 + 5, 6), (9 + 5, 6)]
    assert layer(torch.randn(2, 12, 3, 4), torch.randn(2, 5))[0].shape == (2, 12, 3, 4)


def test_it_starts_at_the_identity():
    x = torch.randn(2, 8, 3, 4)
    z, log_det = QuadCoupling(8, partial(ConvNet, width=4))(x)
    assert torch.equal(z, x)
    assert log_det.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("channels", "blocks"), [(3, 4), (1, 4), (6, 4), (3, 2), (9, 6)])
def test_channels_that_the_blocks_do_not_divide_are_refused_with_the_remedy(channels, blocks):
    message = f"blocks must divide the {channels} channels, got {blocks}; squeeze the image first, or choose another"
    with pytest.raises(ValueError, match=message):
        QuadCoupling(channels, partial(MLP, width=4), blocks=blocks)


@pytest.mark.parametrize("blocks", [1, 0, -2])
def test_a_coupling_of_fewer_than_two_blocks_is_refused(blocks):
    with pytest.raises(ValueError, match=f"blocks must be at least 2, got {blocks}"):
        QuadCoupling(4, partial(MLP, width=4), blocks=blocks)


def test_a_network_of_the_wrong_size_is_named_with_both_shapes():
    layer = QuadCoupling(4, lambda in_features, out_features: nn.Linear(in_features, 3))
    with pytest.raises(ValueError, match=r"changes \(5, 1\) must return \(5, 2\), got \(5, 3\)"):
        layer(torch.zeros(5, 4))
