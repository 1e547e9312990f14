import pytest
import torch
from torch.nn import functional as F

from inverseflow.ops import same_conv2d, same_conv2d_transposed
from tests.ops.oracle import same_matrix

SHAPES = {
    "odd": (2, 2, 3, 3),
    "even": (2, 2, 2, 4),
    "mixed": (1, 3, 2, 3),
    "larger than the image": (3, 2, 9, 7),
    "one tap": (2, 3, 1, 1),
    "one row": (2, 1, 1, 5),
}
HEIGHT, WIDTH = 4, 5
each_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def kernel(shape):
    return torch.randn(shape, dtype=torch.float64)


def image(channels):
    return torch.randn(3, channels, HEIGHT, WIDTH, dtype=torch.float64)


@each_shape
def test_the_convolution_is_that_of_the_definition(shape):
    weight, x = kernel(shape), image(shape[1])
    expected = (x.flatten(1) @ same_matrix(weight, HEIGHT, WIDTH).T).view(3, shape[0], HEIGHT, WIDTH)
    torch.testing.assert_close(same_conv2d(x, weight), expected)


@each_shape
def test_the_transposed_convolution_has_the_transposed_matrix(shape):
    weight, y = kernel(shape), image(shape[0])
    expected = (y.flatten(1) @ same_matrix(weight, HEIGHT, WIDTH)).view(3, shape[1], HEIGHT, WIDTH)
    torch.testing.assert_close(same_conv2d_transposed(y, weight), expected)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
@each_shape
def test_it_is_the_same_padding_of_torch(shape):
    weight, x = kernel(shape), image(shape[1])
    torch.testing.assert_close(same_conv2d(x, weight), F.conv2d(x, weight, padding="same"))
