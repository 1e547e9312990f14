import numpy as np
import pytest
import torch
from PIL import Image

from applications.pictures import read_picture, write_png
from applications.steganography.__main__ import main
from applications.steganography.distortions import quality_of_file
from applications.steganography.hiding import hide_pictures, reveal_pictures
from applications.steganography.marker import Marker, read_marker, write_marker
from applications.steganography.network import (
    Bands,
    HidingFlow,
    Options,
    load_flow,
    round_to_levels,
    save_flow,
    shipped_flow,
)
from inverseflow.bijections import TwoBranch
from inverseflow.errors import CheckpointError, DataError, OptionError


def smooth(seed, height=36, width=40, n=1):
    coarse = torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    pictures = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)
    return (0.2 + 0.6 * pictures).clamp(0, 1)


def decibels(a, b):
    return float(-10 * (a - b).square().mean().log10())


def random_flow(options=None, scale=0.02):
    options = Options(width=8) if options is None else options
    torch.manual_seed(0)
    flow = HidingFlow((3 + 3 * options.secrets, 32, 32), options)
    flow.start(smooth(0, 32, 32, 20))
    for parameter in flow.parameters():
        parameter.data += scale * torch.randn_like(parameter)
    return flow


@pytest.fixture(scope="module")
def flow():
    return random_flow()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("secrets", [1, 2])
def test_with_the_true_rest_the_secrets_come_back(secrets, dtype, tolerance):
    flow = random_flow(Options(secrets=secrets, width=8)).to(dtype)
    cover, secret = smooth(1).to(dtype), torch.cat([smooth(seed) for seed in range(2, 2 + secrets)], 1).to(dtype)
    container, rest = flow.hide(cover, secret)
    assert (flow.reveal(container, rest=rest) - secret).abs().max() < tolerance
    assert (flow.reveal(container) - secret).abs().max() > 100 * tolerance


def test_rounding_changes_a_pixel_by_half_a_level_at_most():
    picture = torch.rand(1, 3, 8, 8)
    assert (round_to_levels(picture) - picture).abs().max() <= 0.5 / 255 + 1e-7
    assert torch.equal(round_to_levels(torch.tensor([-0.2, 1.3])), torch.tensor([0.0, 1.0]))


def test_the_gradient_passes_rounding_but_not_clipping():
    x = torch.tensor([-0.1, 0.3, 1.1], requires_grad=True)
    round_to_levels(x).sum().backward()
    assert x.grad.tolist() == [0, 1, 0]


def test_without_blocks_the_container_is_the_cover():
    container, rest = HidingFlow((6, 8, 8), Options(blocks=0)).hide(smooth(1, 8, 8), smooth(2, 8, 8))
    assert torch.allclose(container, smooth(1, 8, 8), atol=1e-6)
    assert torch.allclose(rest, smooth(2, 8, 8), atol=1e-6)


def test_the_bands_are_orthonormal_and_the_first_is_the_mean_of_a_block():
    x = torch.rand(2, 6, 8, 12, dtype=torch.float64)
    z, log_det = Bands().double()(x)
    assert torch.allclose(z.square().sum(), (x - 0.5).square().sum()) and not log_det.any()
    lightness = (x[:, 3:].sum(1) / 3**0.5 - 0.5 * 3**0.5).unfold(1, 4, 4).unfold(2, 4, 4).sum((3, 4)) / 4
    assert torch.allclose(z[:, 48], lightness)


def test_the_start_exchanges_bands_as_a_matrix_would():
    flow = HidingFlow((6, 32, 32), Options(width=4))
    pictures = smooth(0, 32, 32, 20)
    flow.start(pictures, gain=0.05, share=0.25)
    cover, secret = (Bands()(picture)[0] for picture in (smooth(1, 32, 32), smooth(2, 32, 32)))
    sizes = Bands()(pictures)[0].square().mean((0, 2, 3)).sqrt()
    order = sizes.argsort(descending=True)
    expected = cover.clone()
    for slot, band in zip(order.flip(0)[:12], order[:12], strict=True):
        expected[:, slot] = 0.05 / sizes[band].sqrt() * secret[:, band]
    container, _ = flow.hide(smooth(1, 32, 32), smooth(2, 32, 32))
    assert torch.allclose(Bands()(container)[0], expected, atol=1e-5)


def test_both_branches_of_every_block_learn():
    flow = random_flow()
    assert sum(isinstance(module, TwoBranch) for module in flow.modules()) == 3
    flow(torch.cat([smooth(1), smooth(2)], 1)).sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in flow.parameters())


@pytest.mark.parametrize(("size", "secret_size"), [((36, 40), (36, 40)), ((37, 43), (37, 43)), ((33, 34), (7, 33))])
def test_pictures_of_any_size_go_in_and_come_out_in_their_size(size, secret_size):
    cover = smooth(1, *size)[0]
    secret = smooth(2, *(min(pair) for pair in zip(secret_size, size, strict=True)))[0]
    flow = HidingFlow((6, 32, 32), Options(width=4))
    flow.start(smooth(0, 32, 32, 20))
    container = hide_pictures(flow, cover, [secret])
    (revealed,) = reveal_pictures(flow, container)
    assert container.shape == cover.shape and container.dtype == torch.uint8
    assert decibels(container / 255, cover) > 30
    assert revealed.shape == secret.shape and decibels(revealed, secret) > 25


def test_two_secrets_come_out_in_their_order():
    flow = HidingFlow((9, 32, 32), Options(secrets=2, width=4))
    flow.start(smooth(0, 32, 32, 20))
    secrets = [smooth(2)[0], smooth(3)[0]]
    revealed = reveal_pictures(flow, hide_pictures(flow, smooth(1)[0], secrets))
    assert all(decibels(found, secret) > 22 for found, secret in zip(revealed, secrets, strict=True))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_constant_pictures_are_hidden_in_constant_pictures(value, flow):
    constant = torch.full((3, 32, 32), value)
    container = hide_pictures(flow, constant, [1 - constant])
    (revealed,) = reveal_pictures(flow, container)
    assert revealed.isfinite().all()


def test_the_marker_costs_less_than_rounding_and_reads_back():
    values = 255 * torch.rand(40, 40, 3, dtype=torch.float64).numpy()
    marker = Marker(2, 30, 40, 12345)
    pixels = write_marker(values, marker)
    assert read_marker(pixels) == marker
    rounded = values.round()
    assert np.abs(pixels - values).max() < 1 and (pixels != rounded).sum() <= 128
    cost = ((pixels - values) ** 2).mean() / ((rounded - values) ** 2).mean()
    assert cost < 1.03


@pytest.mark.parametrize("value", [-3.0, 0.0, 255.0, 258.0])
def test_the_marker_stays_within_the_levels(value):
    pixels = write_marker(np.full((30, 30, 3), value), Marker(1, 30, 30, 7))
    assert read_marker(pixels).model == 7
    assert np.abs(pixels.astype(int) - np.clip(value, 0, 255)).max() == 1


def test_a_changed_picture_is_refused_wherever_it_changed():
    pixels = write_marker(255 * np.random.default_rng(0).random((40, 40, 3)), Marker(1, 40, 40, 7))
    changed = pixels.copy()
    changed[-1, -1, 0] ^= 1
    with pytest.raises(DataError, match="was changed since"):
        read_marker(changed)
    changed = pixels.copy()
    changed[0, 0, 0] ^= 1
    with pytest.raises(DataError, match="holds no picture, or was re-encoded"):
        read_marker(changed)


def test_a_picture_that_holds_nothing_is_refused(flow):
    for picture in (torch.zeros(3, 64, 64), torch.full((3, 64, 64), 255), torch.randint(256, (3, 64, 64))):
        with pytest.raises(DataError, match="holds no picture"):
            reveal_pictures(flow, picture.byte())
    with pytest.raises(DataError, match="too small"):
        reveal_pictures(flow, torch.zeros(3, 8, 8, dtype=torch.uint8))


def test_another_model_is_named_as_the_reason(flow):
    container = hide_pictures(flow, smooth(1)[0], [smooth(2)[0]])
    with pytest.raises(DataError, match="another model"):
        reveal_pictures(random_flow(scale=0.03), container)


def test_secrets_that_do_not_fit_are_refused(flow):
    with pytest.raises(DataError, match="36×40 pixels and is smaller than the secret with 37×40"):
        hide_pictures(flow, smooth(1)[0], [smooth(2, 37, 40)[0]])
    with pytest.raises(DataError, match="hides 1 pictures, got 2"):
        hide_pictures(flow, smooth(1)[0], [smooth(2)[0]] * 2)
    with pytest.raises(DataError, match="too small"):
        hide_pictures(flow, smooth(1, 16, 16)[0], [smooth(2, 8, 8)[0]])
    with pytest.raises(DataError, match="needs 4×4"):
        hide_pictures(flow, smooth(1, 3, 600)[0], [smooth(2, 3, 8)[0]])
    with pytest.raises(DataError, match="bring them to one size"):
        hide_pictures(random_flow(Options(secrets=2, width=4)), smooth(1)[0], [smooth(2)[0], smooth(3, 30, 40)[0]])


def test_a_saved_network_is_the_same_in_half_precision(tmp_path, flow):
    save_flow(flow, tmp_path / "model.safetensors")
    loaded = load_flow(tmp_path / "model.safetensors")
    assert loaded.options == flow.options and not loaded.training
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, flow.state_dict()[name].half().float())


def test_a_file_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="there is no model"):
        load_flow(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("text")
    with pytest.raises(CheckpointError, match="is no model"):
        load_flow(tmp_path / "text.safetensors")
    with pytest.raises(OptionError, match="no model for 7 secrets"):
        shipped_flow(7)


def test_the_commands_hide_and_reveal(tmp_path, capsys):
    write_png(tmp_path / "cover.png", smooth(1, 65, 71)[0])
    write_png(tmp_path / "secret.png", smooth(2, 50, 71)[0])
    stego, out = tmp_path / "stego.png", tmp_path / "out.png"
    assert main(["hide", str(tmp_path / "cover.png"), str(tmp_path / "secret.png"), "-o", str(stego)]) == 0
    assert main(["reveal", str(stego), "-o", str(out)]) == 0
    assert decibels(read_picture(stego), read_picture(tmp_path / "cover.png")) > 36
    assert decibels(read_picture(out), read_picture(tmp_path / "secret.png")) > 30
    assert capsys.readouterr().out.count("\n") == 2


@pytest.mark.parametrize("mode", ["L", "RGBA", "I;16"])
def test_gray_alpha_and_16_bits_are_taken(mode, tmp_path):
    gray = (255 * smooth(1)[0].mean(0)).byte().numpy()
    if mode == "I;16":
        Image.fromarray(gray.astype(np.uint16) * 256).save(tmp_path / "cover.png")
    else:
        Image.fromarray(gray).convert(mode).save(tmp_path / "cover.png")
    write_png(tmp_path / "secret.png", smooth(2)[0])
    stego = tmp_path / "stego.png"
    assert main(["hide", str(tmp_path / "cover.png"), str(tmp_path / "secret.png"), "-o", str(stego)]) == 0
    with Image.open(stego) as opened:
        assert opened.mode == "RGB"
    assert main(["reveal", str(stego), "-o", str(tmp_path / "out.png")]) == 0


def test_a_re_encoded_picture_is_named_and_not_revealed(tmp_path, capsys):
    for name in ("cover", "secret"):
        write_png(tmp_path / f"{name}.png", smooth(len(name), 64, 64)[0])
    stego, jpeg, out = tmp_path / "stego.png", tmp_path / "stego.jpg", tmp_path / "out.png"
    assert main(["hide", str(tmp_path / "cover.png"), str(tmp_path / "secret.png"), "-o", str(stego)]) == 0
    with Image.open(stego) as opened:
        opened.save(jpeg, quality=95)
        opened.save(tmp_path / "same.png", compress_level=1)
    assert main(["reveal", str(jpeg), "-o", str(out)]) == 2
    assert "stego.jpg: it holds no picture, or was re-encoded" in capsys.readouterr().err
    assert not out.exists()
    assert main(["reveal", str(tmp_path / "same.png"), "-o", str(out)]) == 0


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_robust_secret_survives_jpeg(suffix, tmp_path, capsys):
    write_png(tmp_path / "cover.png", smooth(1, 65, 71)[0])
    write_png(tmp_path / "secret.png", smooth(2, 65, 71)[0])
    stego, sent, out = tmp_path / "stego.png", tmp_path / f"sent.{suffix}", tmp_path / "out.png"
    assert main(["hide", "--robust", str(tmp_path / "cover.png"), str(tmp_path / "secret.png"), "-o", str(stego)]) == 0
    with Image.open(stego) as opened:
        opened.save(sent, quality=90)
    assert quality_of_file(sent) == {"jpg": 90, "png": 100}[suffix]
    assert main(["reveal", "--robust", str(sent), "-o", str(out)]) == 0
    assert decibels(read_picture(out), read_picture(tmp_path / "secret.png")) > 18
    assert "if " in capsys.readouterr().out


def test_a_robust_secret_of_another_size_is_refused(tmp_path, capsys):
    write_png(tmp_path / "cover.png", smooth(1, 65, 71)[0])
    write_png(tmp_path / "secret.png", smooth(2, 60, 71)[0])
    command = ["hide", "--robust", str(tmp_path / "cover.png"), str(tmp_path / "secret.png")]
    assert main([*command, "-o", str(tmp_path / "stego.png")]) == 2
    assert "the size of its cover" in capsys.readouterr().err
