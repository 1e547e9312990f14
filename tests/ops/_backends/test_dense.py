"""The library's own oracle against the definition."""

import pytest
import torch

from inverseflow.ops import CORNERS, backend, inv_conv2d
from inverseflow.ops._backends.dense import top_left_matrix
from tests.ops import oracle


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("kernel_size", [(1, 1), (1, 3), (3, 2), (5, 7)])
@pytest.mark.parametrize("groups", [1, 3])
def test_it_solves_the_system_of_the_definition(kernel_size, corner, groups):
    y = torch.randn(2, 2 * groups, 4, 3, dtype=torch.float64)
    weight = 0.3 * torch.randn(2 * groups, 2, *kernel_size, dtype=torch.float64)
    options = {"corner": corner, "unitriangular": True, "groups": groups}
    with backend("dense"):
        torch.testing.assert_close(inv_conv2d(y, weight, **options), oracle.solve(y, weight, **options))


@pytest.mark.parametrize("operator_dtype", [torch.float32, torch.float64])
def test_its_gradients_are_those_of_the_default_backend(operator_dtype):
    y = torch.randn(2, 3, 4, 5, dtype=operator_dtype, requires_grad=True)
    weight = (0.2 * torch.randn(3, 3, 2, 3, dtype=operator_dtype)).requires_grad_()
    gradients = []
    for name in ("dense", "blocked"):
        with backend(name):
            x = inv_conv2d(y, weight, unitriangular=True)
            gradients.append(torch.autograd.grad(x.square().sum(), (y, weight)))
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


def test_its_matrix_is_lower_triangular_in_raster_order_with_channels_innermost():
    kernel = torch.randn(2, 2, 2, 3)
    kernel[:, :, -1, -1] = kernel[:, :, -1, -1].tril()
    matrix = top_left_matrix(kernel, 3, 4)
    assert torch.equal(matrix, matrix.tril())
    order = oracle.raster_order(2, 3, 4, corner="top_left")
    assert torch.equal(matrix, oracle.dense_matrix(kernel, 3, 4)[order][:, order])
