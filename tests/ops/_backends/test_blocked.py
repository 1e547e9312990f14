"""The tiles of the blocked solve, whatever their shape."""

import pytest
import torch

from inverseflow.ops import CORNERS
from inverseflow.ops._backends.blocked import Tile, choose_tile, solve
from tests.ops import oracle


def triangular(weight, groups, upper):
    """Make the last tap triangular within each group with a diagonal far from zero."""
    for block in weight.unflatten(0, (groups, -1)):
        tap = block[:, :, -1, -1]
        tap.copy_((tap.triu(1) if upper else tap.tril(-1)) + torch.diag(1 + tap.diagonal().abs()))
    return weight


def transposed(weight, groups):
    """Swap the channel axes within each group: the kernel of the transposed map."""
    return torch.cat([block.transpose(0, 1) for block in weight.unflatten(0, (groups, -1))])


def expected(y, weight, corner, groups, upper):
    """Solve densely. An upper triangular tap is the lower one of the transposed kernel."""
    if not upper:
        return oracle.solve(y, weight, corner=corner, unitriangular=False, groups=groups)
    across = {"top_left": "bottom_right", "top_right": "bottom_left"}
    across |= {there: here for here, there in across.items()}
    options = {"corner": across[corner], "unitriangular": False, "groups": groups}
    matrix = oracle.dense_matrix(transposed(weight, groups), *y.shape[2:], **options).T
    return torch.linalg.solve(matrix, y.flatten(1).T).T.reshape(y.shape)


@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("kernel_size", [(1, 1), (1, 3), (2, 2), (3, 2), (5, 7)])
def test_every_tile_gives_the_answer_of_the_dense_solve(kernel_size, corner, upper):
    groups = 2 if upper else 1
    y = torch.randn(2, 2 * groups, 4, 5, dtype=torch.float64)
    weight = triangular(0.3 * torch.randn(2 * groups, 2, *kernel_size, dtype=torch.float64), groups, upper)
    answer = expected(y, weight, corner, groups, upper)
    for rows in (1, 2, 3, 4, 6):
        for columns in (1, 2, 3, 5, 7):
            tile = Tile(rows, columns)
            torch.testing.assert_close(solve(y, weight, corner, groups, upper, tile), answer, msg=str(tile))


@pytest.mark.parametrize("channels", [1, 2, 3, 12, 48, 300])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (5, 1), (7, 14), (16, 16), (33, 2)])
def test_the_chosen_tile_is_small_and_lies_within_the_image(channels, height, width):
    tile = choose_tile(channels, height, width)
    assert 1 <= tile.rows <= min(4, height)
    assert 1 <= tile.columns <= min(4, width)
    assert tile.rows * tile.columns * channels <= 256 or (tile.rows, tile.columns) == (1, 1)


def test_many_channels_are_solved_pixel_by_pixel():
    y = torch.randn(1, 140, 2, 2, dtype=torch.float64)
    weight = triangular(0.01 * torch.randn(140, 140, 1, 2, dtype=torch.float64), 1, False)
    assert choose_tile(140, 2, 2) == Tile(1, 1)
    answer = expected(y, weight, "top_right", 1, False)
    torch.testing.assert_close(solve(y, weight, "top_right", 1, False), answer, rtol=1e-9, atol=1e-9)


def test_larger_images_are_solved_by_many_tiles():
    y = torch.randn(2, 3, 13, 9, dtype=torch.float64)
    weight = triangular(0.2 * torch.randn(3, 3, 3, 3, dtype=torch.float64), 1, False)
    torch.testing.assert_close(
        solve(y, weight, "bottom_left", 1, False), expected(y, weight, "bottom_left", 1, False), rtol=1e-9, atol=1e-9
    )


def test_nothing_is_written_into_the_arguments():
    y, weight = torch.randn(2, 2, 5, 5), triangular(0.3 * torch.randn(2, 2, 3, 3), 1, False)
    copies = y.clone(), weight.clone()
    solve(y, weight, "bottom_right", 1, False)
    assert torch.equal(y, copies[0])
    assert torch.equal(weight, copies[1])
