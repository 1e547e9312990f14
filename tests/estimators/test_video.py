import pickle

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from inverseflow.errors import DataError
from inverseflow.estimators import VideoFlowDetector

FEW_STEPS = {"max_steps": 2, "validate_every": 2, "learning_rate": 1e-9, "progress": False}


def clips(count, seed, *, speed=1, shape="square"):
    """Synthetic clips of a shape that moves to the right over a texture."""
    rng = np.random.default_rng(seed)
    texture = 0.1 * np.random.default_rng(0).random((16, 16))
    frames = np.tile(texture, (count, 5, 1, 1)) + 0.02 * rng.normal(size=(count, 5, 16, 16))
    picture = {"square": np.ones((4, 4)), "cross": np.eye(4) + np.eye(4)[::-1]}[shape]
    for clip in frames:
        row, column = rng.integers(0, 12), rng.integers(0, 4)
        for number, frame in enumerate(clip):
            place = (column + speed * number) % 13
            frame[row : row + 4, place : place + 4] += picture
    return frames


def detector(**options):
    defaults = {"false_alarm_rate": None, "random_state": 0, "static": 3, "dynamic": 2, "fit_options": FEW_STEPS}
    return VideoFlowDetector(**defaults | options)


def test_untrained_flows_score_the_codes_by_their_gaussians():
    X = clips(30, 1)
    found = detector().fit(X)
    codes = found.autoencoder_.encode(torch.tensor(X).float()).detach().double().split([3, 2], 1)
    for flow, part, scores in zip(found.flows_, codes, found.log_prob_by_stream(X).T, strict=True):
        normal = torch.distributions.Normal(flow.preprocessing.mean.double(), flow.preprocessing.deviation.double())
        np.testing.assert_allclose(scores, normal.log_prob(part).sum(1), rtol=1e-4)
    np.testing.assert_allclose(found.score_samples(X), found.log_prob_by_stream(X).sum(1))
    np.testing.assert_allclose(found.score_samples(X[:2]), found.score_samples(X)[:2], rtol=1e-4)
    assert np.array_equal(pickle.loads(pickle.dumps(found)).score_samples(X), found.score_samples(X))
    assert (found.predict(X) == 1).all()


def test_each_stream_sees_its_own_part_of_a_clip():
    X = clips(30, 1)
    found, still = detector().fit(X), X + np.random.default_rng(2).normal(size=(1, 1, 16, 16))
    other_past = X.copy()
    other_past[:, :-1] += np.random.default_rng(2).normal(size=(30, 4, 16, 16))
    before = found.log_prob_by_stream(X)
    np.testing.assert_allclose(found.log_prob_by_stream(still)[:, 1], before[:, 1], rtol=1e-3)
    np.testing.assert_allclose(found.log_prob_by_stream(other_past)[:, 0], before[:, 0], rtol=1e-4)


def test_bad_clips_are_refused():
    X = clips(30, 1)
    with pytest.raises(DataError, match=r"at least two frames, got the shape \(30, 1, 16, 16\)"):
        detector().fit(X[:, :1])
    with pytest.raises(DataError, match="38400 values of X are not finite"):
        detector().fit(X * np.nan)
    with pytest.raises(DataError, match="calibration=0.2 of n_samples = 30 rows are 6"):
        detector(false_alarm_rate=0.05).fit(X)
    with pytest.raises(ValueError, match="static must be at least 2, got 1"):
        detector(static=1).fit(X)


@pytest.mark.slow
def test_a_new_shape_and_a_new_speed_are_found_by_the_streams_that_see_them():
    options = {"max_steps": 1500, "progress": False}
    found = VideoFlowDetector(false_alarm_rate=0.1, fit_options=options, random_state=0).fit(clips(1000, 1))
    normal = found.log_prob_by_stream(clips(200, 2))
    labels = np.repeat([0, 1], 200)

    def aurocs(other):
        scores = np.concatenate([normal, found.log_prob_by_stream(other)])
        return [roc_auc_score(labels, -part) for part in (scores[:, 0], scores[:, 1], scores.sum(1))]

    static, _, both = aurocs(clips(200, 3, shape="cross"))
    assert static > 0.8 and both > 0.9
    static, dynamic, both = aurocs(clips(200, 3, speed=2))
    assert static < 0.7 < 0.9 < dynamic  # a single frame does not tell the speed
    assert both > 0.9
