from importlib.util import find_spec

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from applications.pictures import read_picture, write_png
from applications.restoration.__main__ import main
from applications.restoration.data import bundled, centre
from applications.restoration.deblurring import DataStep, deblur, gaussian_kernel
from applications.restoration.experiment import Size, measure_deblurring
from applications.restoration.models import INVDN, load_denoiser
from experiments.__main__ import main as experiments
from experiments.deblurring.baselines import endless
from experiments.deblurring.blurred import observe


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def circular_matrix(kernel, height, width):
    """The convolution with a kernel about its middle, on pictures without edges, pixel by pixel."""
    matrix = np.zeros((height, width, height, width))
    middle = [side // 2 for side in kernel.shape]
    for row, column in np.ndindex(height, width):
        for (down, across), weight in np.ndenumerate(kernel):
            source = (row - down + middle[0]) % height, (column - across + middle[1]) % width
            matrix[row, column, source[0], source[1]] += weight
    return matrix.reshape(height * width, -1)


@pytest.mark.parametrize("size, sides", [((4, 5), (3, 5)), ((3, 2), (1, 3)), ((2, 3), (7, 9))])
def test_the_data_step_solves_the_normal_equations(size, sides, generator):
    y, x = torch.rand(2, 3, *size, generator=generator, dtype=torch.float64)
    kernel = torch.rand(sides, generator=generator, dtype=torch.float64)
    found = DataStep(y, kernel / kernel.sum())(x, 0.05)

    matrix = circular_matrix((kernel / kernel.sum()).numpy(), 2 * size[0], 2 * size[1])
    right = endless(y).flatten(1).numpy() @ matrix + 0.05 * endless(x).flatten(1).numpy()
    solved = np.linalg.solve(matrix.T @ matrix + 0.05 * np.eye(len(matrix)), right.T).T
    expected = solved.reshape(3, 2 * size[0], 2 * size[1])[:, : size[0], : size[1]]
    assert np.abs(found.numpy() - expected).max() < 1e-10


def test_the_kernel_is_that_of_a_convolution(generator):
    shift = torch.zeros(1, 5)
    shift[0, 4] = 1  # two pixels to the right
    picture = torch.rand(1, 12, 20, generator=generator)
    restored = DataStep(picture.roll(2, 2), shift)(torch.zeros_like(picture), 1e-5)
    torch.testing.assert_close(restored[..., :-4], picture[..., :-4], rtol=0, atol=1e-3)


def test_a_gaussian_kernel_has_its_deviation():
    kernel = gaussian_kernel(1.6)
    places = torch.arange(-7.0, 8.0)
    assert float((kernel.sum(0) * places**2).sum()) == pytest.approx(1.6**2, rel=1e-2)
    torch.testing.assert_close(kernel.sum(), torch.tensor(1.0))
    assert torch.equal(kernel, kernel.T)


@pytest.mark.parametrize("sigma", [None, 0.01])
def test_a_picture_that_did_not_train_the_network_is_sharper(sigma, generator):
    whole, kernel = centre(bundled("astronaut"), 110), gaussian_kernel(1.6)
    blurred = observe(whole[:, None], kernel, generator)[:, 0]
    restored, clean = deblur(load_denoiser(), blurred, kernel, sigma), whole[:, 7:-7, 7:-7]
    before, after = (
        peak_signal_noise_ratio(clean.numpy(), picture.clamp(0, 1).numpy(), data_range=1)
        for picture in (blurred, restored)
    )
    assert after > before + 3


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 40), (1, 33, 2)])
def test_pictures_smaller_than_the_kernel_keep_their_size_and_a_constant_one_its_value(shape):
    restored = deblur(load_denoiser(), torch.full(shape, 0.4), gaussian_kernel(3.0), 0.02)
    torch.testing.assert_close(restored, torch.full(shape, 0.4), rtol=0, atol=0.03)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_command_takes_a_deviation_or_a_kernel(mode, tmp_path, generator, capsys):
    noisy = (128 + 5 * torch.randn(37, 51, 3, generator=generator)).clamp(0, 255).byte().numpy()
    picture, out = str(tmp_path / "blurred.png"), str(tmp_path / "out.png")
    Image.fromarray(noisy).convert(mode).save(picture)
    write_png(tmp_path / "kernel.png", gaussian_kernel(1.0)[None] / gaussian_kernel(1.0).max())
    results = []
    for blur in (["--blur", "1"], ["--kernel", str(tmp_path / "kernel.png")]):
        assert main(["deblur", picture, "-o", out, *blur, "--sigma", "5"]) == 0
        assert "51×37 pixels, noise of 5.0 (given)" in capsys.readouterr().out
        results.append(read_picture(tmp_path / "out.png"))
    assert results[0].shape == (3, 37, 51)
    assert (results[0] - results[1]).abs().max() < 0.02  # the kernel of the file is rounded to 8 bits
    with Image.open(out) as written:
        assert written.mode == mode


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["missing.png", "--blur", "1"], "there is no picture missing.png"),
        (["a.png", "--kernel", "missing.png"], "there is no picture missing.png"),
        (["a.png", "--kernel", "even.png"], "must have odd sides, so that it has a middle, got 4×3 pixels"),
        (["a.png", "--kernel", "black.png"], "is black: at least one pixel must have a weight"),
        (["tiny.png", "--blur", "1"], "too small to estimate its noise"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_png(tmp_path / "a.png", torch.rand(1, 20, 20))
    write_png(tmp_path / "tiny.png", torch.rand(1, 4, 20))
    write_png(tmp_path / "even.png", torch.ones(1, 3, 4))
    write_png(tmp_path / "black.png", torch.zeros(1, 3, 3))
    assert main(["deblur", *arguments, "-o", "out.png"]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--blur", "0"], "a number of pixels above 0, at most 50, got 0"),
        (["--blur", "51"], "at most 50, got 51"),
        (["--blur", "much"], "got much"),
        ([], "one of the arguments --blur --kernel is required"),
        (["--blur", "1", "--kernel", "k.png"], "not allowed with argument --blur"),
    ],
)
def test_a_bad_blur_is_refused(arguments, said, capsys):
    with pytest.raises(SystemExit):
        main(["deblur", "a.png", "-o", "b.png", *arguments])
    assert said in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["Gaussian, σ 1.6", "motion, 9 pixels"])
def test_the_prior_is_better_than_the_best_classical_settings(kernel):
    values = measure_deblurring(Size(("camera", "coins"), 192, 0, 0), kernel)
    prior = np.array(values.pop("network as a prior")["psnr"])
    assert all((prior > found["psnr"]).all() for found in values.values())


@pytest.mark.slow
def test_the_experiment_runs_and_says_what_is_missing(tmp_path):
    assert experiments(["restoration", "--budget", "smoke", "-o", str(tmp_path)]) == 0
    text = (tmp_path / "restoration.md").read_text()
    for package, name, reason in ((find_spec("bm3d"), "BM3D", "installed"), (INVDN.is_file(), "InvDN", "trained")):
        assert (f"| {name} | not {reason} |" in text) == (not package)
