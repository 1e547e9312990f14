import math

import pytest
import torch

from inverseflow.bijections import Butterfly
from tests.contracts.registry import perturb


def matrix_of(function, shape):
    """Return the dense matrix of a linear map of events, columns being the images of the unit vectors."""
    size = math.prod(shape)
    return function(torch.eye(size, dtype=torch.float64).view(size, *shape))[0].detach().view(size, size).T


def block_of(angle, log_scale, shear):
    """Return one 2×2 block from its parameters."""
    rotation = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]], dtype=torch.float64)
    triangle = torch.tensor([[log_scale[0].exp(), shear], [0, log_scale[1].exp()]], dtype=torch.float64)
    return rotation @ triangle


def by_loops(layer, size):
    """Return the product of the dense factors, each filled in block by block from the definition."""
    product = torch.eye(size, dtype=torch.float64)
    for index, factor in zip(layer.factor_indices, layer.factors, strict=True):
        length = size // 2**index
        dense = torch.zeros(size, size, dtype=torch.float64)
        for stretch in range(2**index):
            for j in range(length // 2):
                own = 0 if layer.shared else j
                block = block_of(
                    factor.angle[stretch, own], factor.log_scale[:, stretch, own], factor.shear[stretch, own]
                )
                pair = [stretch * length + j, stretch * length + j + length // 2]
                dense[torch.tensor(pair)[:, None], torch.tensor(pair)] = block
        product = dense @ product
    return product


@torch.no_grad()
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("factors", [(0,), (2,), (0, 1, 2, 3), (3, 0, 3)])
def test_it_is_the_product_of_its_sparse_factors(factors, shared):
    layer = perturb(Butterfly(4, size=(2, 6), factors=factors, shared=shared).double())
    expected = by_loops(layer, 48)
    torch.testing.assert_close(matrix_of(layer, (4, 2, 6)), expected)
    torch.testing.assert_close(matrix_of(layer.inverse, (4, 2, 6)), torch.linalg.inv(expected))
    log_det = layer(torch.zeros(1, 4, 2, 6, dtype=torch.float64))[1]
    torch.testing.assert_close(log_det[0], torch.linalg.slogdet(expected).logabsdet)


@torch.no_grad()
def test_every_block_of_positive_determinant_is_reached():
    blocks = torch.randn(200, 2, 2, dtype=torch.float64)
    blocks = blocks[torch.linalg.det(blocks) > 0]
    layer = Butterfly(2, size=(1, 1)).double()
    (factor,) = layer.factors
    for block in blocks:
        length = block[:, 0].norm()
        factor.angle.fill_(torch.atan2(block[1, 0], block[0, 0]))
        turned_back = torch.stack([block[:, 0], torch.stack([-block[1, 0], block[0, 0]])]) / length @ block
        factor.log_scale.copy_(turned_back.diagonal().log().view(2, 1, 1))
        factor.shear.fill_(turned_back[0, 1])
        torch.testing.assert_close(matrix_of(layer, (2, 1, 1)), block)


def test_all_levels_together_couple_every_element_with_every_other():
    layer = perturb(Butterfly(2, size=(2, 4), factors=range(4)).double())
    assert (matrix_of(layer, (2, 2, 4)) != 0).all()


@pytest.mark.parametrize("brutality", [1.0, 10.0, 100.0])
def test_no_values_of_the_parameters_make_a_block_singular(brutality):
    layer = Butterfly(4, size=(2, 2), factors=(0, 1, 2)).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=brutality)
    _, log_det = layer(torch.zeros(1, 4, 2, 2, dtype=torch.float64))
    expected = sum(factor.log_scale.sum().item() for factor in layer.factors)
    assert log_det.item() == pytest.approx(expected)


@pytest.mark.parametrize("shared", [False, True])
def test_it_starts_at_the_identity(shared):
    x = torch.randn(2, 4, 2, 6)
    z, log_det = Butterfly(4, size=(2, 6), factors=(0, 1, 2), shared=shared)(x)
    assert torch.equal(z, x)
    assert log_det.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("index", [0, 1, 3])
def test_a_factor_has_four_parameters_for_each_pair_or_for_each_stretch(index):
    def count(layer):
        return sum(parameter.numel() for parameter in layer.parameters())

    assert count(Butterfly(4, size=(2, 8), factors=[index])) == 2 * 64
    assert count(Butterfly(4, size=(2, 8), factors=[index], shared=True)) == 4 * 2**index


def test_shared_blocks_take_every_size_that_the_levels_divide():
    layer = perturb(Butterfly(3, factors=(0, 2), shared=True))
    for size in ((4, 4), (8, 1), (8,)):
        x = torch.randn(2, 3, *size)
        torch.testing.assert_close(layer.inverse(layer(x)[0])[0], x, rtol=0, atol=1e-5)
    message = r"factor 2 .* that 8 divides, got an event of shape \(3, 2, 2\) with 12; leave the factor out"
    for call in (lambda: layer(torch.zeros(2, 3, 2, 2)), lambda: layer.output_shape((3, 2, 2))):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("shared", [False, True])
def test_another_size_than_the_one_it_is_tied_to_is_refused(shared):
    with pytest.raises(ValueError, match=r"Butterfly is tied to the size \(4, 2\) .* \(2, 2, 4\); .* size=\(2, 4\)"):
        Butterfly(2, size=(4, 2), shared=shared)(torch.zeros(1, 2, 2, 4))


BAD_OPTIONS = {
    "no size": ({"channels": 2}, r"tied to a size; pass size=\(H, W\), or shared=True"),
    "an odd number of elements": (
        {"channels": 3, "size": (3, 5)},
        r"factor 0 .* that 2 divides, got an event of shape \(3, 3, 5\) with 45",
    ),
    "a level too deep": (
        {"channels": 2, "size": (2, 3), "factors": (0, 2)},
        r"factor 2 .* 8 divides, got an event of shape \(2, 2, 3\) with 12; leave the factor out, or squeeze or pad",
    ),
    "a negative level": (
        {"channels": 2, "size": (2, 2), "factors": (0, -1)},
        "an index of factors must be at least 0, got -1",
    ),
    "no levels": ({"channels": 2, "size": (2, 2), "factors": ()}, "at least one factor, counted from 0, got none"),
    "no channels": ({"channels": 0, "size": (2, 2)}, "channels must be at least 1, got 0"),
}


@pytest.mark.parametrize("bad", BAD_OPTIONS)
def test_a_bad_option_is_named_with_its_remedy(bad):
    options, message = BAD_OPTIONS[bad]
    with pytest.raises(ValueError, match=message):
        Butterfly(**options)
