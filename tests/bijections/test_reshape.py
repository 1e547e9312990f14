import pytest
import torch

from inverseflow.bijections import Permute, Squeeze


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_a_block_of_pixels_becomes_channels_in_the_order_of_the_definition(factor):
    channels, height, width = 2, 2, 3
    x = torch.randn(2, channels, height * factor, width * factor)
    z, log_det = Squeeze(factor)(x)
    assert log_det.tolist() == [0.0, 0.0]
    for c in range(channels):
        for dy in range(factor):
            for dx in range(factor):
                channel = factor**2 * c + factor * dy + dx
                assert torch.equal(z[:, channel], x[:, c, dy::factor, dx::factor])


def test_a_batch_of_nothing_is_squeezed_too():
    z, log_det = Squeeze()(torch.zeros(0, 3, 4, 6))
    assert z.shape == (0, 12, 2, 3)
    assert log_det.shape == (0,)
    assert Squeeze().inverse(z)[0].shape == (0, 3, 4, 6)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 5, 4), r"the height 5 of an event of shape \(1, 5, 4\) by 2: pad it to 6, or use fewer scales"),
        ((1, 4, 7), r"the width 7 of an event of shape \(1, 4, 7\) by 2: pad it to 8, or use fewer scales"),
    ],
)
def test_an_odd_side_is_refused_with_what_to_do(shape, message):
    with pytest.raises(ValueError, match=message):
        Squeeze()(torch.zeros(2, *shape))
    with pytest.raises(ValueError, match=message):
        Squeeze().output_shape(shape)


def test_channels_that_make_no_block_are_refused():
    with pytest.raises(ValueError, match=r"can't unfold 6 channels of shape \(6, 2, 2\) into blocks of 4 pixels"):
        Squeeze().inverse(torch.zeros(1, 6, 2, 2))


@pytest.mark.parametrize("factor", [0, -2])
def test_a_factor_below_one_is_refused(factor):
    with pytest.raises(ValueError, match=f"at least 1, got {factor}"):
        Squeeze(factor)


def test_a_permutation_says_which_channel_goes_where():
    x = torch.tensor([[10.0, 11.0, 12.0]])
    layer = Permute([2, 0, 1])
    assert layer(x)[0].tolist() == [[12.0, 10.0, 11.0]]
    assert layer.inverse(layer(x)[0])[0].tolist() == x.tolist()


def test_a_random_permutation_is_a_permutation_that_its_generator_decides():
    permutations = [Permute.random(20, generator=torch.Generator().manual_seed(3)).permutation for _ in range(2)]
    assert torch.equal(*permutations)
    assert sorted(permutations[0].tolist()) == list(range(20))
    assert permutations[0].tolist() != list(range(20))


def test_a_random_permutation_is_saved_with_the_layer():
    layer, other = Permute.random(20), Permute.random(20)
    other.load_state_dict(layer.state_dict())
    x = torch.randn(2, 20)
    assert torch.equal(other(x)[0], layer(x)[0])
    assert torch.equal(other.inverse(layer(x)[0])[0], x)


@pytest.mark.parametrize("bad", [[0, 0, 1], [1, 2, 3], [0, 2], [-1, 0, 1]])
def test_a_list_that_is_no_permutation_is_refused(bad):
    with pytest.raises(ValueError, match=r"permutation must hold each of 0 … \d once"):
        Permute(bad)


def test_a_permutation_of_nothing_is_refused():
    with pytest.raises(ValueError, match="channels must be at least 1"):
        Permute([])
