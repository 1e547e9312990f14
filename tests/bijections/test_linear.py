import pytest
import torch

from inverseflow.bijections import Conv1x1, LUConv1x1


def matrix_of(layer, channels):
    """Return W as what the layer does to the unit vectors."""
    return layer(torch.eye(channels, dtype=torch.float64))[0].T.detach()


@pytest.mark.parametrize("build", [Conv1x1, LUConv1x1])
@pytest.mark.parametrize("channels", [1, 2, 5, 48])
def test_it_starts_at_a_rotation(build, channels):
    matrix = matrix_of(build(channels).double(), channels)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(channels, dtype=torch.float64), rtol=0, atol=1e-5)


@pytest.mark.parametrize("build", [Conv1x1, LUConv1x1])
def test_it_applies_one_matrix_to_the_channels_of_every_pixel(build):
    layer = build(3).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(layer(x)[0], torch.einsum("oi,bihw->bohw", matrix_of(layer, 3), x))


@pytest.mark.parametrize("build", [Conv1x1, LUConv1x1])
def test_its_log_determinant_is_that_of_the_matrix_at_every_pixel(build):
    layer = build(4).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    expected = 15 * torch.linalg.slogdet(matrix_of(layer, 4)).logabsdet
    _, log_det = layer(torch.zeros(2, 4, 3, 5, dtype=torch.float64))
    torch.testing.assert_close(log_det, expected.expand(2))


def test_the_two_forms_compute_the_same_for_the_same_matrix():
    factored, free = LUConv1x1(5).double(), Conv1x1(5).double()
    for parameter in factored.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    with torch.no_grad():
        free.weight.copy_(matrix_of(factored, 5))
    x = torch.randn(2, 5, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(factored(x), free(x))
    torch.testing.assert_close(factored.inverse(x), free.inverse(x))


def test_a_factored_matrix_is_regular_whatever_its_parameters():
    layer = LUConv1x1(4).double()
    for parameter in layer.parameters():
        torch.nn.init.uniform_(parameter, -4, 4)
    x = torch.randn(3, 4, dtype=torch.float64)
    torch.testing.assert_close(layer.inverse(layer(x)[0])[0], x)


def test_entries_of_a_factor_that_are_not_read_stay_without_effect():
    layer = LUConv1x1(4)
    x = torch.randn(3, 4)
    expected = layer(x)
    with torch.no_grad():
        layer.lower += torch.full((4, 4), torch.inf).triu().nan_to_num(0.0)
        layer.upper += torch.full((4, 4), 1e30).tril()
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=0)


@pytest.mark.parametrize("build", [Conv1x1, LUConv1x1])
def test_two_layers_start_at_different_rotations_and_a_seed_gives_the_same(build):
    first, second = build(3).double(), build(3).double()
    assert not torch.allclose(matrix_of(first, 3), matrix_of(second, 3))
    torch.manual_seed(5)
    first = build(3).double()
    torch.manual_seed(5)
    assert torch.equal(matrix_of(first, 3), matrix_of(build(3).double(), 3))


@pytest.mark.parametrize("build", [Conv1x1, LUConv1x1])
def test_it_keeps_full_precision_under_autocast(build):
    layer, x = build(8), torch.randn(4, 8, 3, 3)
    expected = layer(x), layer.inverse(x)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close((layer(x), layer.inverse(x)), expected, rtol=0, atol=0)


@pytest.mark.parametrize("build", [Conv1x1, LUConv1x1])
def test_it_needs_a_channel(build):
    with pytest.raises(ValueError, match="channels must be at least 1, got 0"):
        build(0)
