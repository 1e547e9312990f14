import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import kstest

from applications.pictures import read_picture, write_png
from applications.steganography.__main__ import main
from applications.steganography.color_flow import (
    CARRIERS,
    ColorFlow,
    load_colors,
    shipped_colors,
    signed,
    to_lightness,
    to_pixels,
)
from applications.steganography.messages import capacity, hide_bits, hide_message, read_bits, reveal_message
from applications.steganography.pairs import test_pictures as held_out_pictures
from applications.steganography.training import ColorAmount, train_colors_on
from inverseflow.errors import DataError

reedsolo = pytest.importorskip("reedsolo", reason="reedsolo is not installed: pip install 'inverseflow[steganography]'")
HELD_OUT = ("baboon.jpg", "butterfly.jpg", "fruits.jpg")


def smooth(seed, height=100, width=120):
    coarse = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)[0].clamp(0, 1)


def random_bytes(n, seed=0):
    return np.random.default_rng(seed).bytes(n)


def random_flow(shape=(2, 8, 8)):
    torch.manual_seed(0)
    flow = ColorFlow(shape, width=4)
    for parameter in flow.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return flow.eval()


@pytest.fixture(scope="module")
def flow():
    return shipped_colors()


def test_lightness_and_colors_return_to_every_pixel():
    pixels = torch.cartesian_prod(*[torch.tensor([*range(0, 256, 7), 1, 254, 255])] * 3).T[..., None]
    lightness, colors = to_lightness(pixels)
    assert torch.equal(to_pixels(lightness, colors), pixels.int())
    mean = (pixels[0] + 2 * pixels[1] + pixels[2]) / 4
    assert (lightness[0] - mean).abs().max() <= 1 and lightness.min() == 0 and lightness.max() == 255


def test_random_bits_leave_latents_normal_and_a_margin_does_not():
    generator = torch.Generator().manual_seed(0)
    bits = torch.rand(20000, generator=generator) < 0.5
    sizes = torch.randn(20000, generator=generator)
    assert torch.equal(signed(bits, sizes, 0.0) > 0, bits) and torch.equal(signed(bits, sizes, 1.0) > 0, bits)
    assert kstest(signed(bits, sizes, 0.0).numpy(), "norm").pvalue > 0.01
    assert kstest(signed(bits, sizes, 1.0).numpy(), "norm").pvalue < 1e-6
    assert signed(bits, sizes, 1.0).abs().min() >= 1


def test_the_log_determinant_is_that_of_the_jacobian_and_the_inverse_is_exact():
    flow = random_flow().double()
    colors, lightness = 9 * torch.randn(2, 2, 8, 8).double(), 255 * torch.rand(2, 1, 8, 8).double()
    z = flow.latents(colors, lightness)
    assert torch.allclose(flow.colors(z, lightness), colors, atol=1e-10)
    assert not torch.allclose(flow.latents(colors, 255 - lightness), z, atol=1e-3)
    _, log_det = flow.bijection(colors, flow.bands(lightness))
    for x, light, expected in zip(colors.split(1), lightness.split(1), log_det, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda c, light=light: flow.latents(c, light).flatten(), x)
        assert torch.allclose(torch.linalg.slogdet(jacobian.reshape(128, 128))[1], expected, atol=1e-8)


def test_the_loss_of_bits_falls_with_the_scale_of_the_latents_and_every_parameter_learns():
    colors, lightness = torch.rand(4, 2, 8, 8) - 0.5, 255 * torch.rand(4, 1, 8, 8)
    flow = random_flow()
    wrong = []
    for scale in (2.0, 0.05):  # half a gray level, then twenty, for each unit of a latent
        flow.bijection.layers[2].log_scale.data.fill_(np.log(scale))
        nats, _, errors = flow(colors, lightness).mean(0).detach()
        assert nats.isfinite()
        wrong.append(float(errors))
    assert wrong[0] > 0.01 and wrong[1] == 0
    flow.bijection.layers[2].log_scale.data.fill_(0.0)
    flow(colors, lightness)[:, :2].sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in flow.parameters())


@pytest.mark.parametrize("size", [(100, 120), (61, 67)])
def test_a_message_comes_back_byte_for_byte(size, flow):
    cover = smooth(1, *size)
    for length in (1, capacity(*size)):
        message = random_bytes(length)
        container = hide_message(flow, cover, message)
        assert reveal_message(flow, container) == message
    change = (container / 255 - cover).abs()
    assert change.mean() < 2 / 255
    core = [side // 4 * 4 for side in size]
    assert (change[:, core[0] :] <= 0.51 / 255).all() and (change[:, :, core[1] :] <= 0.51 / 255).all()


def test_a_bit_changes_one_block_alone(flow):
    cover = 0.1 + 0.8 * (255 * smooth(1)).round() / 255
    bits = ~read_bits(flow, (255 * cover).round().byte())[:1]
    changed = (hide_bits(flow, cover, bits) != (255 * cover).round().byte()).any(0).nonzero()
    assert 0 < len(changed) <= 16 and (changed // 4).unique(dim=0).shape == (1, 2)


def test_lightness_stays_where_nothing_is_clipped(flow):
    cover = 0.3 + 0.4 * smooth(1)
    container = hide_message(flow, cover, random_bytes(600))
    before, after = (to_lightness(picture)[0] for picture in ((255 * cover).round().int(), container))
    assert torch.equal(before, after)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_black_gray_and_white_hold_a_message(value, flow):
    message = random_bytes(250)
    assert reveal_message(flow, hide_message(flow, torch.full((3, 80, 80), value), message)) == message


def test_a_few_changed_pixels_are_mended_and_many_are_refused(flow):
    message = random_bytes(500)
    container = hide_message(flow, smooth(1), message)
    generator = np.random.default_rng(0)
    rows, columns = generator.integers(100, size=12), generator.integers(120, size=12)
    before = read_bits(flow, container)
    container[2, rows, columns] = (container[2, rows, columns].int() + 8).clamp(0, 255).byte()
    assert not torch.equal(read_bits(flow, container), before)
    assert reveal_message(flow, container) == message
    container[:, 30:60] = 255 - container[:, 30:60]
    with pytest.raises(DataError, match="holds no message"):
        reveal_message(flow, container)


def test_what_holds_no_message_is_refused(flow):
    random = torch.randint(256, (3, 64, 64), generator=torch.Generator().manual_seed(0)).byte()
    for picture in (random, torch.zeros(3, 64, 64).byte(), (255 * smooth(3)).byte()):
        with pytest.raises(DataError, match="holds no message, was hidden by another model, or was re-encoded"):
            reveal_message(flow, picture)
    with pytest.raises(DataError, match="too small"):
        reveal_message(flow, random[:, :20, :20])
    with pytest.raises(DataError, match="another model"):
        reveal_message(random_flow(), hide_message(flow, smooth(1), b"meet at noon"))


def test_messages_that_do_not_fit_are_refused(flow):
    with pytest.raises(DataError, match=r"has 2000 bytes, and a cover of 61×67 pixels holds \d+: take a larger cover"):
        hide_message(flow, smooth(1, 61, 67), random_bytes(2000))
    with pytest.raises(DataError, match="is empty"):
        hide_message(flow, smooth(1), b"")
    with pytest.raises(DataError, match="holds 0"):
        hide_message(flow, smooth(1, 3, 600), b"a")


def test_the_commands_hide_and_reveal_a_file(tmp_path, capsys):
    cover, stego, letter, out = (tmp_path / name for name in ("cover.png", "stego.png", "letter.txt", "out.txt"))
    write_png(cover, smooth(1))
    letter.write_bytes("Wir treffen uns um zwölf.\r\n".encode())
    assert main(["hide-message", str(cover), str(letter), "-o", str(stego)]) == 0
    assert main(["reveal-message", str(stego), "-o", str(out)]) == 0
    assert out.read_bytes() == letter.read_bytes()
    assert "there is room for" in capsys.readouterr().out
    with Image.open(stego) as opened:
        opened.save(tmp_path / "stego.jpg", quality=95)
    assert main(["reveal-message", str(tmp_path / "stego.jpg"), "-o", str(tmp_path / "none.txt")]) == 2
    assert "stego.jpg: it holds no message" in capsys.readouterr().err and not (tmp_path / "none.txt").exists()
    assert main(["reveal", str(stego), "-o", str(tmp_path / "none.png")]) == 2


def test_a_message_comes_from_standard_input_and_goes_to_standard_output(tmp_path, monkeypatch, capsysbinary):
    cover, stego = tmp_path / "cover.png", tmp_path / "stego.png"
    write_png(cover, smooth(1))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"meet at noon")))
    assert main(["hide-message", str(cover), "-", "-o", str(stego)]) == 0
    capsysbinary.readouterr()
    assert main(["reveal-message", str(stego), "-o", "-"]) == 0
    assert capsysbinary.readouterr().out == b"meet at noon"


def test_a_file_that_is_no_model_of_messages_is_refused(tmp_path):
    with pytest.raises(DataError, match="there is no model"):
        load_colors(tmp_path / "none.safetensors")
    with pytest.raises(DataError, match="holds another network"):
        load_colors(Path("applications/steganography/one.safetensors"))


@pytest.mark.slow
def test_training_makes_the_colors_likelier():
    crops = torch.stack([smooth(seed, 32, 32) for seed in range(64)])
    lightness, colors = to_lightness((255 * crops).byte())
    nats = [
        train_colors_on(crops, ColorAmount(steps=steps, batch_size=16), progress=False)[0](
            colors.float(), lightness.float()
        ).mean(0)[0]
        for steps in (4, 120)
    ]
    assert nats[1] < nats[0] - 0.05


def photographs():
    pictures = held_out_pictures()
    folder = Path(os.environ.get("INVERSEFLOW_DATA", "../shared/data")) / "photos"
    if folder.is_dir():
        pictures |= {name: read_picture(folder / name) for name in HELD_OUT}
    return pictures


@pytest.mark.slow
def test_the_shipped_model_reads_its_bits_in_pictures_that_it_has_not_seen(flow):
    for name, cover in photographs().items():
        bits = torch.rand(len(read_bits(flow, (255 * cover).byte())), generator=torch.Generator().manual_seed(0)) < 0.5
        container = hide_bits(flow, cover, bits)
        assert (read_bits(flow, container) == bits).float().mean() > 0.999, name
        assert -10 * (container / 255 - cover).square().mean().log10() > 38, name
        message = random_bytes(capacity(*cover.shape[1:]))
        assert reveal_message(flow, hide_message(flow, cover, message)) == message, name
    assert len(bits) == len(CARRIERS) * (cover.shape[1] // 4) * (cover.shape[2] // 4)
