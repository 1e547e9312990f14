import json

import numpy as np
import pytest

from experiments.__main__ import main
from experiments.anomaly.sets import SETS, load, prepared
from inverseflow.errors import DataError, OptionError


def test_columns_keep_their_order_and_do_not_depend_on_the_test_rows():
    rng = np.random.default_rng(0)
    normal = np.stack([rng.standard_cauchy(300), rng.integers(0, 5, 300), np.full(300, 3.0)], 1)
    test = rng.normal(size=(50, 3)) * 1e4
    found = prepared(normal, test, [True] * 50, np.random.default_rng(1))
    assert found.train.shape == (300, 2) and found.test.shape == (50, 2)
    assert np.array_equal(found.test[:, 0].argsort(), test[:, 0].argsort())
    assert abs(found.test).max() < 20
    other = prepared(normal, test[:5] * 9, [True] * 5, np.random.default_rng(1))
    assert np.array_equal(other.train, found.train)


def test_only_numbers_in_equal_steps_get_noise_of_one_step():
    rng = np.random.default_rng(0)
    normal = np.stack([rng.normal(size=400), rng.integers(0, 9, 400)], 1)
    found = prepared(normal, normal, np.zeros(400), rng)
    assert (found.noise[:, 0] == 0).all()
    median, scale = np.median(normal[:, 1]), np.subtract(*np.quantile(normal[:, 1], [0.75, 0.25])) / 1.35
    noisy = np.sinh(found.train[:, 1] + found.noise[:, 1]) * scale + median
    assert np.array_equal(np.round(noisy), normal[:, 1])
    assert np.ptp(noisy - normal[:, 1]) > 0.9


def test_sets_are_divided_as_they_say(shared_data):
    folder = shared_data("shuttle").parent
    shuttle = load("shuttle", folder, 0)
    assert len(shuttle.train) == 20_000
    assert (~shuttle.anomalous).sum() == 25_586 and shuttle.anomalous.sum() == 3_511
    table = load("yeast6", folder, 0)
    assert table.anomalous.sum() == 35
    assert np.isfinite(table.test).all()
    with pytest.raises(OptionError, match="there is no set 'yeast': choose from shuttle"):
        load("yeast", folder, 0)


def test_missing_data_are_named(tmp_path):
    (tmp_path / "tabular").mkdir()
    with pytest.raises(DataError, match=r"there is no .*glass5\.npz"):
        load("glass5", tmp_path, 0)


@pytest.mark.slow
def test_the_experiment_runs(shared_data, tmp_path):
    folder = shared_data("tabular").parent
    assert main(["anomaly", "--budget", "smoke", "--data-dir", str(folder), "-o", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "anomaly.json").read_text())
    assert result["complete"] and {row["name"] for row in result["rows"]} < set(SETS)
    text = (tmp_path / "anomaly.md").read_text()
    assert "mean, all" in text and "nan" not in text
