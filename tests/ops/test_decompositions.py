"""Plain programs for export: the same numbers as the operators."""

import pytest
import torch

from inverseflow.ops import CORNERS
from inverseflow.ops.decompositions import export_decompositions

PROGRAMS = {str(operator): (operator, program) for operator, program in export_decompositions().items()}


@pytest.mark.parametrize("name", ["inverseflow.causal_conv2d.default", "inverseflow.inv_conv2d.default"])
@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("groups", "diagonal"), [(1, "unit"), (2, "free")])
@pytest.mark.parametrize(("size", "kernel"), [((5, 3), (2, 3)), ((1, 4), (1, 2)), ((2, 2), (3, 3)), ((1, 1), (3, 1))])
def test_the_convolution_and_the_solve(name, corner, transposed, groups, diagonal, size, kernel):
    torch.manual_seed(0)
    operator, program = PROGRAMS[name]
    x = torch.randn(3, 4, *size, dtype=torch.float64)
    weight = 0.4 * torch.randn(4, 4 // groups, *kernel, dtype=torch.float64)
    weight[:, :, -1, -1].copy_(weight[:, :, -1, -1] + 1.5 * torch.eye(4 // groups).repeat(groups, 1))
    arguments = (weight, corner, groups, diagonal, transposed)
    torch.testing.assert_close(program(x, *arguments), operator(x, *arguments))


def test_entries_that_are_not_read_may_be_anything():
    operator, program = PROGRAMS["inverseflow.inv_conv2d.default"]
    weight = torch.randn(2, 2, 2, 2, dtype=torch.float64)
    weight[0, 1, -1, -1] = torch.nan
    x = torch.randn(1, 2, 3, 3, dtype=torch.float64)
    arguments = (weight, "top_left", 1, "free", False)
    torch.testing.assert_close(program(x, *arguments), operator(x, *arguments))


@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("unitriangular", [False, True])
@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_the_triangular_solve(size, upper, unitriangular, left):
    operator, program = PROGRAMS["aten.linalg_solve_triangular.default"]
    matrix = torch.randn(2, size, size, dtype=torch.float64) + 2 * torch.eye(size)
    right = torch.randn(2, size, size, dtype=torch.float64)
    options = {"upper": upper, "unitriangular": unitriangular, "left": left}
    torch.testing.assert_close(program(matrix, right, **options), operator(matrix, right, **options))


@pytest.mark.parametrize("right", [False, True])
def test_the_search(right):
    operator, program = PROGRAMS["aten.searchsorted.Tensor"]
    boundaries = torch.tensor([[0.0, 1.0, 2.0], [-1.0, -1.0, 5.0]])
    values = torch.tensor([[-1.0, 0.0, 0.5, 2.0, 9.0], [-1.0, 5.0, 6.0, -2.0, 0.0]])
    assert torch.equal(program(boundaries, values, right=right), operator(boundaries, values, right=right))
