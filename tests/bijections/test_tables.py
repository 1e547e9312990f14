import math

import pytest
import torch

from inverseflow.bijections import Compose, DequantizeColumns, Standardize, initialize_from_data


@pytest.mark.parametrize("unit", [1e-30, 1e-6, 1.0, 1e9, 1e30])
def test_columns_of_any_unit_come_out_standardized(unit):
    layer, x = Standardize((3,)), torch.randn(1000, 3) * unit + torch.tensor([0.0, 3.0, -5.0]) * unit
    initialize_from_data(layer, x)
    z, log_det = layer(x)
    torch.testing.assert_close(z.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(z.std(0, correction=0), torch.ones(3))
    torch.testing.assert_close(log_det, -x.double().std(0, correction=0).log().sum().float().expand(1000))


def test_it_is_set_once_and_survives_saving():
    layer, x = Standardize((2,)), torch.randn(50, 2)
    initialize_from_data(layer, x)
    before = layer(x)
    initialize_from_data(layer, 7 * x + 1)
    torch.testing.assert_close(layer(x), before, rtol=0, atol=0)
    loaded = Standardize((2,))
    loaded.load_state_dict(layer.state_dict())
    torch.testing.assert_close(loaded(x), before, rtol=0, atol=0)


def test_it_has_no_parameters_that_training_could_change():
    assert not list(Standardize((2,)).parameters())


def test_every_element_of_an_image_has_its_own_statistics():
    layer, x = Standardize((2, 3, 4)), torch.randn(20, 2, 3, 4)
    layer.whiten(x)
    torch.testing.assert_close(layer.mean, x.mean(0))
    torch.testing.assert_close(layer.deviation, x.std(0, correction=0))


@pytest.mark.parametrize(("shape", "place", "name"), [((3,), 2, "column 2"), ((2, 4), 5, r"element \(1, 1\)")])
def test_a_constant_element_is_refused_by_its_place(shape, place, name):
    layer, x = Standardize(shape), torch.randn(10, *shape)
    x.view(10, -1)[:, place] = 0.1
    with pytest.raises(ValueError, match=f"^layers.0: {name} is 0.1 in all 10 rows .* leave it out, or pass it as con"):
        initialize_from_data(Compose(layer), x)
    assert not layer.initialized


def test_a_constant_element_can_be_allowed_and_is_shifted_to_zero():
    layer, x = Standardize((2,), allow_constant=True), torch.randn(10, 2)
    x[:, 1] = 0.1
    layer.whiten(x)
    assert layer(x)[0][:, 1].abs().max() < 1e-6


def test_statistics_out_of_the_range_of_the_dtype_are_refused():
    layer, x = (
        Standardize((2,)),
        torch.randn(10, 2, dtype=torch.float64) * torch.tensor([1.0, 1e50], dtype=torch.float64),
    )
    with pytest.raises(ValueError, match=r"column 1 has mean .* out of the range of torch.float32; change its unit"):
        layer.whiten(x)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite_are_refused(value):
    layer, x = Standardize((2,)), torch.randn(10, 2)
    x[3, 1] = value
    with pytest.raises(ValueError, match="Standardize can't whiten a batch in which 1 of 20 values are not finite"):
        layer.whiten(x)
    assert not layer.initialized


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_whole_numbers_come_back_and_only_their_columns_get_noise(dtype):
    layer = DequantizeColumns(3, [2, 0])
    x = torch.tensor([[0.0, 0.5, -3.0], [7.0, -1.5, 2.0**23], [-(2.0**22) + 1, 0.0, 2.0**24 - 2]], dtype=dtype)
    for _ in range(50):
        z, log_det = layer(x)
        assert torch.equal(z.floor()[:, [0, 2]], x[:, [0, 2]])
        assert torch.equal(z[:, 1], x[:, 1])
        assert torch.equal(layer.inverse(z)[0], x)
        assert torch.equal(log_det, torch.zeros(3, dtype=dtype))


def test_the_noise_is_uniform_in_the_unit_interval():
    z, _ = DequantizeColumns(1, [0])(torch.full((20000, 1), 5.0))
    torch.testing.assert_close(torch.histc(z, 10, 5, 6) / 20000, torch.full((10,), 0.1), atol=0.01, rtol=0)


def test_the_middle_of_an_interval_is_its_center():
    assert DequantizeColumns(2, [1]).center(torch.tensor([[0.3, -4.0]])).tolist() == [[pytest.approx(0.3), -3.5]]


@pytest.mark.parametrize("value", [0.5, math.nan, math.inf])
def test_a_number_that_is_not_whole_is_refused_with_column_and_row(value):
    x = torch.tensor([[1.0, 0.5, 2.0], [1.0, 0.5, value]])
    with pytest.raises(ValueError, match=f"column 2 must hold whole numbers, got {value:g} in row 1; round it"):
        DequantizeColumns(3, [0, 2])(x)


def test_numbers_that_the_dtype_does_not_tell_from_the_next_are_refused():
    layer, x = DequantizeColumns(2, [1]), torch.tensor([[0.5, 2.0**24]])
    with pytest.raises(
        ValueError, match=r"between -16777216 and 16777216 in torch.float32, got .* take a larger dtype"
    ):
        layer(x)
    assert torch.equal(layer.inverse(layer(x.double())[0])[0], x.double())
    with pytest.raises(ValueError, match="between -256 and 256 in torch.bfloat16, got 300 in row 0"):
        layer(torch.tensor([[0.5, 300.0]]).bfloat16())


def test_one_row_is_refused_for_its_number_and_not_for_its_columns():
    with pytest.raises(ValueError, match="in all 1 rows of the batch, so it has no deviation; pass more rows"):
        Standardize((2,)).whiten(torch.randn(1, 2))


def test_standardization_keeps_a_least_deviation():
    layer, x = Standardize((2,), min_deviation=0.5), torch.tensor([[0.0, -4.0], [0.1, 4.0]])
    initialize_from_data(layer, x)
    torch.testing.assert_close(layer(x)[0], torch.tensor([[-0.1, -1.0], [0.1, 1.0]]))
