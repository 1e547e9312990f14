import math

import numpy as np
import pytest
import torch
from skimage import data

from applications.art import diffusion
from applications.art.__main__ import main
from applications.art.data import PHOTOS, TEST, crops, pairs
from applications.art.diffusion import ALPHA_BAR, TIMES, DiffusionLoss, noise_of, noised, restore
from applications.art.models import load_denoiser, restore_picture, weights_of
from applications.art.unet import KINDS, CouplingBody, Denoiser
from applications.models import save
from applications.pictures import read_picture, write_png
from benchmarks.memory import peak_memory
from inverseflow.bijections import ReversibleCompose
from inverseflow.data import Batch
from inverseflow.errors import DataError, OptionError


def randomized(model, std=0.1):
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return model


def test_a_coupling_body_whose_ordinary_blocks_are_the_identity_returns_its_input():
    body = CouplingBody(8, 2, 2).double()
    randomized(body.couplings, 0.2)
    h, time = torch.randn(2, 8, 16, 24).double(), torch.randn(2, 8).double()
    encoded, _ = body.couplings[0](h, time)
    assert (encoded - h).abs().mean() > 0.1
    assert (body(h, time) - h).abs().max() < 1e-9
    randomized(body.bottom)
    assert (body(h, time) - h).abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_the_size_is_kept_and_time_and_both_pictures_are_seen(kind):
    model = randomized(Denoiser(kind, width=4, depth=1, levels=2))
    x, time = torch.rand(1, 6, 8, 12), torch.full((1, 1), 0.3)
    y = model(x, time)
    assert y.shape == (1, 3, 8, 12)
    assert not torch.allclose(y, model(x, 2 * time))
    for channel in (0, 4):
        other = x.clone()
        other[:, channel] += 0.5
        assert not torch.allclose(y, model(other, time))


def test_recomputing_activations_by_inversion_keeps_gradients_and_makes_memory_flat_in_depth():
    gradients, bytes_ = [], {}
    for depth in (2, 4):
        model = randomized(Denoiser("coupling", width=8, depth=depth, levels=1), 0.05)
        x, time = torch.rand(4, 6, 32, 32), torch.rand(4, 1)
        for reversible in (True, False):
            for module in model.modules():
                if isinstance(module, ReversibleCompose):
                    module.reversible = reversible

            def step(model=model, x=x, time=time):
                model.zero_grad()
                model(x, time).square().sum().backward()

            step()
            gradients.append([p.grad.clone() for p in model.parameters()])
            bytes_[depth, reversible] = peak_memory(step, torch.device("cpu")).tensors
    for recomputed, stored in (gradients[:2], gradients[2:]):
        for one, other in zip(recomputed, stored, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()) + 1e-6)
    assert bytes_[4, True] < 1.1 * bytes_[2, True]
    assert bytes_[4, False] > 1.3 * bytes_[2, False]


def test_couplings_need_fewer_parameters_than_the_plain_network_of_that_width():
    counts = {kind: sum(p.numel() for p in Denoiser(kind, width=16).parameters()) for kind in KINDS}
    assert counts["coupling"] < 0.7 * counts["plain"]


def test_the_noisy_picture_has_the_stated_mean_and_variance():
    generator = torch.Generator().manual_seed(0)
    for time in (3, 60, 199):
        x = noised(
            torch.full((1, 1, 1, 1), 0.7), torch.randn(1, 1, 100, 1000, generator=generator), torch.tensor([time])
        )
        share = float(ALPHA_BAR[time])
        assert float(x.mean()) == pytest.approx(math.sqrt(share) * 0.7, abs=0.01)
        assert float(x.var()) == pytest.approx(1 - share, rel=0.02)
    assert float(ALPHA_BAR[-1]) == pytest.approx(3e-5, rel=0.1)


def test_with_the_true_noise_one_step_recovers_the_picture():
    clean, noise = torch.randn(2, 3, 4, 4, dtype=torch.float64), torch.randn(2, 3, 4, 4, dtype=torch.float64)
    time = torch.tensor([10, 199])
    noisy = noised(clean, noise, time)
    assert torch.allclose(noise_of(noisy, clean, time), noise)


@pytest.mark.parametrize(
    "deviation, shares", [(0.5, {20: 0.750, 50: 0.894, 200: 0.971}), (1.0, {20: 0.826, 50: 0.928})]
)
def test_gaussian_data_come_out_with_the_variance_of_the_exact_product(deviation, shares, monkeypatch):
    # The network returns zero, the damaged picture is the mean, and the linear guess is then the best one.
    monkeypatch.setattr(diffusion, "_SPREAD", deviation)
    monkeypatch.setattr(torch.Tensor, "clamp", lambda self, *_, **__: self)
    model, y = lambda x, time: 0 * x[:, :3], torch.full((1, 3, 2, 2), 0.5)
    start = torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    for steps, share in shares.items():
        x = 2 * restore(model, y, steps=steps, generator=torch.Generator().manual_seed(0)) - 1
        assert torch.allclose((x / start / deviation).square(), torch.tensor(share), atol=1e-3)


def test_the_loss_of_a_network_that_returns_zero_is_that_of_the_linear_guess():
    model, generator = Denoiser("plain", width=4, depth=1, levels=1), torch.Generator().manual_seed(0)
    damaged = 0.5 * torch.randn(64, 3, 8, 8, generator=generator)
    clean = damaged + 0.3 * torch.randn(64, 3, 8, 8, generator=generator)
    torch.manual_seed(0)
    loss = DiffusionLoss()(model, Batch(torch.cat([clean, damaged], 1), None))
    assert float(loss.total.detach()) == pytest.approx(1, rel=0.05)


def test_training_pairs_are_squares_of_clean_and_damaged_pictures():
    generator = torch.Generator().manual_seed(0)
    clean = crops([torch.rand(3, 40, 70), torch.rand(3, 130, 50)], 4, 16, generator)
    found = pairs(clean, 3, generator)
    assert found.shape == (12, 6, 8, 8) and found.min() >= -1 and found.max() <= 1
    windows = (2 * clean[1] - 1).unfold(1, 8, 1).unfold(2, 8, 1).permute(1, 2, 0, 3, 4)
    assert (windows - found[3, :3]).abs().amax((2, 3, 4)).min() < 1e-6
    assert not {*PHOTOS} & {*TEST}


def test_tiles_cover_every_pixel_once_in_all(monkeypatch):
    monkeypatch.setattr("applications.art.models.restore", lambda model, tiles, **_: tiles)
    for size in ((5, 7), (64, 64), (65, 150), (200, 90)):
        picture = torch.rand(3, *size)
        assert (restore_picture(None, picture, batch=3) - picture).abs().max() < 1e-5


def test_a_restored_file_is_nearer_to_the_original_and_the_same_for_the_same_seed(tmp_path, capsys):
    clean, damaged, restored = (tmp_path / f"{name}.png" for name in ("clean", "damaged", "restored"))
    write_png(clean, torch.from_numpy(data.astronaut()[60:130, 180:250].copy()).permute(2, 0, 1) / 255)
    assert main(["damage", str(clean), "noise", "-o", str(damaged)]) == 0
    assert main(["restore", str(damaged), "-o", str(restored), "--steps", "3"]) == 0
    assert "70×70 pixels, 3 steps" in capsys.readouterr().out
    first = restored.read_bytes()
    main(["restore", str(damaged), "-o", str(restored), "--steps", "3"])
    assert restored.read_bytes() == first
    errors = [float((read_picture(path) - read_picture(clean)).square().mean()) for path in (damaged, restored)]
    assert 10 * np.log10(errors[0] / errors[1]) > 3


def test_shipped_weights_are_small():
    assert sum(weights_of(kind).stat().st_size for kind in KINDS) < 2e6


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["restore", "none.png", "-o", "x.png"], "there is no picture none.png"),
        (["restore", "none.png", "-o", "x.png", "--steps", "0"], "--steps must be at least 1, got 0"),
        (["restore", "PICTURE", "-o", "x.png", "--model", "none.st"], "there is no model none.st: make it with"),
        (["damage", "none.png", "rain", "-o", "x.png", "--severity", "2"], "--severity must be from 0 to 1, got 2"),
        (["damage", "none.png", "mold", "-o", "x.png"], "invalid choice: 'mold'"),
        (["train", "--data-dir", "nowhere"], "there is no folder nowhere/photos"),
    ],
)
def test_bad_input_is_one_sentence(arguments, message, tmp_path, capsys):
    write_png(tmp_path / "picture.png", torch.rand(3, 9, 9))
    arguments = [str(tmp_path / "picture.png") if word == "PICTURE" else word for word in arguments]
    try:
        assert main(arguments) == 2
    except SystemExit as error:
        assert error.code == 2
    assert message in capsys.readouterr().err


def test_another_network_is_refused(tmp_path):
    save(Denoiser("plain", width=4), tmp_path / "x.safetensors")
    with pytest.raises(DataError, match="holds another network: make it with python -m applications.art train"):
        load_denoiser("coupling", tmp_path / "x.safetensors")


@pytest.mark.slow
def test_schedulers_of_diffusers_take_our_network():
    pytest.importorskip("diffusers")
    model, y = load_denoiser(), torch.rand(1, 3, 16, 16)
    generator = torch.Generator().manual_seed(0)
    x = diffusion.restore_by("DDIMScheduler", model, y, steps=TIMES, generator=generator)
    ours = restore(model, y, steps=TIMES, generator=torch.Generator().manual_seed(0))
    assert (x - ours).abs().max() < 0.02
    with pytest.raises(OptionError, match="no scheduler 'Best'; there are .*DDIMScheduler"):
        diffusion.restore_by("Best", model, y, generator=generator)
