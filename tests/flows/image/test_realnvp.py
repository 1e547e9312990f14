from functools import partial

import pytest
import torch
from torch import nn

from inverseflow.bijections import ActNorm, BatchNorm, Channels, Checkerboard, Compose, Coupling, Halves, Mask, Squeeze
from inverseflow.flows import ImageRealNVP, RealNVP
from tests.contracts.registry import perturb


def pointwise(in_channels, out_channels):
    """Build a network that sees one pixel at a time."""
    return nn.Sequential(nn.Conv2d(in_channels, 8, 1), nn.Tanh(), nn.Conv2d(8, out_channels, 1))


def couplings(flow):
    return [layer for layer in flow.modules() if isinstance(layer, Coupling)]


def test_a_scale_is_three_checkerboards_a_squeeze_and_three_splits_of_channels():
    fine, coarse = ImageRealNVP((1, 8, 8)).bijection.scales
    kinds = [getattr(step, "layers", [step])[0] for step in fine.layers]
    splits = [Checkerboard(0), Checkerboard(1), Checkerboard(0), None, Halves(), Halves(swap=True), Halves()]
    assert [repr(layer.split) if isinstance(layer, Coupling) else "None" for layer in kinds] == list(map(repr, splits))
    assert isinstance(kinds[3], Squeeze)
    assert [repr(step.layers[0].split) for step in coarse.layers] == [repr(Checkerboard(i % 2)) for i in range(4)]


@pytest.mark.parametrize(("shape", "scales", "sizes"), [((1, 8, 8), 3, [32, 16, 16]), ((3, 4, 8), 2, [48, 48])])
def test_the_latents_of_all_scales_have_as_many_numbers_as_the_image(shape, scales, sizes):
    slices = ImageRealNVP(shape, scales=scales, steps=1, width=4, depth=1).latent_slices
    assert [part.stop - part.start for part in slices.values()] == sizes


def test_every_pixel_is_changed_by_two_couplings_of_complementary_colors():
    layers = [perturb(Coupling(2, pointwise, split=Checkerboard(parity))) for parity in (0, 1)]
    x = torch.randn(3, 2, 4, 5)
    assert (Compose(*layers)(x)[0] != x).all()


@pytest.mark.parametrize("parity", [0, 1])
def test_a_checkerboard_before_a_squeeze_is_a_mask_of_channels_behind_it(parity):
    """A network that sees one pixel at a time treats the four pixels of a block, which become channels, alike."""
    layer = perturb(Coupling(1, nn.Conv2d(1, 2, 1), split=Checkerboard(parity)).double())
    weight, bias = layer.net.weight.detach()[:, 0, 0, 0], layer.net.bias.detach()

    class OnEachChannel(nn.Module):
        def forward(self, x):  # (B, 4, H, W) -> (B, 2 * 4, H, W): all raw scales, then all shifts
            return torch.cat([weight[i] * x + bias[i] for i in range(2)], 1)

    even = torch.tensor([True, False, False, True]) ^ bool(parity)  # channel 2 dy + dx has the color (dy + dx) mod 2
    squeezed = Coupling(4, OnEachChannel(), split=Mask(even[:, None, None].expand(4, 3, 2).contiguous()))
    x = torch.randn(5, 1, 6, 4, dtype=torch.float64)
    torch.testing.assert_close(Compose(layer, Squeeze())(x), Compose(Squeeze(), squeezed)(x), rtol=0, atol=1e-14)


def test_a_mask_of_channels_is_the_split_of_channels_to_the_bit():
    net = perturb(pointwise(2, 4))

    class OnTheKeptHalf(nn.Module):
        def forward(self, x):  # the masked coupling sees zeros in place of the others and predicts for whole events
            assert not x[:, 2:].any()
            raw_scale, shift = net(x[:, :2]).chunk(2, 1)
            unused = torch.full_like(raw_scale, torch.nan)
            return torch.cat([unused, raw_scale, unused, shift], 1)

    mask = torch.tensor([True, True, False, False])[:, None, None].expand(4, 3, 5).contiguous()
    x = torch.randn(2, 4, 3, 5)
    masked = Coupling(4, OnTheKeptHalf(), split=Mask(mask))(x)
    for split in (Halves(), Channels([0, 1])):
        torch.testing.assert_close(Coupling(4, net, split=split)(x), masked, rtol=0, atol=0)


def test_ordered_by_the_mask_the_jacobian_is_block_triangular():
    mask = torch.randn(2, 3, 4) > 0
    layer = perturb(Coupling(2, partial(pointwise), split=Mask(mask)).double())
    x = torch.randn(24, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: layer(x.view(1, 2, 3, 4))[0].flatten(), x)
    order = (~mask).flatten().int().argsort(stable=True)
    jacobian = jacobian[order][:, order]
    assert torch.equal(jacobian, jacobian.tril())
    kept = int(mask.sum())
    assert torch.equal(jacobian[:kept, :kept], torch.eye(kept, dtype=torch.float64))


@pytest.mark.parametrize(("norm", "kind"), [("actnorm", ActNorm), ("batchnorm", BatchNorm)])
def test_a_normalization_stands_behind_every_coupling(norm, kind):
    flow = ImageRealNVP((1, 8, 8), norm=norm, width=4, depth=1)
    assert sum(isinstance(module, kind) for module in flow.modules()) == len(couplings(flow)) == 10


def test_with_batch_normalization_it_trains_and_is_then_invertible():
    flow = ImageRealNVP((1, 4, 4), levels=5, norm="batchnorm", steps=1, width=4, depth=1)
    images = torch.randint(5, (64, 1, 4, 4), dtype=torch.uint8)
    flow.initialize(images)
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-2)
    for _ in range(20):
        optimizer.zero_grad()
        loss = flow.bits_per_dim(images).mean()
        loss.backward()
        optimizer.step()
    assert flow.eval().bits_per_dim(images).mean().item() == pytest.approx(loss.item(), abs=0.5)
    assert torch.equal(flow.decode(flow.encode(images)), images)
    with pytest.raises(ValueError, match="at least 2 events, got 1"):
        flow.train().log_prob(images[:1])


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((1, 28, 28), {"scales": 4}, "can't fold the height 7"),
        ((4,), {}, r"a sequence has the shape \(C, T\), an image \(C, H, W\)"),
        ((1, 8, 8), {"scales": 4}, "at least 2 pixels"),
        ((1, 8, 8), {"steps": 0}, "steps must be between 1 and 10000, got 0"),
        ((1, 8, 8), {"norm": "layer"}, "unknown norm 'layer': choose 'actnorm' or 'batchnorm'"),
        ((1, 8, 8), {"context_channels": 0}, "context_channels must be at least 1, got 0"),
    ],
)
def test_what_it_cannot_be_built_of_is_refused(shape, options, message):
    with pytest.raises(ValueError, match=message):
        ImageRealNVP(shape, **options)


def test_the_flow_of_vectors_names_it_to_those_who_give_it_images():
    with pytest.raises(ValueError, match=r"got \(1, 28, 28\); flatten them, or take an image flow such as realnvp-im"):
        RealNVP((1, 28, 28))
