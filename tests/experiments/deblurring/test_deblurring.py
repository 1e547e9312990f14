import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from skimage import metrics, restoration
from torch.nn import functional as F

from experiments.deblurring import experiment as deblurring
from experiments.deblurring.baselines import (
    WienerFilters,
    psnr,
    restored,
    richardson_lucy,
    ssim,
    unsupervised,
    wiener,
)
from experiments.deblurring.blended import Blended
from experiments.deblurring.blurred import NOISE, RADIUS, TEST, TRAINING, blurs, observation, observe, patches, picture
from experiments.deblurring.experiment import SIZES, learned, measure, tuned
from experiments.deblurring.four_corners import (
    BOUND,
    GRID,
    FourCorners,
    corner_factors,
    learn,
    power_spectrum,
)
from experiments.deblurring.report import METHODS, above, parts, without
from experiments.result import Result, Row
from inverseflow.errors import NonFiniteError
from inverseflow.ops import CORNERS

BLURS = blurs()
SMOKE = SIZES["smoke"]


def pinks(side=GRID):
    """Power spectrum of pictures: one over the squared frequency."""
    frequency = torch.fft.fftfreq(side, dtype=torch.float64)
    return 1e-3 / (frequency[:, None] ** 2 + frequency**2 + 1e-4)


def filters(name="Gaussian, σ 1.5", scales=(1.0,), kernel_size=7, rounds=2):
    return FourCorners(BLURS[name], pinks(), scales, kernel_size=kernel_size, rounds=rounds)


def shifted(kernel, corner):
    """The matrix that adds to each pixel those before it, seen from a corner, weighed by a kernel with a last tap 1."""
    side = 5
    down, right = (1 if "top" in corner else -1), (1 if "left" in corner else -1)
    matrix = torch.zeros(side * side, side * side, dtype=torch.float64)
    for row in range(side):
        for column in range(side):
            for a in range(kernel.shape[0]):
                for b in range(kernel.shape[1]):
                    y, x = row - down * a, column - right * b
                    if 0 <= y < side and 0 <= x < side:
                        matrix[row * side + column, y * side + x] += kernel[-1 - a, -1 - b]
    return matrix


def test_the_product_of_the_four_corners_is_the_inverse_of_the_product_of_dense_matrices():
    psf = torch.zeros(15, 15)
    psf[7, 7] = 1
    bank = FourCorners(psf, pinks(), (1.0,), kernel_size=3, rounds=1).double()
    product, gain = torch.eye(25, dtype=torch.float64), bank.log_gain.exp()
    for inverse, corner in zip(bank.inverses, CORNERS, strict=True):
        taps = 0.1 * torch.randn(3, 3, dtype=torch.float64)
        inverse.taps.data[0, 0] = taps
        taps[-1, -1] = 0
        taps *= BOUND / (BOUND + taps.abs().sum())
        taps[-1, -1] = 1
        product, gain = product @ shifted(taps, corner), gain * taps.sum()
    y = torch.randn(1, 1, 5, 5, dtype=torch.float64)
    mean = y.mean()
    expected = torch.linalg.solve(product, (y - mean).flatten()) * gain + mean
    torch.testing.assert_close(bank(y).flatten(), expected)


def test_the_factors_of_a_spectrum_multiply_to_it():
    response = torch.fft.fft2(F.pad(torch.rand(4, 3, dtype=torch.float64), (0, 61, 0, 60))).abs().square()
    spectrum = response + 5
    factors, log_mean = corner_factors(spectrum, 32)
    product = torch.full_like(spectrum, math.exp(log_mean)).to(torch.complex128)
    for factor, corner in zip(factors, CORNERS, strict=True):
        whole = F.pad(factor.flip(0, 1), (0, 32, 0, 32))  # lag 0 first
        if "right" in corner:
            whole = whole.flip(1).roll(1, 1)
        if "bottom" in corner:
            whole = whole.flip(0).roll(1, 0)
        product *= torch.fft.fft2(whole)
    torch.testing.assert_close(product.real, spectrum, rtol=1e-3, atol=0)
    assert product.imag.abs().max() < 1e-3


def test_rounds_are_equal_factors():
    one, _ = corner_factors(pinks(32) + 1, 16)
    two, _ = corner_factors(pinks(32) + 1, 16, rounds=2)
    response = torch.fft.fft2(F.pad(two[0].flip(0, 1), (0, 16, 0, 16))).square()
    torch.testing.assert_close(torch.fft.ifft2(response).real[:8, :8], one[0].flip(0, 1)[:8, :8], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", BLURS)
def test_point_spread_functions_are_centred_positive_and_of_sum_one(name):
    psf = BLURS[name]
    assert psf.shape == (2 * RADIUS + 1,) * 2 and psf.min() >= 0
    torch.testing.assert_close(psf.sum(), torch.tensor(1.0))
    torch.testing.assert_close(psf, psf.flip(0, 1))


def test_the_unlearned_filter_is_the_best_linear_one_away_from_the_edges():
    psf = BLURS["Gaussian, σ 1.5"]
    response = torch.fft.fft2(F.pad(psf.double(), (0, GRID - 15, 0, GRID - 15)).roll((-7, -7), (0, 1))).real
    impulse = torch.fft.ifft2(response / (response**2 + NOISE**2 / pinks())).real.roll((64, 64), (0, 1))
    unit = torch.zeros(1, 1, GRID, GRID)
    unit[..., 64, 64] = 1
    found = filters(kernel_size=15, rounds=3)(unit)[0, 0]
    inside = (slice(48, 81), slice(48, 81))
    error = (found.detach().double() - impulse)[inside].square().sum() / impulse[inside].square().sum()
    assert error < 0.01


def test_taps_stay_inside_the_bound_whatever_was_learned():
    bank = filters(scales=(1.0, 1e4))
    for inverse in bank.inverses:
        inverse.taps.data.normal_(std=100)
        assert (inverse.kernel().abs() * inverse.tap_mask).sum((1, 2, 3)).max() <= BOUND


def test_every_parameter_receives_a_gradient():
    model = Blended(filters(scales=(0.1, 10.0), kernel_size=3), 2)
    model(torch.rand(1, 1, 24, 24)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


def test_weights_of_a_bank_of_equal_filters_do_not_matter():
    bank = filters(scales=(1.0, 1.0, 1.0))
    y = torch.rand(2, 1, 24, 24)
    torch.testing.assert_close(Blended(bank, 3)(y), bank(y)[:, :1])


def test_learning_lowers_the_error_on_a_picture_that_was_not_seen():
    psf = BLURS["motion, 9 pixels"]
    training = [picture(name, 256) for name in ("cat", "coffee", "rocket")]
    linear = FourCorners(psf, power_spectrum(training), (1.0,), kernel_size=5, rounds=1)
    seen = observation("camera", 192, "motion, 9 pixels")

    def score():
        with torch.no_grad():
            return psnr(restored(lambda blurred: linear(blurred[None, None])[0, 0], seen.blurred), seen.truth)

    before, generator = score(), torch.Generator().manual_seed(0)
    learn(linear, lambda: patches(training, psf, 4, 64, generator), steps=60, learning_rate=0.03, margin=8)
    assert score() > before + 0.3
    assert score() > psnr(seen.blurred, seen.truth) + 1


def test_an_error_that_is_not_finite_stops_the_learning():
    batch = (torch.rand(1, 1, 24, 24), torch.full((1, 1, 24, 24), torch.inf))
    with pytest.raises(NonFiniteError, match="the error of step 0 is inf"):
        learn(filters(kernel_size=3), lambda: batch, steps=2, learning_rate=0.01, margin=4)


def test_blurring_is_the_convolution_of_the_inside_of_a_picture():
    psf = torch.rand(15, 15, generator=torch.Generator().manual_seed(0))
    truth = torch.rand(1, 1, 20, 21)
    clean = observe(truth, psf, torch.Generator().manual_seed(1)) - NOISE * torch.randn(
        1, 1, 6, 7, generator=torch.Generator().manual_seed(1)
    )
    expected = sum(
        psf[a, b] * truth[0, 0, 7 + 2 - (a - 7), 7 + 3 - (b - 7)].double() for a in range(15) for b in range(15)
    )
    torch.testing.assert_close(clean[0, 0, 2, 3].double(), expected.double(), rtol=1e-5, atol=1e-5)


def test_nothing_is_learned_on_what_is_measured():
    assert not set(TEST) & set(TRAINING)
    assert all(set(size.test) <= set(TEST) and set(size.training) <= set(TRAINING) for size in SIZES.values())


def test_every_picture_is_there_without_a_network():
    for name in (*TEST, *TRAINING):
        pixels = picture(name, 256)
        assert pixels.ndim == 2 and min(pixels.shape) >= GRID and 0 <= pixels.min() < pixels.max() <= 1


def test_noise_depends_on_names_alone():
    first, again = (observation("text", 128, "motion, 9 pixels") for _ in range(2))
    torch.testing.assert_close(first.blurred, again.blurred, rtol=0, atol=0)
    assert first.truth.shape == first.blurred.shape


def test_scores_are_those_of_scikit_image():
    truth, estimate = torch.rand(2, 32, 32, generator=torch.Generator().manual_seed(0)).numpy()
    expected = -10 * np.log10(np.mean((truth - estimate) ** 2))
    assert psnr(torch.tensor(estimate), torch.tensor(truth)) == pytest.approx(expected, abs=1e-4)
    assert ssim(torch.tensor(estimate), torch.tensor(truth)) == pytest.approx(
        metrics.structural_similarity(truth, estimate, data_range=1), abs=1e-5
    )


@pytest.mark.parametrize(
    "method", [lambda psf, y: wiener(psf, 0.01, y), unsupervised, lambda psf, y: richardson_lucy(psf, 10, y)]
)
def test_the_rivals_improve_on_the_blurred_picture(method):
    seen = observation("camera", 128, "Gaussian, σ 1.5")
    estimate = restored(lambda blurred: method(BLURS["Gaussian, σ 1.5"], blurred), seen.blurred)
    assert psnr(estimate, seen.truth) > psnr(seen.blurred, seen.truth) + 0.5


@pytest.mark.parametrize(
    "method", [partial(wiener, BLURS["motion, 9 pixels"], 0.01), partial(unsupervised, BLURS["motion, 9 pixels"])]
)
def test_wiener_does_not_ring_from_the_edges(method):
    """A ramp, which is no blur's business, but jumps where it is repeated."""
    ramp = torch.linspace(0.2, 0.8, 64).expand(64, 64)
    ramp = ramp + 0.001 * torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    assert (method(ramp) - ramp)[16:-16].abs().max() < 0.1


def test_the_rivals_are_tuned_to_the_least_error_of_the_training_pictures():
    size = replace(SMOKE, training=("clock",), training_side=SMOKE.side)
    balance, iterations = tuned("Gaussian, σ 1.5", size)
    seen = observation("clock", size.side, "Gaussian, σ 1.5")

    def score(method):
        return psnr(restored(method, seen.blurred), seen.truth)

    found = score(partial(wiener, BLURS["Gaussian, σ 1.5"], balance))
    for factor in (0.3, 3):
        assert score(partial(wiener, BLURS["Gaussian, σ 1.5"], factor * balance)) < found
    found = score(partial(richardson_lucy, BLURS["Gaussian, σ 1.5"], iterations))
    for factor in (0.3, 3):
        assert score(partial(richardson_lucy, BLURS["Gaussian, σ 1.5"], round(factor * iterations))) < found


def test_learned_filters_are_the_same_each_time():
    size = replace(SMOKE, steps=(1, 1))
    first, again = (vars(learned(BLURS["motion, 9 pixels"], 0.01, size)) for _ in range(2))
    for name, model in first.items():
        torch.testing.assert_close(model.state_dict(), again[name].state_dict(), rtol=0, atol=0)


def test_the_bank_of_wiener_filters_is_that_of_scikit_image_on_a_picture_and_its_mirror_images():
    psf = torch.rand(15, 15, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    psf /= psf.sum()
    y = torch.rand(2, 1, 40, 33, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    endless = np.pad(y, ((0, 0), (0, 0), (0, 40), (0, 33)), mode="symmetric")
    expected = [
        [restoration.wiener(endless[index, 0], psf.numpy(), balance, clip=False) for balance in (0.3, 0.01)]
        for index in range(2)
    ]
    inside = torch.tensor(np.array(expected))[..., :40, :33]
    torch.testing.assert_close(WienerFilters(psf, (0.3, 0.01))(y), inside)


def test_the_control_weighs_wiener_filters_around_the_tuned_one_by_a_network_and_learns_nothing_else():
    balance = 0.02
    models = learned(BLURS["motion, 9 pixels"], balance, replace(SMOKE, steps=(1, 1)))
    control, bank = models.blended_wiener, models.blended_wiener.filters
    assert {name.partition(".")[0] for name, _ in control.named_parameters()} == {"weights"}
    assert len(bank.balances) == len(models.blended.filters.log_gain)
    assert bank.balances.min() < balance < bank.balances.max()
    assert torch.isclose(bank.balances, torch.tensor(balance)).any()


def test_the_control_is_learned_as_blended_is_from_the_same_weights_on_the_same_patches(monkeypatch):
    learnings = []

    def record(model, draw, **options):
        learnings.append((model, [draw() for _ in range(3)], options))

    monkeypatch.setattr(deblurring, "learn", record)
    models = learned(BLURS["motion, 9 pixels"], 0.02, replace(SMOKE, steps=(5, 7)))
    (_, *seen_by_blended), (control, *seen_by_control) = (
        next(each for each in learnings if each[0] is model) for model in (models.blended, models.blended_wiener)
    )
    assert seen_by_control[1]["steps"] == 7
    torch.testing.assert_close(seen_by_control, seen_by_blended, rtol=0, atol=0)
    torch.testing.assert_close(control.weights.state_dict(), models.blended.weights.state_dict(), rtol=0, atol=0)


@pytest.mark.slow
def test_ours_is_above_the_blurred_picture_and_nothing_beats_the_best_balance_with_another():
    measured = measure("Gaussian, σ 1.5", SMOKE)
    for name in SMOKE.test:
        found = measured[name]["psnr"]
        assert set(found) == set(METHODS)
        assert found["linear"] > found["blurred"] + 0.5 and found["blended"] > found["blurred"]
        assert found["wiener_best"] >= found["wiener"]
    assert measured["all pictures"]["times"]["linear"]["median"] > 0


def test_the_verdict_names_the_pictures_on_which_wiener_is_not_reached():
    rows = [
        Row(name, "motion", {}, {"psnr": {**dict.fromkeys(METHODS, 30.0), "linear": ours}})
        for name, ours in {"a": 31.0, "b": 30.0, "c": 29.0}.items()
    ]
    said = above(rows, "linear")
    assert said.endswith("Not above Wiener on b, c.")
    assert "above Wiener on 1 of 3 (+0.00 dB on average)" in said


def scored(**scores):
    """A row of one picture on which all methods but some have 30 dB."""
    return Row(
        "camera",
        "motion",
        {},
        {"psnr": {**dict.fromkeys(METHODS, 30.0), **scores}, "ssim": dict.fromkeys(METHODS, 1.0)},
    )


def test_what_blending_gains_without_inverse_convolutions_is_said_as_a_share_of_the_mean_gain():
    said = without([scored(blended=33.0, blended_wiener=32.5), scored(blended=31.0, blended_wiener=31.5)])
    assert "of the average gain of +2.00 dB of blended over Wiener, blended Wiener reaches +2.00 dB (100%)" in said
    assert said.endswith("Blended is above blended Wiener on 1 of 2 (+0.00 dB).")
    assert "reaches -1.00 dB (-50%)" in without([scored(blended=32.0, blended_wiener=29.0)])


def test_there_is_no_share_of_no_gain():
    said = without([scored(blended=29.0, blended_wiener=31.0)])
    assert "blended gains nothing over Wiener on average (-1.00 dB), blended Wiener +1.00 dB" in said
    assert "%" not in said
    assert "%" not in without([scored()])


def test_every_blur_has_its_own_sentence_about_the_control():
    rows = [
        scored(blended=32.0, blended_wiener=31.0),
        replace(scored(blended=32.0, blended_wiener=30.5), part="defocus"),
    ]
    result = Result("deblurring", "smoke", 1, {}, True, tuple(rows))
    said = [text for text in parts(result) if text.startswith("Without inverse convolutions")]
    assert ["(50%)" in text for text in said] == [True, False] and "(25%)" in said[1]
