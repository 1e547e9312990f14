import pytest
import torch

from inverseflow.ops import (
    conv_spectral_norm_bound,
    dense_solve,
    same_conv2d_log_det,
    same_conv2d_solve,
)


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


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_single_precision_and_the_solution_returned_in_its_own(dtype):
    matrix, right = (torch.randn(4, n) + 3 * torch.eye(4, n) for n in (4, 2))
    matrix, right = matrix.to(dtype), right.to(dtype)
    x, log_det = dense_solve(matrix, right)
    expected, expected_log_det = dense_solve(matrix.float(), right.float())
    assert (x.dtype, log_det.dtype) == (dtype, torch.float32)
    torch.testing.assert_close(x, expected.to(dtype))
    torch.testing.assert_close(log_det, expected_log_det)
    weight = (0.1 * torch.randn(2, 2, 3, 3)).to(dtype)
    weight[:, :, 1, 1] += 3 * torch.eye(2, dtype=dtype)
    image = torch.randn(2, 2, 5, 6).to(dtype)
    solved, log_det = same_conv2d_solve(image, weight)
    torch.testing.assert_close(solved, same_conv2d_solve(image.float(), weight.float())[0].to(dtype))
    torch.testing.assert_close(log_det, same_conv2d_log_det(weight.float(), (5, 6)))
    torch.testing.assert_close(
        conv_spectral_norm_bound(weight, (5, 6)), conv_spectral_norm_bound(weight.float(), (5, 6))
    )
