import math
from functools import partial

import pytest
import torch
from skimage.data import astronaut, coffee

from applications.steganography.distortions import jpeg, jpeg_surrogate, quantization_tables
from applications.steganography.lsb import embed_bits, extract_bits
from applications.steganography.network import Bands, HidingFlow, Options, round_to_levels
from applications.steganography.training import Amount, train_on
from inverseflow.errors import DataError


def decibels(a, b):
    return float(-10 * (a - b).square().mean().log10())


@pytest.fixture(scope="module")
def photographs():
    parts = [torch.from_numpy(make()[100:228, 150:278].copy()) for make in (astronaut, coffee)]
    return torch.stack(parts).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize("quality", [50, 75, 90, 95])
def test_the_surrogate_loses_what_the_real_codec_loses(photographs, quality):
    real, surrogate = jpeg(photographs, quality), jpeg_surrogate(photographs, quality)
    assert abs(decibels(real, photographs) - decibels(surrogate, photographs)) < 0.3
    assert decibels(surrogate, real) > decibels(real, photographs) + 6


def test_the_surrogate_has_a_gradient(photographs):
    x = photographs[:1, :, :32, :32].clone().requires_grad_()
    jpeg_surrogate(x, 90).square().sum().backward()
    assert (x.grad != 0).float().mean() > 0.9


def test_a_gray_picture_of_one_value_survives_jpeg():
    picture = torch.full((1, 3, 16, 16), 64 / 255)
    assert torch.allclose(jpeg_surrogate(picture, 90), picture, atol=1e-3)


def test_the_tables_are_those_of_the_standard_at_quality_50():
    light, colors = quantization_tables(50)
    assert light[7].tolist() == [72, 92, 95, 98, 112, 100, 103, 99]  # ITU-T T.81, table K.1
    assert colors[0].tolist() == [17, 18, 24, 47, 99, 99, 99, 99]  # table K.2


def test_a_start_for_jpeg_survives_it_and_another_does_not(photographs):
    flows = {}
    for name, options in {
        "jpeg": {"distort": partial(jpeg_surrogate, quality=90), "gain": 0.02, "share": 0.2},
        "png": {},
    }.items():
        torch.manual_seed(0)
        flow = HidingFlow((6, 64, 64), Options(width=4))
        flow.start(photographs, **options)
        container, _ = flow.hide(photographs[:1], photographs[1:])
        arrived = jpeg(round_to_levels(container), 90)
        flows[name] = decibels(flow.reveal(arrived).detach(), photographs[1:])
    assert flows["jpeg"] > flows["png"] + 6


def test_at_level_0_a_robust_network_is_the_one_that_knows_no_level():
    torch.manual_seed(0)
    robust = HidingFlow((6, 16, 16), Options(width=4, robust=True))
    for parameter in robust.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    plain = HidingFlow((6, 16, 16), Options(width=4))
    state = robust.state_dict()
    for name, value in plain.state_dict().items():
        state[name] = state[name][:, : value.shape[1]] if value.ndim == 4 else state[name]
    plain.load_state_dict(state)
    cover, secret = torch.rand(2, 1, 3, 16, 16)
    levels = [robust.hide(cover, secret, torch.tensor([[level]]))[0] for level in (0.0, 0.1)]
    assert torch.allclose(levels[0], plain.hide(cover, secret)[0], atol=1e-5)
    assert not torch.allclose(levels[1], levels[0], atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("robust", [False, True])
def test_training_improves_on_the_start(robust, photographs):
    crops = photographs.unfold(2, 32, 32).unfold(3, 32, 32).permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, 32, 32)
    examples = torch.cat([crops, crops.flip(0)], 1)
    amount = Amount(steps=10, batch_size=8, learning_rate=1e-4)
    _, result = train_on(examples, Options(width=4, blocks=2, robust=robust), amount, progress=False)
    _, losses = result.column("val_loss")
    assert math.isfinite(losses[-1]) and min(losses) < losses[0]


def test_lower_bits_come_back_as_the_middle_of_what_they_may_be():
    cover, secret = torch.randint(256, (2, 3, 20, 20)).byte()
    container = embed_bits(cover, secret)
    assert (container.int() - cover.int()).abs().max() <= 15
    assert (extract_bits(container).int() - secret.int()).abs().max() <= 8
    with pytest.raises(DataError, match="one shape"):
        embed_bits(cover, secret[:, 1:])


def test_the_coarsest_bands_of_a_container_are_untouched_by_the_start(photographs):
    flow = HidingFlow((6, 64, 64), Options(width=4))
    flow.start(photographs)
    container, _ = flow.hide(photographs[:1], photographs[1:])
    assert torch.allclose(Bands()(container)[0][:, :3], Bands()(photographs[:1])[0][:, :3], atol=1e-5)
