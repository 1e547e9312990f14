from functools import partial

import pytest
import torch
from torch import nn

from inverseflow.bijections import Squeeze
from inverseflow.nets import CausalTransformer, TransformerBlock, ViT
from inverseflow.nets.patches import from_patches, patch_grid, to_patches
from tests.contracts.registry import perturb

randn = partial(torch.randn, dtype=torch.float64)


@pytest.mark.parametrize("size", [(6,), (4, 6), (2, 4, 6)])
def test_patches_are_those_of_a_squeeze_and_go_together_again(size):
    x = randn(2, 3, *size)
    folded = Squeeze(2, spatial_axes=len(size))(x)[0]  # channels of a pixel are the elements of a patch
    patches = to_patches(x, 2)
    assert torch.equal(patches, folded.flatten(2).mT)
    assert torch.equal(from_patches(patches, 2, size), x)


def test_a_block_is_pytorch_s_encoder_layer_that_normalizes_first():
    block = perturb(TransformerBlock(8, heads=2).double())
    layer = nn.TransformerEncoderLayer(
        8, 2, dim_feedforward=32, dropout=0, activation=nn.functional.gelu, batch_first=True, norm_first=True
    ).double()
    with torch.no_grad():
        layer.self_attn.in_proj_weight.copy_(block.attention_inputs.weight)
        layer.self_attn.in_proj_bias.zero_()
    layer.self_attn.out_proj.load_state_dict(block.attention_output.state_dict())
    layer.linear1.load_state_dict(block.mlp[0].state_dict())
    layer.linear2.load_state_dict(block.mlp[2].state_dict())
    layer.norm1.load_state_dict(block.first_norm.state_dict())
    layer.norm2.load_state_dict(block.second_norm.state_dict())
    h, hidden = randn(3, 5, 8), torch.ones(5, 5).triu(1).bool()
    torch.testing.assert_close(block(h), layer(h))
    torch.testing.assert_close(block(h, hidden), layer(h, src_mask=hidden))


def test_tokens_that_follow_are_updated_as_in_one_pass():
    block, h = perturb(TransformerBlock(4, heads=2).double()), randn(3, 5, 4)
    first, past = block.extend(h[:, :2], None, torch.ones(2, 2).triu(1).bool())
    rest, seen = block.extend(h[:, 2:3], past)
    last, seen = block.extend(h[:, 3:], seen, torch.ones(2, 5).triu(4).bool())
    together = block(h, torch.ones(5, 5).triu(1).bool())
    torch.testing.assert_close(torch.cat([first, rest, last], 1), together)
    assert seen.shape == (2, 3, 2, 5, 2)


def test_a_vision_transformer_starts_at_zero_and_every_output_sees_every_place():
    net = ViT(2, 3, width=8, depth=1, size=(4, 6), heads=2).double()
    x = randn(1, 2, 4, 6)
    assert torch.equal(net(x), torch.zeros(1, 3, 4, 6).double())
    jacobian = torch.autograd.functional.jacobian(perturb(net), x)
    assert (jacobian.reshape(72, 48) != 0).all()


def test_a_vision_transformer_of_one_patch_size_refuses_others():
    with pytest.raises(ValueError, match=r"built with size=\(4, 4\), got input of shape \(1, 2, 4, 6\)"):
        ViT(2, 3, width=8, size=(4, 4))(torch.zeros(1, 2, 4, 6))
    with pytest.raises(ValueError, match=r"patch_size must divide the sides \(4, 6\), got 4; take one of 1, 2"):
        ViT(2, 3, width=8, size=(4, 6), patch_size=4)
    with pytest.raises(ValueError, match="width must be a multiple of heads 4, got 6"):
        ViT(2, 3, width=6, size=(4, 4))
    with pytest.raises(ValueError, match=r"size must be the 1 to 3 sides .* got \(\)"):
        patch_grid((), 1)


@pytest.mark.parametrize("context_channels", [None, 6])
def test_outputs_of_a_token_see_all_tokens_before_it_and_no_other(context_channels):
    net = perturb(CausalTransformer(6, 12, 8, 1, block=2, heads=2, context_channels=context_channels).double())
    given = [] if context_channels is None else [randn(1, 6)]
    jacobian = torch.autograd.functional.jacobian(lambda x: net(x, *given), randn(1, 6)).view(2, 6, 6)
    token = torch.arange(6) // 2
    expected = token[:, None] > token
    assert torch.equal(jacobian.abs().amin(0) > 0, expected)
    assert torch.equal(jacobian.abs().amax(0) > 0, expected)


@pytest.mark.parametrize("context_channels", [None, 8])
def test_unrolling_evaluates_each_token_once_and_gives_the_outputs_of_the_whole_network(context_channels):
    net = perturb(CausalTransformer(12, 24, 8, 2, block=3, heads=2, context_channels=context_channels).double())
    given = [] if context_channels is None else [randn(5, 8)]
    x, outputs, tokens = randn(5, 12), [], [0]
    net.blocks[0].mlp.register_forward_hook(lambda _, args, out: tokens.__setitem__(0, tokens[0] + args[0].shape[1]))

    def step(elements, parameters):
        outputs.append(parameters)
        return x.T[elements]

    with torch.no_grad():
        assert torch.equal(net.unroll(step, 5, *given), x)
        assert tokens == [4]
        expected = net(x, *given).view(5, 2, 12)
    torch.testing.assert_close(torch.cat(outputs).permute(2, 1, 0), expected)


def test_a_causal_transformer_starts_at_zero():
    assert torch.equal(CausalTransformer(2, 4, 4)(torch.randn(3, 2)), torch.zeros(3, 4))


def test_numbers_of_a_causal_transformer_that_do_not_fit_are_refused():
    for arguments, options, message in (
        ((6, 12, 8), {"block": 4}, "in_channels must be a multiple of block 4, got 6"),
        ((6, 8, 8), {}, "out_channels must be a multiple of in_channels 6, got 8"),
        ((6, 6, 8), {"context_channels": 4}, "context_channels must be a multiple of the number of tokens 6, got 4"),
    ):
        with pytest.raises(ValueError, match=message):
            CausalTransformer(*arguments, **options)
    with pytest.raises(ValueError, match="takes no context; build it with the context_channels"):
        CausalTransformer(2, 2, 4)(torch.zeros(1, 2), torch.zeros(1, 2))
