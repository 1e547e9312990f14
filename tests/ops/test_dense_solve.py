import pytest
import torch

from inverseflow.ops import dense_solve


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_it_solves_every_system_and_measures_every_determinant(dtype):
    matrix, expected = torch.randn(2, 3, 5, 5, dtype=dtype), torch.randn(2, 3, 5, 4, dtype=dtype)
    solution, log_det = dense_solve(matrix, matrix @ expected)
    torch.testing.assert_close(solution, expected)
    torch.testing.assert_close(log_det, torch.linalg.det(matrix).abs().log())


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_its_gradients_are_exact(dtype):
    matrix = torch.randn(2, 3, 3, dtype=dtype, requires_grad=True)
    right = torch.randn(2, 3, 2, dtype=dtype, requires_grad=True)
    assert torch.autograd.gradcheck(dense_solve, (matrix, right))


def test_singular_matrices_are_counted_and_refused():
    matrices = torch.eye(3).repeat(5, 1, 1)
    matrices[1:3, 2, 2] = 0
    with pytest.raises(ValueError, match="2 of 5 matrices of size 3 are singular, so the map has no inverse; start"):
        dense_solve(matrices, torch.ones(5, 3, 1))


def test_it_solves_and_checks_inside_of_vmap():
    matrices, right = torch.randn(4, 3, 3).double(), torch.randn(4, 3, 2).double()
    torch.testing.assert_close(torch.vmap(dense_solve)(matrices, right), dense_solve(matrices, right))
    matrices[2] = 0
    with pytest.raises(ValueError, match="1 of 4 matrices of size 3 are singular"):
        torch.vmap(dense_solve)(matrices, right)
