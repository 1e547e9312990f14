import math

import pytest
import torch

from inverseflow.bijections import Compose, Dequantize, Logit, Scale


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("levels", [2, 3, 5, 17, 255, 256, 257, 1000, 65536])
def test_every_grey_level_comes_back_from_every_point_of_its_cell(levels, dtype, monkeypatch):
    layer = Dequantize(levels).to(dtype)
    x = torch.arange(levels).view(-1, 1)
    x = x.to(torch.uint8 if levels <= 256 else torch.int32)
    almost_one = 1 - torch.finfo(dtype).eps / 2
    for noise in (0.0, 1e-30, 0.5, almost_one):
        monkeypatch.setattr(torch, "rand", lambda *args, noise=noise, **kwargs: torch.full(x.shape, noise, dtype=dtype))
        z, _ = layer(x)
        assert z.min() >= 0
        assert z.max() < 1
        assert torch.equal(layer.inverse(z)[0], x)


def test_noise_is_drawn_anew_at_every_call_and_by_the_seed():
    layer, x = Dequantize(256), torch.zeros(4, 5, dtype=torch.uint8)
    assert not torch.equal(layer(x)[0], layer(x)[0])
    torch.manual_seed(3)
    first = layer(x)[0]
    torch.manual_seed(3)
    assert torch.equal(layer(x)[0], first)


def test_noise_fills_the_cell_evenly():
    z, _ = Dequantize(4)(torch.full((20_000, 1), 2, dtype=torch.uint8))
    within = 4 * z - 2
    counts = torch.histc(within, bins=10, min=0, max=1)
    assert counts.sum() == 20_000
    assert ((counts - 2000).square() / 2000).sum() < 9 + 5 * math.sqrt(18)  # chi-square of 9 degrees of freedom


def test_its_log_determinant_is_that_of_dividing_by_the_levels():
    layer = Dequantize(256)
    z, log_det = layer(torch.zeros(3, 2, 5, dtype=torch.uint8))
    torch.testing.assert_close(log_det, torch.full((3,), -10 * math.log(256)))
    torch.testing.assert_close(layer.inverse(z)[1], -log_det)


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.uint32, torch.int64, torch.bool]
)
@pytest.mark.parametrize("levels", [2, 5])
def test_any_integer_dtype_is_taken(dtype, levels):
    x = torch.tensor([[0, 1, 1, 0]]).to(dtype)
    layer = Dequantize(levels)
    back, _ = layer.inverse(layer(x)[0])
    assert back.tolist() == [[0, 1, 1, 0]]


@pytest.mark.parametrize(("levels", "dtype"), [(2, torch.uint8), (256, torch.uint8), (257, torch.int32)])
def test_grey_levels_come_back_in_bytes_as_long_as_they_fit(levels, dtype):
    assert Dequantize(levels).inverse(torch.zeros(1, 2))[0].dtype == dtype


def test_points_outside_become_the_nearest_level():
    x, _ = Dequantize(4).inverse(torch.tensor([[-7.0, -0.01, 1.0, 1e6, math.inf, -math.inf]]))
    assert x.tolist() == [[0, 0, 3, 3, 3, 0]]


def test_what_is_not_a_number_becomes_level_0_with_a_warning():
    with pytest.warns(UserWarning, match="2 of 4 pixels are not a number and become level 0: the inverse of a layer"):
        x, _ = Dequantize(4).inverse(torch.tensor([[math.nan, 0.3], [0.6, math.nan]]))
    assert x.tolist() == [[0, 1], [2, 0]]


def test_the_middle_of_a_cell_is_where_it_is():
    assert Dequantize(4).center(torch.tensor([[0, 3]])).tolist() == [[0.125, 0.875]]


@pytest.mark.parametrize("levels", [1, 0, -4, 65537])
def test_a_number_of_levels_out_of_range_is_refused(levels):
    with pytest.raises(ValueError, match=f"between 2 and 65536, got {levels}"):
        Dequantize(levels)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64])
def test_negative_levels_are_refused_even_by_256_levels(dtype):
    with pytest.raises(ValueError, match="from 0 to 255, got values from -1 to 3"):
        Dequantize(256)(torch.tensor([[3, -1]], dtype=dtype))


def test_levels_out_of_range_are_refused_in_any_unsigned_dtype():
    with pytest.raises(ValueError, match="got values from 0 to 300"):
        Dequantize(256)(torch.tensor([[0, 300]]).to(torch.uint16))


def test_an_empty_batch_has_no_levels_out_of_range():
    assert Dequantize(5)(torch.zeros(0, 3, dtype=torch.int64))[0].shape == (0, 3)


def test_a_layer_of_double_precision_dequantizes_into_double_precision():
    assert Dequantize(5).double()(torch.zeros(1, 3, dtype=torch.uint8))[0].dtype == torch.float64


@pytest.mark.parametrize("alpha", [1e-6, 0.01, 0.4])
def test_the_squashed_logit_is_that_of_its_definition(alpha):
    x = torch.linspace(0, 1, 21, dtype=torch.float64)[None]
    z, log_det = Logit(alpha)(x)
    v = alpha + (1 - 2 * alpha) * x
    torch.testing.assert_close(z, (v / (1 - v)).log())
    torch.testing.assert_close(log_det, (math.log(1 - 2 * alpha) - v.log() - (1 - v).log()).sum(1))


def test_a_squashed_logit_is_finite_at_both_ends():
    z, log_det = Logit()(torch.tensor([[0.0, 1.0]]))
    assert z.isfinite().all()
    assert log_det.isfinite().all()


def test_far_latents_of_a_logit_have_finite_log_determinants():
    x, log_det = Logit().inverse(torch.tensor([[-80.0, 80.0, -1e4, 1e4]]))
    assert x.isfinite().all()
    assert log_det.isfinite().all()


@pytest.mark.parametrize("alpha", [-0.1, 0.5, 0.7, math.nan])
def test_a_squash_out_of_range_is_refused(alpha):
    with pytest.raises(ValueError, match=rf"alpha must be at least 0 and below 0.5, got {alpha}"):
        Logit(alpha)


def test_a_scale_shifts_first():
    z, log_det = Scale(-2.0, shift=3.0)(torch.tensor([[1.0, 2.0]]))
    assert z.tolist() == [[-8.0, -10.0]]
    assert log_det.item() == pytest.approx(2 * math.log(2))


@pytest.mark.parametrize("scale", [0.0, math.nan, math.inf])
def test_a_scale_without_an_inverse_is_refused(scale):
    with pytest.raises(ValueError, match=f"scale must be finite, got {scale}|scale must not be 0"):
        Scale(scale)
    with pytest.raises(ValueError, match="shift must be finite, got inf"):
        Scale(1.0, shift=math.inf)


def test_black_and_white_images_make_it_to_the_real_line_and_back():
    x = torch.randint(2, (5, 1, 4, 4), dtype=torch.uint8)
    preprocessing = Compose(Logit(), Scale(0.5))
    dequantize = Dequantize(2)
    z, _ = preprocessing(dequantize(x)[0])
    assert torch.equal(dequantize.inverse(preprocessing.inverse(z)[0])[0], x)
