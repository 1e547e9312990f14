import json

import numpy as np
import pytest
import torch
from sklearn.covariance import ledoit_wolf
from torch import nn

from applications.defects import detectors
from applications.defects.__main__ import main
from applications.defects.detectors import NearestFeatures, NormalFeatures
from applications.defects.surfaces import DEFECTS, assembled, places, tiles, with_defect
from applications.pictures import read_picture, write_png
from experiments.__main__ import main as measure
from inverseflow.errors import DataError


class Layers(nn.Module):
    """Feature maps at 1/4, 1/8 and 1/16 of the size, under the names of the backbone."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        sizes = [(3, 4, 4), (4, 4, 1), (4, 4, 1), (4, 4, 2), (4, 4, 1), (4, 4, 1), (4, 4, 1), (4, 4, 2)]
        steps = [nn.Sequential(nn.Conv2d(i, o, s, s), nn.Tanh()) for i, o, s in sizes]
        self._blocks = nn.Sequential(*steps)

    def forward(self, x):
        return self._blocks(x)


@pytest.fixture
def network(monkeypatch):
    found = Layers().eval()
    # The blocks that the detectors see are 2, 4 and 7, here at 1/4, 1/8 and 1/16.
    monkeypatch.setattr("applications.defects.__main__.backbone", lambda data_dir: found)
    return found


def surface(height, width, seed=0):
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


def test_tiles_cover_every_pixel_and_go_back():
    picture = surface(70, 50)
    for side in (16, 32, 48):
        found = tiles(picture, side)
        assert found.shape[1:] == (3, side, side) and len(found) == len(places(70, 50, side))
        assert torch.equal(assembled(found[:, 0], 70, 50), picture[0])
    with pytest.raises(DataError, match="a picture of 50×70 pixels holds no tile of 64"):
        tiles(picture, 64)


@pytest.mark.parametrize("kind", DEFECTS)
def test_a_defect_is_where_its_mask_is_and_nowhere_else(kind):
    for seed in range(5):
        picture = surface(64, 80, seed)
        changed, mask = with_defect(picture, kind, np.random.default_rng(seed))
        assert torch.equal(changed[:, ~mask], picture[:, ~mask])
        assert (changed[:, mask] - picture[:, mask]).abs().mean() > 0.02
        assert 30 < mask.sum() < 0.1 * mask.numel()
        assert changed.min() >= 0 and changed.max() <= 1


def test_the_normal_distribution_is_that_of_the_features(network):
    images, others = (torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(n)) for n in (40, 3))
    found = NormalFeatures(network, images, vectors=10**6, seed=0)
    joined = [detectors._joined(network, some, finest=True).double().numpy() for some in (images, others)]
    rows, other_rows = (some.transpose(0, 2, 3, 1).reshape(-1, some.shape[1]) for some in joined)
    covariance, _ = ledoit_wolf(rows)
    difference = other_rows - rows.mean(0)
    expected = np.sqrt(np.einsum("ni,ij,nj->n", difference, np.linalg.inv(covariance), difference)).reshape(3, 8, 8)
    maps = found.anomaly_map(others)
    assert maps.shape == (3, 32, 32)
    np.testing.assert_allclose(maps.mean(), expected.mean(), rtol=0.02)  # interpolation moves weight at the border only
    assert np.abs(maps[:, 1:-1, 1:-1].reshape(-1)).max() <= expected.max() + 1e-9


def test_the_nearest_neighbor_of_a_learned_image_is_itself(network):
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found = NearestFeatures(network, images, vectors=10**6, seed=0)
    np.testing.assert_allclose(found.anomaly_map(images), 0, atol=1e-5)
    assert found.anomaly_map(1 - images).min() > 0.01


def test_the_command_learns_a_surface_and_finds_what_does_not_belong_to_it(network, tmp_path, capsys):
    good = tmp_path / "good"
    write_png(good / "a.png", 0.3 * surface(160, 160))
    write_png(good / "b.png", 0.3 * surface(96, 33, seed=1))
    bad = 0.3 * surface(70, 64, seed=2)
    bad[:, 40:56, 8:24] = 1
    write_png(tmp_path / "bad.png", bad)
    model, out = tmp_path / "model", tmp_path / "map.png"
    assert main(["train", str(good), "-o", str(model), "--side", "32", "--rate", "0", "--steps", "30"]) == 0
    assert "learned 31 tiles of 32 pixels" in capsys.readouterr().out
    assert main(["inspect", str(tmp_path / "bad.png"), "--model", str(model), "-o", str(out)]) == 0
    said = capsys.readouterr().out
    assert "of 6 tiles raise an alarm (no rate is promised)" in said and not said.startswith("0 ")
    row, column = (int(word.strip(",")) for word in np.array(said.split())[[-3, -1]])
    assert 36 <= row < 60 and 4 <= column < 28
    assert read_picture(out).shape == (3, 70, 64)
    (model / "tiles.json").write_text('{"side": 33}')
    assert main(["inspect", str(tmp_path / "bad.png"), "--model", str(model), "-o", str(out)]) == 2
    assert "the side of a tile can't be 33" in capsys.readouterr().err


def test_bad_input_is_refused_in_one_sentence(network, tmp_path, capsys):
    good, model = tmp_path / "good", str(tmp_path / "model")

    def said(*arguments):
        assert main([*arguments]) == 2
        return capsys.readouterr().err

    assert "there is no folder" in said("train", str(good), "-o", model)
    good.mkdir()
    assert "holds no picture" in said("train", str(good), "-o", model)
    write_png(good / "a.png", surface(40, 100))
    assert "a.png: a picture of 100×40 pixels holds no tile of 64" in said("train", str(good), "-o", model)
    few = said("train", str(good), "-o", model, "--side", "32")
    assert "makes 8 tiles of 32 pixels, and a threshold at a rate of 0.01 needs 200" in few and "--rate 0" in few
    for option, value, message in (
        ("--side", "40", "--side must be a multiple of 16 from 32 on, got 40"),
        ("--rate", "1", "--rate must be 0 or lie between 0 and 1"),
        ("--steps", "0", "--steps must be at least 1"),
    ):
        assert message in said("train", str(good), "-o", model, option, value)
    inspect = ("inspect", str(good / "a.png"), "--model", model, "-o", str(tmp_path / "map.png"))
    assert "estimator.json is missing or damaged" in said(*inspect)
    assert "there is no picture" in said("inspect", "absent.png", *inspect[2:])


@pytest.mark.slow
def test_the_experiment_runs(shared_data, tmp_path):
    folder = shared_data("backbone").parent
    assert measure(["defects", "--budget", "smoke", "--data-dir", str(folder), "-o", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "defects.json").read_text())["complete"]
    text = (tmp_path / "defects.md").read_text()
    assert "nearest neighbor" in text and "nan" not in text
