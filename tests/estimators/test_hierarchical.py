import numpy as np
import pytest
import torch

from inverseflow.bijections import ActNorm
from inverseflow.errors import DataError, OptionError
from inverseflow.estimators import HierarchicalOutlierDetector, log_prob_by_scale
from inverseflow.flows import Flow, Glow


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 17, (240, 1, 8, 8)).astype(np.uint8)


@pytest.fixture(scope="module")
def flow(images):
    torch.manual_seed(0)
    flow = Glow((1, 8, 8), levels=17, scales=3, steps=1, width=8).double()
    flow.initialize(torch.tensor(images))
    for parameter in flow.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return flow.eval()


def detector(flow, **options):
    return HierarchicalOutlierDetector(flow, **{"false_alarm_rate": 0.05, "random_state": 0} | options)


def test_the_contributions_of_scales_add_up_to_the_log_density(flow, images):
    parts = log_prob_by_scale(flow, images)
    assert list(parts) == ["preprocessing", "scale_1", "scale_2", "scale_3"]
    with torch.no_grad():
        expected = flow.log_prob_at_center(torch.tensor(images)).numpy()
    np.testing.assert_allclose(sum(parts.values()), expected, rtol=0, atol=1e-8)


def test_continuous_images_have_contributions_too():
    flow = Glow((1, 8, 8), levels=None, scales=2, steps=1, width=8).double()
    x = torch.randn(5, 1, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(sum(flow.log_prob_by_scale(x).values()), flow.log_prob(x))


def test_a_flow_without_scales_has_one():
    flow, x = Flow(ActNorm(3), (3,)), torch.randn(5, 3)
    parts = flow.log_prob_by_scale(x)
    assert list(parts) == ["preprocessing", "scale_1"]
    torch.testing.assert_close(parts["scale_1"], flow.log_prob(x))


def test_the_score_at_the_center_is_the_likelihood_of_the_image_without_noise(flow, images):
    x = torch.tensor(images[:4])
    noisy = torch.stack([flow.log_prob(x) for _ in range(20)]).detach()
    assert (noisy.std(0) > 0).all()
    assert torch.equal(flow.log_prob_at_center(x), flow.log_prob_at_center(x))
    assert ((flow.log_prob_at_center(x) - noisy.mean(0)).abs() < 30 * noisy.std(0)).all()


def test_the_ratio_to_the_same_flow_is_zero(flow, images):
    found = detector(flow, score="ratio", general=flow).fit(images)
    assert (found.score_samples(images) == 0).all()


def test_a_general_model_can_be_a_function(flow, images):
    likelihood = detector(flow, score="likelihood").fit(images)
    ratio = detector(flow, score="ratio", general=lambda x: x.double().flatten(1).sum(1)).fit(images)
    expected = likelihood.score_samples(images) - images.reshape(240, -1).sum(1)
    np.testing.assert_allclose(ratio.score_samples(images), expected)


def test_scores_are_what_they_say(flow, images):
    log_prob = detector(flow, score="likelihood").fit(images).score_samples(images)
    last = detector(flow).fit(images).score_samples(images)
    np.testing.assert_allclose(last, log_prob_by_scale(flow, images)["scale_3"])
    typical = detector(flow, score="typicality").fit(images)
    np.testing.assert_allclose(typical.score_samples(images), -abs(log_prob - typical.typical_))
    assert typical.typical_ == pytest.approx(log_prob.mean(), abs=3 * log_prob.std() / 120**0.5)


def test_images_below_the_threshold_raise_alarms(flow, images):
    found = detector(flow, false_alarm_rate=0.1).fit(images)
    rows = images.reshape(240, 64)
    assert np.array_equal(found.predict(rows), np.where(found.score_samples(images) < found.offset_, -1, 1))
    assert (found.predict(images) == -1).sum() == 23  # of 241 with a new one, at most a tenth lies below the 24th
    low, high = found.false_alarm_interval_
    assert low < 0.1 < high


def test_bad_input_is_refused(flow, images):
    with pytest.raises(OptionError, match="score='ratio' needs general model"):
        detector(flow, score="ratio").fit(images)
    with pytest.raises(OptionError, match="score='last-scale' takes no general model"):
        detector(flow, general=flow).fit(images)
    with pytest.raises(ValueError, match="unknown score 'first'"):
        detector(flow, score="first").fit(images)
    with pytest.raises(DataError, match="at least 100 scores, got 99"):
        detector(flow).fit(images[:99])
    with pytest.raises(DataError, match=r"takes images \(1, 8, 8\), got an array of shape \(240, 1, 4, 8\)"):
        detector(flow).fit(images[:, :, ::2])
    with pytest.raises(DataError, match="1 values of the images are not finite"):
        detector(flow).fit(np.where(np.arange(240 * 64).reshape(images.shape) == 7, np.nan, images))
    with pytest.raises(DataError, match="17 gray levels, and X holds fractions"):
        detector(flow).fit(images / 16)
    with pytest.raises(TypeError, match="flow must be a trained Flow"):
        detector(None).fit(images)
