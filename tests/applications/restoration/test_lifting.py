import numpy as np
import pytest
import torch

from applications.models import save
from applications.pictures import read_picture, write_png
from applications.restoration.__main__ import main
from applications.restoration.data import LUMA_CHROMA
from applications.restoration.lifting import DctFrame, DecibelLoss, LiftingDenoiser, SparseDenoiser, soft_threshold
from applications.restoration.models import DENOISER, denoise, load_denoiser
from applications.restoration.noise import estimate_sigma
from inverseflow.data import Batch
from inverseflow.errors import DataError, OptionError


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def randomized(model):
    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.mark.parametrize("dtype, bound", [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("size", [(1, 1), (7, 10), (24, 33)])
@pytest.mark.parametrize("side", [2, 4])
def test_without_a_denoiser_the_picture_comes_back_whatever_was_learned(dtype, bound, size, side, generator):
    model = randomized(LiftingDenoiser(side=side, width=4, filters=16, scales=2)).to(dtype)
    picture = torch.rand(2, 1, *size, generator=generator).to(dtype)
    sigma = torch.full((2, 1), 0.1, dtype=dtype)
    transformed = model.transform(picture, sigma)
    plain = LiftingDenoiser(side=side, width=4, scales=2).to(dtype).transform(picture, sigma)
    assert (transformed[1][0] - plain[1][0]).abs().max() > 1e-3
    assert (model.transform_back(*transformed, sigma) - picture).abs().max() < bound


@pytest.mark.parametrize("side", [2, 4, 6])
def test_the_frame_is_tight(side, generator):
    frame = DctFrame(side).double()
    picture = torch.zeros(1, 1, 16, 16, dtype=torch.float64)
    picture[..., 5:11, 5:11] = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    energy = frame(picture).square().sum()
    assert float(energy) == pytest.approx(float(picture.square().sum()) * (side / 2) ** 2, rel=1e-10)


def test_a_soft_threshold_is_the_proximal_map_of_the_absolute_value():
    grid = torch.linspace(-4, 4, 80_001, dtype=torch.float64)
    for value in (-2.3, -0.4, 0.0, 0.7, 1.9):
        for threshold in (0.0, 0.5, 1.2):
            best = grid[(0.5 * (grid - value).square() + threshold * grid.abs()).argmin()]
            assert float(soft_threshold(torch.tensor(value), threshold)) == pytest.approx(float(best), abs=1e-4)


def test_haar_without_lifting_is_textbook_wavelet_shrinkage(generator):
    model = LiftingDenoiser(side=2, filters=0, scales=2).double()
    for scale in model.scales:
        scale.denoiser.raw.data.fill_(np.log(np.expm1(1)))  # a threshold of one deviation, in float64
    picture = torch.rand(1, 1, 16, 20, generator=generator, dtype=torch.float64)
    cleaned = model(picture, torch.full((1, 1), 0.1, dtype=torch.float64))

    signs_of = {(0, 0): (1, 1, 1), (0, 1): (-1, 1, -1), (1, 0): (1, -1, -1), (1, 1): (-1, -1, 1)}

    def shrunk(image, levels):
        if not levels:
            return image
        a, b, c, d = (image[i::2, j::2] for i, j in signs_of)
        bands = [(a + b + c + d) / 2, (a - b + c - d) / 2, (a + b - c - d) / 2, (a - b - c + d) / 2]
        bands = [shrunk(bands[0], levels - 1), *(np.sign(e) * np.maximum(np.abs(e) - 0.1, 0) for e in bands[1:])]
        out = np.empty_like(image)
        for place, signs in signs_of.items():
            out[place[0] :: 2, place[1] :: 2] = (
                bands[0] + sum(s * e for s, e in zip(signs, bands[1:], strict=True))
            ) / 2
        return out

    expected = shrunk(picture[0, 0].numpy(), 2)
    assert np.abs(cleaned.detach()[0, 0].numpy() - expected).max() < 1e-10


def test_the_sparse_denoiser_starts_as_a_soft_threshold_of_each_band(generator):
    detail = torch.randn(2, 5, 8, 8, generator=generator)
    denoiser = SparseDenoiser(5, 5, 1)
    expected = soft_threshold(detail, 0.3)
    torch.testing.assert_close(denoiser(detail, torch.full((2, 1), 0.3)), expected, rtol=0, atol=1e-5)


def test_learning_takes_noise_away():
    torch.manual_seed(0)
    model = LiftingDenoiser(16, scales=1, filters=16, width=4, iterations=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    ramps = torch.linspace(0, 1, 16).expand(8, 1, 16, 16)
    losses = []
    for _ in range(40):
        loss = DecibelLoss()(model, Batch(ramps)).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-10:]) < np.mean(losses[:5]) - 1


@pytest.mark.parametrize("sigma", [0.03, 0.1, 0.2])
def test_noise_is_estimated_within_three_gray_levels(sigma, generator):
    rows, columns = torch.meshgrid(torch.arange(96.0), torch.arange(128.0), indexing="ij")
    picture = 0.5 + 0.3 * torch.sin(rows / 9) * torch.cos(columns / 7)
    noisy = picture.expand(3, -1, -1) + sigma * torch.randn(3, 96, 128, generator=generator)
    assert abs(estimate_sigma(noisy) - sigma) * 255 < 3


def test_a_constant_picture_has_no_noise_and_a_tiny_one_tells_nothing():
    assert estimate_sigma(torch.full((1, 40, 40), 0.4)) < 1e-6
    with pytest.raises(DataError, match="7×9 pixels is too small"):
        estimate_sigma(torch.zeros(1, 9, 7))


def test_colors_are_rotated_so_that_noise_stays_white():
    torch.testing.assert_close(LUMA_CHROMA @ LUMA_CHROMA.T, torch.eye(3))


@pytest.mark.parametrize("shape", [(1, 41, 64), (3, 33, 50), (1, 1, 1)])
def test_the_network_of_the_commands_denoises_every_size(shape, generator):
    model = load_denoiser()
    clean = torch.full(shape, 0.5)
    noisy = clean + 0.1 * torch.randn(shape, generator=generator)
    cleaned = denoise(model, noisy, 0.1)
    assert cleaned.shape == shape
    assert (cleaned - clean).square().mean() < 0.1 * (noisy - clean).square().mean() or shape == (1, 1, 1)
    assert torch.equal(denoise(model, clean, 0.0), clean)
    with pytest.raises(ValueError, match="sigma"):
        denoise(model, noisy, -1.0)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16"])
def test_denoise_takes_pictures_of_every_kind(mode, tmp_path, generator, capsys):
    from PIL import Image

    noisy = (128 + 25 * torch.randn(37, 51, 3, generator=generator)).clamp(0, 255).numpy()
    if mode == "I;16":
        picture = Image.fromarray((noisy[..., 0] * 257).astype(np.uint16))
    else:
        picture = Image.fromarray(noisy.astype(np.uint8)[..., 0] if mode == "L" else noisy.astype(np.uint8))
        picture = picture.convert(mode)
    picture.save(tmp_path / "noisy.png")
    assert main(["denoise", str(tmp_path / "noisy.png"), "-o", str(tmp_path / "out.png")]) == 0
    assert "51×37 pixels, noise of" in capsys.readouterr().out
    cleaned = read_picture(tmp_path / "out.png", channels=1)
    assert cleaned.shape == (1, 37, 51) and cleaned.std() < 0.04


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["missing.png", "-o", "out.png"], "no picture"),
        (["a.png", "-o", "out.jpg"], "must end in .png"),
        (["tiny.png", "-o", "out.png"], "too small to estimate its noise"),
        (["a.png", "-o", "out.png", "--model", "none.safetensors"], "there is no model"),
        (["a.png", "-o", "out.png", "--model", "a.png"], "holds another network"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_png(tmp_path / "a.png", torch.rand(1, 20, 20))
    write_png(tmp_path / "tiny.png", torch.rand(1, 4, 20))
    assert main(["denoise", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_bad_sigma_or_number_of_steps_is_refused(capsys):
    for value in ("-3", "nan", "loud"):
        with pytest.raises(SystemExit):
            main(["denoise", "a.png", "-o", "b.png", "--sigma", value])
        assert "auto or a number from 0 on" in capsys.readouterr().err
    assert main(["train", "--steps", "0"]) == 2
    with pytest.raises(OptionError, match="must be even"):
        DctFrame(3)
    with pytest.raises(OptionError, match="has no density"):
        LiftingDenoiser().log_prob(torch.zeros(1, 1, 40, 40))


def test_weights_are_read_back(tmp_path):
    model = randomized(LiftingDenoiser())
    save(model, tmp_path / "model.safetensors")
    again = load_denoiser(tmp_path / "model.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))
    assert DENOISER.stat().st_size < 2 * 2**20
