from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from inverseflow.nets import GatedResNet

randn = partial(torch.randn, dtype=torch.float64)


@pytest.mark.parametrize("size", [(), (4,), (4, 5), (2, 3, 4)])
def test_it_starts_at_zero_over_any_axes(size):
    net = GatedResNet(3, 5, width=4, spatial_axes=len(size), context_channels=2)
    assert torch.equal(net(torch.randn(2, 3, *size), torch.randn(2, 2)), torch.zeros(2, 5, *size))


def test_a_block_is_that_of_flow_plus_plus():
    net = GatedResNet(3, 5, width=4, depth=1, context_channels=2).double()
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    x, context, block = randn(2, 3, 4, 5), randn(2, 2), net.blocks[0]

    def elu_of_both_signs(h):
        return torch.where(torch.cat([h, -h], 1) > 0, torch.cat([h, -h], 1), torch.cat([h, -h], 1).expm1())

    h = F.conv2d(x, net.first.weight, net.first.bias, padding=1)
    inner = F.conv2d(elu_of_both_signs(h), block.first.weight, block.first.bias, padding=1)
    inner = inner + (context @ block.context.weight[:, :, 0, 0].T + block.context.bias)[:, :, None, None]
    both = torch.einsum("bchw,oc->bohw", elu_of_both_signs(inner), block.second.weight[:, :, 0, 0])
    both = both + block.second.bias[:, None, None]
    h = h + both[:, :4] / (1 + (-both[:, 4:]).exp())
    h = (h - h.mean(1, keepdim=True)) / (h.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    h = h * block.norm.weight[:, None, None] + block.norm.bias[:, None, None]
    torch.testing.assert_close(net(x, context), net.last(h.relu()))


def test_a_context_that_is_missing_is_refused():
    with pytest.raises(ValueError, match="this GatedResNet is built with context_channels=2, got none"):
        GatedResNet(1, 1, width=4, context_channels=2)(torch.zeros(1, 1, 2, 2))
