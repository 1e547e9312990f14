from functools import partial

import pytest
import torch
from torch import nn

from inverseflow.nets import ConvNet, ResNet
from inverseflow.nets.conditioner import build_network, takes_context

SIZES = [(), (4,), (4, 5), (2, 3, 4)]
randn = partial(torch.randn, dtype=torch.float64)


def drawn(*args, **options):
    net = ResNet(*args, **options).double()
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    return net


@pytest.mark.parametrize("size", SIZES)
def test_it_starts_at_zero(size):
    net = ResNet(3, 5, width=4, spatial_axes=len(size))
    assert torch.equal(net(torch.randn(2, 3, *size)), torch.zeros(2, 5, *size))


@pytest.mark.parametrize("size", SIZES)
def test_a_context_vector_is_the_same_as_its_spread_over_the_axes(size):
    net = drawn(3, 5, width=4, spatial_axes=len(size), context_channels=2)
    x, context = randn(2, 3, *size), randn(2, 2)
    everywhere = context.reshape(2, 2, *[1] * len(size)).expand(2, 2, *size)
    torch.testing.assert_close(net(x, context), net(x, everywhere))


def test_without_blocks_it_is_its_first_and_last_layer():
    net, x = drawn(3, 5, width=4, depth=0, spatial_axes=0), randn(2, 3)
    torch.testing.assert_close(net(x), net.last(net.first(x).relu()))


def test_every_block_sees_the_context_where_it_is():
    net = drawn(1, 1, width=4, depth=2, spatial_axes=1, context_channels=1)
    for silent in (0, 1):
        changed = drawn(1, 1, width=4, depth=2, spatial_axes=1, context_channels=1)
        changed.load_state_dict(net.state_dict())
        nn.init.zeros_(changed.blocks[silent].context.weight)
        x, context = randn(1, 1, 15), torch.zeros(1, 1, 15, dtype=torch.float64)
        spike = context.clone()
        spike[0, 0, 7] = 1.0
        reach = (changed(x, spike) != changed(x, context))[0, 0].nonzero()
        # two pixels further for each block: a kernel of side 3 each for the block, those after it, and the last layer
        assert (reach.amin().item(), reach.amax().item()) == ((5, 9) if silent == 0 else (3, 11))


def test_a_builder_that_knows_a_context_gets_it_by_name_and_any_other_counts_it_as_input():
    def plain(in_channels, out_channels):
        return nn.Linear(in_channels, out_channels)

    def knowing(in_channels, out_channels, *, context_channels):
        return ResNet(in_channels, out_channels, 4, spatial_axes=0, context_channels=context_channels)

    linear, resnet = build_network(plain, 3, 5, 2), build_network(knowing, 3, 5, 2)
    assert (linear.in_features, resnet.first.in_features, resnet.blocks[0].context.in_features) == (5, 3, 2)
    assert takes_context(resnet)
    assert not takes_context(linear)


def test_a_context_that_nothing_would_see_and_one_that_is_missing_are_refused():
    x, context = torch.randn(2, 3), torch.randn(2, 1)
    with pytest.raises(ValueError, match=r"built with context_channels=None, got one of shape \(2, 1\)"):
        ResNet(3, 5, width=4, spatial_axes=0)(x, context)
    with pytest.raises(ValueError, match="built with context_channels=1, got none"):
        ResNet(3, 5, width=4, spatial_axes=0, context_channels=1)(x)
    with pytest.raises(ValueError, match="depth must be at least 1, got 0"):
        ResNet(3, 5, width=4, depth=0, context_channels=1)


@pytest.mark.parametrize("build", [ConvNet, ResNet])
def test_a_network_of_images_refuses_sequences_although_torch_would_take_them_for_one_image(build):
    net = build(3, 3, width=4)
    with pytest.raises(
        ValueError, match=r"built with spatial_axes=2, got input of shape \(3, 3, 5\); .* spatial_axes=1"
    ):
        net(torch.randn(3, 3, 5))
