"""The tiles of the blocked solve, whatever their shape."""

import pytest
import torch

from inverseflow.ops import CORNERS
from inverseflow.ops._backends.blocked import Tile, choose_tile, solve
from tests.ops import oracle


def dominant(weight, groups):
    """Put the diagonal of the last tap far from zero."""
    for block in weight.unflatten(0, (groups, -1)):
        diagonal = block[:, :, -1, -1].diagonal()
        diagonal.copy_(1 + diagonal.abs())
    return weight


def expected(y, weight, corner, groups, transposed=False):
    """Solve densely."""
    matrix = oracle.dense_matrix(weight, *y.shape[2:], corner=corner, groups=groups)
    matrix = matrix.T if transposed else matrix
    return torch.linalg.solve(matrix, y.flatten(1).T).T.reshape(y.shape)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("kernel_size", [(1, 1), (1, 3), (2, 2), (3, 2), (5, 7)])
def test_every_tile_gives_the_answer_of_the_dense_solve(kernel_size, corner, transposed):
    groups = 2 if transposed else 1
    y = torch.randn(2, 2 * groups, 4, 5, dtype=torch.float64)
    weight = dominant(0.3 * torch.randn(2 * groups, 2, *kernel_size, dtype=torch.float64), groups)
    answer = expected(y, weight, corner, groups, transposed)
    for rows in (1, 2, 3, 4, 6):
        for columns in (1, 2, 3, 5, 7):
            tile = Tile(rows, columns)
            torch.testing.assert_close(
                solve(y, weight, corner, groups, "free", transposed, tile), answer, msg=str(tile)
            )


@pytest.mark.parametrize("channels", [1, 2, 3, 12, 48, 300])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (5, 1), (7, 14), (16, 16), (33, 2)])
def test_the_chosen_tile_is_small_and_lies_within_the_image(channels, height, width):
    tile = choose_tile(channels, height, width)
    assert 1 <= tile.rows <= min(4, height)
    assert 1 <= tile.columns <= min(4, width)
    assert tile.rows * tile.columns * channels <= 256 or (tile.rows, tile.columns) == (1, 1)


def test_many_channels_are_solved_pixel_by_pixel():
    y = torch.randn(1, 140, 2, 2, dtype=torch.float64)
    weight = dominant(0.01 * torch.randn(140, 140, 1, 2, dtype=torch.float64), 1)
    assert choose_tile(140, 2, 2) == Tile(1, 1)
    answer = expected(y, weight, "top_right", 1)
    torch.testing.assert_close(solve(y, weight, "top_right", 1, "free", False), answer, rtol=1e-9, atol=1e-9)


def test_larger_images_are_solved_by_many_tiles():
    y = torch.randn(2, 3, 13, 9, dtype=torch.float64)
    weight = dominant(0.2 * torch.randn(3, 3, 3, 3, dtype=torch.float64), 1)
    torch.testing.assert_close(
        solve(y, weight, "bottom_left", 1, "free", False), expected(y, weight, "bottom_left", 1), rtol=1e-9, atol=1e-9
    )


def test_nothing_is_written_into_the_arguments():
    y, weight = torch.randn(2, 2, 5, 5), dominant(0.3 * torch.randn(2, 2, 3, 3), 1)
    copies = y.clone(), weight.clone()
    solve(y, weight, "bottom_right", 1, "free", False)
    assert torch.equal(y, copies[0])
    assert torch.equal(weight, copies[1])
