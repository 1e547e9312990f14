import numpy as np
import pytest
import torch
from PIL import Image

from applications.pictures import read_picture, write_png
from applications.style.__main__ import main
from applications.style.projection import decode, encode, load_projection
from applications.style.stylize import read_stylized, recover, stylize, write_stylized


@pytest.fixture(scope="module")
def flow():
    return load_projection()


def picture(height, width, seed=0):
    """Return waves of random colors with some noise."""
    generator = torch.Generator().manual_seed(seed)
    colors, phases = torch.rand(2, 3, 1, 1, generator=generator)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    waves = 0.5 + 0.3 * torch.sin(x / 5 + 6 * phases) * torch.cos(y / (3 + 6 * colors))
    return (waves * (0.5 + colors / 2) + 0.05 * torch.rand(3, height, width, generator=generator)).clamp(0, 1)


def psnr(first, second):
    return float(-10 * (first - second).square().mean().log10())


def test_features_lead_back_to_the_picture(flow):
    content = picture(24, 32)
    assert torch.allclose(decode(flow, encode(flow, content)), content, atol=1e-5)


@pytest.mark.parametrize("kind", ["wct", "adain"])
def test_no_strength_leaves_the_content(flow, kind):
    content = picture(24, 32)
    same, _ = stylize(flow, content, picture(40, 20, 1), strength=0, kind=kind)
    assert torch.allclose(same, content, atol=1e-5)


def test_a_file_of_a_picture_of_odd_size_gives_the_content_back(flow, tmp_path):
    content = picture(33, 47)
    stylized, origin = stylize(flow, content, picture(64, 20, 1))
    assert psnr(stylized[:, :33, :47], content) < 25
    write_stylized(tmp_path / "a.png", stylized, origin)
    read, found = read_stylized(tmp_path / "a.png")
    back = recover(flow, read, found)
    assert back.shape == content.shape and psnr(back, content) > 40


def test_ten_styles_in_a_row_do_not_drift(flow, tmp_path):
    content, styles = picture(32, 32), [picture(32, 32, seed) for seed in range(1, 11)]
    current, origin = content, None
    for style in styles:
        stylized, origin = stylize(flow, current, style, origin=origin)
        current = write_stylized(tmp_path / "a.png", stylized, origin)
    once, _ = stylize(flow, content, styles[-1])
    assert psnr(current, once) > 30
    assert psnr(recover(flow, current, origin), content) > 30


def test_commands_stylize_and_recover(tmp_path, capsys):
    content, style, out, back = (tmp_path / name for name in ("c.png", "s.png", "o.png", "b.png"))
    write_png(content, picture(30, 41))
    write_png(style, picture(20, 20, 1))
    assert main(["stylize", str(content), str(style), "-o", str(out), "--strength", "0.8"]) == 0
    assert "PSNR" in capsys.readouterr().out
    assert main(["recover", str(out), "-o", str(back)]) == 0
    assert psnr(read_picture(back), read_picture(content)) > 40


def test_gray_transparent_and_16_bit_pictures_are_taken(tmp_path):
    gray = np.arange(400, dtype=np.uint8).reshape(20, 20)
    Image.fromarray(gray).save(tmp_path / "gray.png")
    Image.fromarray(np.dstack([gray] * 4)).save(tmp_path / "alpha.png")
    Image.fromarray(gray.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    for name in ("gray", "alpha", "deep"):
        command = ["stylize", str(tmp_path / f"{name}.png"), str(tmp_path / "alpha.png")]
        assert main([*command, "-o", str(tmp_path / "out.png")]) == 0


def test_mistakes_are_told_in_a_sentence(tmp_path, capsys):
    path, small, stylized, out = (str(tmp_path / name) for name in ("c.png", "small.png", "o.png", "out.png"))
    write_png(tmp_path / "c.png", picture(20, 20))
    write_png(tmp_path / "small.png", picture(8, 40))
    assert main(["stylize", path, path, "-o", stylized]) == 0
    with Image.open(stylized) as opened:
        opened.copy().save(tmp_path / "again.png")
    capsys.readouterr()
    for command, message in (
        (["stylize", path, path, "-o", out, "--strength", "2"], "strength must be from 0 to 1, got 2"),
        (["stylize", small, path, "-o", out], "the content has 40×8 pixels: give a picture of at least 16×16"),
        (["stylize", path, path, "-o", "out.jpg"], "must end in .png"),
        (["stylize", str(tmp_path / "none.png"), path, "-o", out], "there is no picture"),
        (["recover", path, "-o", out], "holds no statistics of its content"),
        (["recover", str(tmp_path / "again.png"), "-o", out], "or another program wrote it again"),
        (["recover", stylized, "-o", out, "--model", path], "holds no model of this application"),
        (["stain", path, small, "-o", "out.jpg"], "must end in .png"),
    ):
        assert main(command) == 2
        assert message in capsys.readouterr().err
