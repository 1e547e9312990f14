"""The operators under `torch.vmap`, which also serves vectorised Jacobians."""

import pytest
import torch
from torch.autograd.functional import jacobian

from inverseflow.ops import causal_conv2d, inv_conv2d


@pytest.fixture
def image():
    return torch.randn(3, 2, 4, 5, dtype=torch.float64)


@pytest.fixture
def weight():
    return 0.3 * torch.randn(2, 2, 3, 2, dtype=torch.float64)


@pytest.mark.parametrize("op", [causal_conv2d, inv_conv2d])
def test_mapping_over_images_is_a_larger_batch(op, image, weight):
    images = torch.stack([image, 2 * image], dim=1)
    mapped = torch.vmap(lambda x: op(x, weight, unitriangular=True), in_dims=1, out_dims=1)(images)
    torch.testing.assert_close(mapped[:, 1], op(2 * image, weight, unitriangular=True))


@pytest.mark.parametrize("op", [causal_conv2d, inv_conv2d])
def test_mapping_over_kernels_is_one_call_for_each(op, image, weight):
    mapped = torch.vmap(lambda w: op(image, w, unitriangular=True))(torch.stack([weight, -weight]))
    torch.testing.assert_close(mapped[1], op(image, -weight, unitriangular=True))


@pytest.mark.parametrize("op", [causal_conv2d, inv_conv2d])
def test_the_registered_operators_that_an_exported_program_calls_are_mapped_too(op, image, weight):
    registered = getattr(torch.ops.inverseflow, op.__name__)
    for in_dims, arguments in {(0, None): (image[:, None], weight), (None, 0): (image, weight[None])}.items():
        mapped = torch.vmap(lambda x, w: registered(x, w, "top_left", 1, "unit", False), in_dims)(*arguments)
        torch.testing.assert_close(mapped.flatten(0, 1), op(image, weight, unitriangular=True))


@pytest.mark.parametrize("op", [causal_conv2d, inv_conv2d])
@pytest.mark.parametrize("argument", [0, 1])
def test_a_vectorised_jacobian_equals_the_one_row_by_row(op, argument, image, weight):
    arguments = [image[:1], weight]

    def function(value):
        return op(*arguments[:argument], value, *arguments[argument + 1 :], unitriangular=True)

    value = arguments[argument]
    torch.testing.assert_close(jacobian(function, value, vectorize=True), jacobian(function, value))
