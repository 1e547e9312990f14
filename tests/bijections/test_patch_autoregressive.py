from functools import partial

import pytest
import torch
from torch import nn

from inverseflow.bijections import MixtureCDF, PatchAutoregressive
from inverseflow.nets import CausalTransformer
from tests.contracts.registry import perturb

randn = partial(torch.randn, dtype=torch.float64)


def layer_of(**options):
    torch.manual_seed(0)
    net = partial(CausalTransformer, width=8, depth=2, heads=2)
    return perturb(PatchAutoregressive(2, net, size=(4, 6), **options).double())


@pytest.mark.parametrize("order", ["natural", "reversed"])
def test_a_patch_sees_the_patches_before_it_in_the_order_and_of_its_own_each_element_itself(order):
    layer, x = layer_of(order=order), randn(1, 2, 4, 6)
    jacobian = torch.autograd.functional.jacobian(lambda x: layer(x)[0], x).reshape(2, 4, 6, 2, 4, 6) != 0
    patch = 3 * (torch.arange(4) // 2)[:, None] + torch.arange(6) // 2  # (H, W)
    later = patch[:, :, None, None] > patch if order == "natural" else patch[:, :, None, None] < patch
    itself = torch.eye(48).bool().view(2, 4, 6, 2, 4, 6)
    assert torch.equal(jacobian, later[None, :, :, None] | itself)


@pytest.mark.parametrize("map", [None, MixtureCDF(2)])
def test_the_inverse_computes_each_token_once_and_its_gradients_are_those_of_the_implicit_function(map):
    layer, tokens = layer_of(map=map), [0]
    block = layer.vector.net.blocks[0].mlp
    hook = block.register_forward_hook(lambda _, args, out: tokens.__setitem__(0, tokens[0] + args[0].shape[1]))
    x = randn(2, 2, 4, 6)
    with torch.no_grad():
        z, log_det = layer(x)
        tokens[0] = 0
        back, log_det_back = layer.inverse(z)
    hook.remove()
    assert tokens == [6]
    torch.testing.assert_close((back, log_det_back), (x, -log_det))
    z = z[:1, :1, :2, :4].detach().requires_grad_()
    small = PatchAutoregressive(1, partial(CausalTransformer, width=4, depth=1), size=(2, 4), map=map).double()
    assert torch.autograd.gradcheck(perturb(small).inverse, (z,), atol=1e-4)


def test_a_vector_as_context_is_the_same_everywhere_and_a_spatial_one_acts_on_its_own_patch():
    layer, x = layer_of(context_channels=1), randn(1, 2, 4, 6)
    context = randn(1, 1)
    torch.testing.assert_close(layer(x, context), layer(x, context[..., None, None].expand(1, 1, 4, 6)))
    spatial = torch.zeros(1, 1, 4, 6).double()
    z, _ = layer(x, spatial)
    spatial[..., 3, 3] = 1  # the last row of patches, its second patch
    changed = (layer(x, spatial)[0] != z)[0].any(0)
    assert changed[2:, 2:].all()
    assert not changed[:2].any()
    assert not changed[2:, :2].any()


class Seeing(nn.Module):
    """A network that sees its own patch."""

    def __init__(self, in_channels, out_channels, block):
        super().__init__()
        self.block = block
        self.last = nn.Linear(in_channels, out_channels)

    def forward(self, x):
        return self.last(x)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="the network's outputs for channel 0 depend on channel 0, which is not befo"):
        PatchAutoregressive(1, Seeing, size=(2, 4))
    with pytest.raises(ValueError, match=r"patch_size must divide the sides \(7, 7\), got 2; take one of 1, 7"):
        PatchAutoregressive(1, size=(7, 7))
    with pytest.raises(ValueError, match="unknown order 'spiral': choose 'natural' or 'reversed'"):
        PatchAutoregressive(1, size=(2, 2), order="spiral")
