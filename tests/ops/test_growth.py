import math

import pytest
import torch

from inverseflow.ops import growth
from tests.ops.oracle import dense_matrix


def weights(scale, groups=1):
    weight = scale * torch.randn(4, 4 // groups, 3, 2, dtype=torch.float64)
    weight[:, :, -1, -1] += 2 * torch.eye(4 // groups, dtype=torch.float64).repeat(groups, 1)
    return weight


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("unitriangular", [True, False])
@pytest.mark.parametrize("scale", [0.02, 0.2])
def test_actual_growth_is_the_norm_of_the_dense_inverse(scale, unitriangular, groups):
    weight = weights(scale, groups)
    matrix = dense_matrix(weight, 4, 5, unitriangular=unitriangular, groups=groups)
    norm = torch.linalg.inv(matrix).abs().sum(1).max()
    result = growth(weight, (4, 5), unitriangular=unitriangular, groups=groups)
    assert result.actual == pytest.approx(float(norm), rel=1e-10)


@pytest.mark.parametrize("size", [(3, 3), (20, 30)])
def test_the_bound_holds_at_every_size(size):
    result = growth(weights(0.05), size)
    assert result.actual <= result.bound < math.inf


def test_a_kernel_without_dominant_diagonal_has_no_bound():
    assert growth(weights(1.0), (4, 4)).bound == math.inf


def test_one_pixel_grows_by_the_last_tap_alone():
    assert growth(torch.tensor([[[[5.0, 0.5]]]]), (1, 1)).actual == 2.0
