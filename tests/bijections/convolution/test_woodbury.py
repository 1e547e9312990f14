import pytest
import torch

from inverseflow.bijections import MemoryEfficientWoodbury, Woodbury
from tests.contracts.registry import perturb


def matrix_of(function, shape):
    """Return the dense matrix of a linear map of events, columns being the images of the unit vectors."""
    size = torch.Size(shape).numel()
    return function(torch.eye(size, dtype=torch.float64).view(size, *shape))[0].detach().view(size, size).T


def updated_identity(update):
    return torch.eye(len(update.left), dtype=torch.float64) + update.left.detach() @ update.right.detach()


BUILD = [
    (lambda: Woodbury(3, size=(4, 5), channel_rank=2, spatial_rank=4), 2),
    (lambda: Woodbury(1, size=(1, 6), channel_rank=3, spatial_rank=1), 2),
    (lambda: MemoryEfficientWoodbury(3, size=(4, 5), channel_rank=2, spatial_rank=3), 3),
    (lambda: MemoryEfficientWoodbury(2, size=(1, 4), channel_rank=1, spatial_rank=5), 3),
]
each_layer = pytest.mark.parametrize(("build", "axes"), BUILD)


@each_layer
def test_it_is_the_kronecker_product_of_its_updates(build, axes):
    layer = perturb(build().double())
    expected = torch.ones(1, 1, dtype=torch.float64)
    assert len(layer.updates) == axes
    for update in layer.updates:
        expected = torch.kron(expected, updated_identity(update))
    shape = (layer.channels, *layer.size)
    torch.testing.assert_close(matrix_of(layer, shape), expected)
    torch.testing.assert_close(matrix_of(layer.inverse, shape), torch.linalg.inv(expected))
    log_det = layer(torch.zeros(1, *shape, dtype=torch.float64))[1]
    torch.testing.assert_close(log_det[0], torch.linalg.slogdet(expected).logabsdet)


@each_layer
def test_it_starts_near_the_identity(build, axes):
    layer = build()
    x = torch.randn(5, layer.channels, *layer.size)
    z, log_det = layer(x)
    assert 0 < (z - x).abs().max() < 0.05
    assert 0 < log_det.abs().max() < 0.05


def test_the_number_of_parameters_is_that_of_the_publication():
    def count(layer):
        return sum(parameter.numel() for parameter in layer.parameters())

    assert count(Woodbury(12, size=(16, 8))) == 2 * 16 * (12 + 16 * 8)
    assert count(MemoryEfficientWoodbury(12, size=(16, 8))) == 2 * 16 * (12 + 16 + 8)


@pytest.mark.parametrize("layer", [Woodbury, MemoryEfficientWoodbury])
def test_another_image_size_is_refused_with_both_sizes(layer):
    built = layer(3, size=(4, 5))
    message = rf"{layer.__name__} is tied to the size \(4, 5\) .* got an event of shape \(3, 5, 4\); .* size=\(5, 4\)"
    for direction in (built, built.inverse, lambda x: built.output_shape(tuple(x.shape[1:]))):
        with pytest.raises(ValueError, match=message):
            direction(torch.zeros(2, 3, 5, 4))


BAD_OPTIONS = {
    "no channels": ({"channels": 0, "size": (4, 4)}, "channels must be at least 1, got 0"),
    "no rank": ({"channels": 2, "size": (4, 4), "channel_rank": 0}, "channel_rank must be at least 1, got 0"),
    "no spatial rank": ({"channels": 2, "size": (4, 4), "spatial_rank": -1}, "spatial_rank must be at least 1, got -1"),
    "a size with channels": ({"channels": 2, "size": (2, 4, 4)}, r"\(H, W\) for an image.* got \(2, 4, 4\)"),
    "an empty size": ({"channels": 2, "size": (0, 4)}, "a side of size must be at least 1, got 0"),
}


@pytest.mark.parametrize("layer", [Woodbury, MemoryEfficientWoodbury])
@pytest.mark.parametrize("bad", BAD_OPTIONS)
def test_a_bad_option_is_named(layer, bad):
    options, message = BAD_OPTIONS[bad]
    with pytest.raises(ValueError, match=message):
        layer(**options)
