import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from torch import nn

from inverseflow.errors import CheckpointError, DataError, OptionError
from inverseflow.estimators import FeatureFlowDetector, aupro, feature_maps, position_code

FEW_STEPS = {"max_steps": 2, "validate_every": 2, "learning_rate": 1e-9, "progress": False}


def convolutions(padding_mode="zeros"):
    torch.manual_seed(0)
    first = nn.Conv2d(1, 6, 3, padding=1, padding_mode=padding_mode)
    second = nn.Conv2d(6, 8, 3, padding=1, padding_mode=padding_mode)
    return nn.Sequential(first, nn.Tanh(), nn.AvgPool2d(2), second, nn.Tanh())


def textures(count, seed):
    """Smooth noise."""
    noise = torch.randn(count, 1, 18, 18, generator=torch.Generator().manual_seed(seed))
    return nn.functional.avg_pool2d(noise, 3, stride=1)


def detector(network, layers=("1", "4"), **options):
    defaults = {"steps": 1, "width": 4, "position_channels": 4, "false_alarm_rate": None, "random_state": 0}
    return FeatureFlowDetector(network, layers, **{**defaults, "fit_options": FEW_STEPS} | options)


def test_the_position_code_is_its_formula_and_tells_all_places_apart():
    code = position_code(12, 5, 7)
    for index in range(3):
        omega = 10_000 ** (-4 * index / 12)
        expected = [np.sin(omega * 6), np.cos(omega * 6), np.sin(omega * 2), np.cos(omega * 2)]
        np.testing.assert_allclose(code[index::3, 2, 6], expected, rtol=1e-5)
    distances = torch.pdist(code.flatten(1).T.double())
    assert distances.min() > 0.01
    np.testing.assert_allclose(code.square().sum(0), 6.0, rtol=1e-6)  # all places are equally long
    assert position_code(0, 2, 3).shape == (0, 2, 3)
    with pytest.raises(ValueError, match="position_channels must be a multiple of 4, got 6"):
        position_code(6, 2, 2)


def test_an_untrained_flow_scores_each_layer_by_the_gaussian_of_its_channels():
    network, images = convolutions(), textures(12, 0)
    found = detector(network, ["1"], position_channels=0).fit(images)
    features = feature_maps(network, ["1"], images)[0].permute(0, 2, 3, 1)
    standard = found.flows_[0].preprocessing
    normal = torch.distributions.Normal(standard.mean, standard.deviation)
    mean_log_prob = normal.log_prob(features).mean(3)
    expected = 1 - (mean_log_prob - mean_log_prob.max()).exp()
    np.testing.assert_allclose(found.anomaly_map(images), expected, atol=1e-5)
    np.testing.assert_allclose(found.score_samples(images), -expected.amax((1, 2)), atol=1e-5)
    latent = torch.distributions.Normal(0.0, 1.0).log_prob((features - standard.mean) / standard.deviation).mean(3)
    expected = 1 - (latent - latent.max()).exp()
    without = detector(network, ["1"], position_channels=0, log_det=False).fit(images)
    np.testing.assert_allclose(without.anomaly_map(images), expected, atol=1e-5)
    found.set_params(log_det=False).calibrate(images)
    np.testing.assert_allclose(found.anomaly_map(images), expected, atol=1e-5)
    assert found.offset_ == pytest.approx(-float(expected.max()), abs=1e-5)


def test_without_the_code_shifted_images_have_shifted_maps():
    network, images = convolutions("circular"), textures(12, 0)
    without = detector(network, ["1"], position_channels=0).fit(images)
    np.testing.assert_allclose(
        without.anomaly_map(images.roll(4, 3)), np.roll(without.anomaly_map(images), 4, 2), atol=1e-5
    )
    learned = {"max_steps": 40, "validate_every": 40, "learning_rate": 1e-2, "progress": False}
    with_code = detector(network, ["1"], position_channels=8, fit_options=learned).fit(images)
    shifted = with_code.anomaly_map(images.roll(4, 3))
    assert abs(shifted - np.roll(with_code.anomaly_map(images), 4, 2)).max() > 1e-3


def test_scores_do_not_depend_on_the_other_images_and_survive_pickle():
    images = textures(12, 0)
    found = detector(convolutions()).fit(images)
    np.testing.assert_allclose(found.score_samples(images[:2]), found.score_samples(images)[:2], atol=1e-5)
    assert found.anomaly_map(images[:2]).shape == (2, 16, 16)
    assert np.array_equal(pickle.loads(pickle.dumps(found)).score_samples(images), found.score_samples(images))
    again = clone(found).fit(images.numpy())
    np.testing.assert_allclose(again.score_samples(images), found.score_samples(images), atol=1e-5)
    assert (found.predict(images) == 1).all()


def test_a_saved_detector_gives_the_same_maps_with_the_same_network_only(tmp_path):
    images, network = textures(12, 0), convolutions()
    network[0].weight.data[2], network[0].bias.data[2] = 0, 1
    found = detector(network).fit(images)
    found.save(tmp_path)
    loaded = FeatureFlowDetector.load(tmp_path, network)
    assert np.array_equal(loaded.anomaly_map(images), found.anomaly_map(images))
    assert np.array_equal(loaded.predict(images), found.predict(images))
    assert {**loaded.get_params(), "network": None} == {**found.get_params(), "network": None}
    assert not [path for path in tmp_path.rglob("*") if path.suffix not in ("", ".json", ".safetensors")]
    with pytest.raises(CheckpointError, match="learned on features of a network with other weights: give that network"):
        FeatureFlowDetector.load(tmp_path, convolutions())
    path = tmp_path / "estimator.json"
    text = path.read_text()
    for old, new, message in (
        ("FeatureFlowDetector", "OvAClassifier", "holds a OvAClassifier, not a FeatureFlowDetector"),
        ('"peaks_"', '"tops_"', "is missing or damaged: KeyError"),
        ('"layer_1"', '"layer_0"', "flows of other layers"),
        (text, text[:-9], "is missing or damaged: JSONDecodeError"),
    ):
        path.write_text(text.replace(old, new))
        with pytest.raises(CheckpointError, match=message):
            FeatureFlowDetector.load(tmp_path, network)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"estimator\.json is missing or damaged: FileNotFoundError"):
        FeatureFlowDetector.load(tmp_path, network)


def test_the_network_stays_as_it_is():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    detector(network, ["1"]).fit(textures(12, 0))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.training and network[1].training
    assert not network[1]._forward_hooks


def test_constant_channels_are_left_out():
    network = convolutions()
    network[0].weight.data[2], network[0].bias.data[2] = 0, 1
    found = detector(network, ["1"]).fit(textures(12, 0))
    assert found.channels_[0].tolist() == [0, 1, 3, 4, 5]
    network[0].weight.data[:5] = 0
    with pytest.raises(DataError, match="1 channels of layer '1' vary, and a flow needs 2"):
        detector(network, ["1"]).fit(textures(12, 0))


def test_a_threshold_is_set_on_held_out_images():
    images = textures(220, 0)
    found = detector(convolutions(), ["4"], false_alarm_rate=0.1, calibration=0.5, vectors=500).fit(images)
    alarms = (found.predict(textures(200, 1)) == -1).mean()
    low, high = found.false_alarm_interval_
    assert low - 0.05 < alarms < high + 0.05
    with pytest.raises(DataError, match="calibration=0.2 of n_samples = 220 rows are 44"):
        detector(convolutions(), ["4"], false_alarm_rate=0.1).fit(images)


def test_bad_input_is_refused():
    network, images = convolutions(), textures(12, 0)
    with pytest.raises(OptionError, match="the network has no layer 'head'; it has 0, 1, 2, 3, 4"):
        detector(network, ["head"]).fit(images)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(256, 4))
    with pytest.raises(OptionError, match="layer '1' has no feature maps"):
        detector(flat, ["1"]).fit(images)
    with pytest.raises(DataError, match=r"X must be images \(N, C, H, W\), got an array of shape \(12, 256\)"):
        detector(network).fit(images.flatten(1))
    with pytest.raises(DataError, match="1 values of X are not finite"):
        detector(network).fit(torch.where(images == images.max(), torch.nan, images))
    with pytest.raises(DataError, match="features of layer '1' are not finite"):
        broken = convolutions()
        broken[0].weight.data[0] = torch.inf
        detector(broken).fit(images)


@pytest.mark.slow
def test_defects_are_found_where_they_are():
    network = convolutions()
    options = {"max_steps": 600, "progress": False}
    found = detector(network, steps=4, width=16, position_channels=8, fit_options=options).fit(textures(150, 0))
    images, masks = textures(60, 1), torch.zeros(60, 16, 16)
    generator = torch.Generator().manual_seed(2)
    for image, mask in zip(images[:30], masks, strict=False):
        row, column = torch.randint(1, 11, (2,), generator=generator).tolist()
        image[0, row : row + 4, column : column + 4] = 0.8
        mask[row : row + 4, column : column + 4] = 1
    maps = found.anomaly_map(images)
    assert roc_auc_score(masks.amax((1, 2)), -found.score_samples(images)) > 0.9
    assert roc_auc_score(masks.flatten(), maps.ravel()) > 0.85
    assert aupro(maps, masks) > 0.6
