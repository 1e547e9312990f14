import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from inverseflow.densities import BITS_PER_DIM
from inverseflow.training.report.pictures import (
    image_grid,
    save_curves,
    save_grid,
    save_pit,
    save_points,
    save_reconstructions,
)


def test_a_grid_shows_each_pixel_in_its_place():
    images = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    images[2, 0, 1, 0] = 4
    picture = np.asarray(image_grid(images, levels=5, columns=2).convert("L"))
    rows, columns = (picture == 255).nonzero()
    height, width = picture.shape

    assert (rows >= 0.75 * height).all() and (columns < 0.25 * width).all()
    assert len(rows) > 100


def test_the_highest_level_is_white_and_the_lowest_black():
    images = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1)
    colors = set(np.asarray(image_grid(images, levels=256, columns=2).convert("L")).flat)

    assert {0, 255} <= colors


def test_colors_keep_their_channels():
    red = torch.tensor([255, 0, 0], dtype=torch.uint8).reshape(1, 3, 1, 1)
    picture = image_grid(red, levels=256, columns=1)

    assert picture.getpixel((picture.width // 2, picture.height // 2)) == (255, 0, 0)


def test_all_pictures_are_png_files_that_can_be_read(tmp_path):
    images = torch.randint(0, 17, (5, 1, 8, 8), dtype=torch.uint8)
    save_grid(tmp_path / "grid.png", images, levels=17)
    save_reconstructions(tmp_path / "reconstructions.png", images, images, levels=17, title="digits")
    save_curves(
        tmp_path / "curves.png", [{"step": 1, "train_bits_per_dim": 2.0}], {"gaussian": 3.0}, BITS_PER_DIM, "digits"
    )

    for path in tmp_path.iterdir():
        with Image.open(path) as picture:
            picture.load()
            assert picture.format == "PNG" and min(picture.size) > 100


def test_the_steps_of_a_short_run_are_whole_numbers(tmp_path, monkeypatch):
    ticks = []
    draw = Figure.savefig

    def note(figure, *args, **kwargs):
        ticks.extend(figure.axes[0].get_xticks())
        draw(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", note)
    rows = [{"step": step, "train_bits_per_dim": 2.0 / step} for step in (1, 2, 3)]
    save_curves(tmp_path / "curves.png", rows, {"gaussian": 3.0}, BITS_PER_DIM, "digits")

    assert ticks and all(tick == int(tick) for tick in ticks)


def test_values_that_are_not_finite_are_left_out_of_the_curves(tmp_path):
    rows = [{"step": 1, "train_bits_per_dim": 2.0}, {"step": 2, "train_bits_per_dim": float("nan")}]
    rows += [{"step": 2, "val_bits_per_dim": float("inf")}]
    save_curves(tmp_path / "curves.png", rows, {"gaussian": 3.0}, BITS_PER_DIM, "digits")

    assert (tmp_path / "curves.png").is_file()


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn, with the axes as they are when they are saved."""
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **kwargs: (drawn.append(figure), path.touch()))
    return drawn


def test_a_corner_plot_shows_the_data_above_its_diagonal_and_the_samples_below(tmp_path, figures):
    data, samples = torch.randn(500, 3), torch.randn(300, 3)
    data[0] = 1e9
    save_points(tmp_path / "p.png", data, samples, ("a", "b"), "points")
    grid = np.array(figures[0].axes).reshape(3, 3)

    assert [len(axes.collections[0].get_offsets()) for axes in (grid[0, 2], grid[2, 0])] == [500, 300]
    assert grid[0, 2].get_xlim()[1] < 10, "an extreme value would hide all others"
    assert [axes.get_xlabel() for axes in grid[2]] == ["a", "b", "2"]


def test_a_histogram_of_few_values_has_a_bin_for_each(tmp_path, figures):
    dice = torch.randint(6, (500, 3)).double()
    save_points(tmp_path / "p.png", dice, dice, (), "dice")
    heights, edges, _ = figures[0].axes[0].patches[0].get_data()

    assert np.array_equal(edges, np.arange(7) - 0.5)
    assert heights.sum() == pytest.approx(1)


def test_a_histogram_of_a_few_different_numbers_has_bins_of_equal_width(tmp_path, figures):
    save_points(tmp_path / "p.png", None, torch.randn(30, 1).double(), ("a",), "few")
    axes = figures[0].axes[0]
    _, edges, _ = axes.patches[0].get_data()

    assert len(edges) == 41 and np.allclose(np.diff(edges), edges[1] - edges[0])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("a", "density")


def test_the_density_of_uniform_numbers_lies_in_the_band_and_another_outside(tmp_path, figures):
    uniform = torch.rand(4000, 2, generator=torch.Generator().manual_seed(0))
    uniform[:, 1] **= 2
    save_pit(tmp_path / "pit.png", uniform, "pit")
    for axes, is_flat in zip(figures[0].axes, (True, False), strict=False):
        band, heights = axes.patches[0].get_bbox(), axes.patches[1].get_data()[0]
        assert bool(((band.y0 < heights) & (heights < band.y1)).all()) == is_flat
