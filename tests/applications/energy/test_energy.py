import numpy as np
import pytest
import torch

from applications.energy.__main__ import main
from applications.energy.experiment import SIZES, demand, measure, pulse
from applications.energy.latents import LatentWindows, detectors, distance_from_normal
from applications.energy.series import FAULTS, Series, calendar, read_series, windows, with_faults
from inverseflow.bijections import Compose
from inverseflow.errors import DataError, OptionError


def load(days, seed=0):
    """A synthetic load of days and weeks with noise."""
    count = days * 48
    times = np.datetime64("2001-01-01T00:00:00", "s") + np.arange(count) * np.timedelta64(1800, "s")
    hours = np.arange(count) / 2
    values = 100 + 20 * np.sin(2 * np.pi * hours / 24) - 10 * (hours // 24 % 7 >= 5)
    return Series(times, values + np.random.default_rng(seed).normal(0, 1, count))


def write(path, series):
    lines = [f"{str(time).replace('T', ' ')},{value}" for time, value in zip(series.times, series.values, strict=True)]
    path.write_text("time,load\n" + "\n".join(lines) + "\n")
    return path


def test_windows_do_not_cross_a_gap():
    series = load(2)
    kept = np.delete(np.arange(96), [40, 41])
    found, starts = windows(Series(series.times[kept], series.values[kept]), 8)
    assert len(found) == (40 - 7) + (54 - 7)
    assert not {*range(33, 40)} & {*starts.tolist()}
    assert np.array_equal(found[33], series.values[42:50])


def test_the_calendar_repeats_after_a_week_and_knows_the_weekend():
    times = np.datetime64("2024-02-29T00:00:00", "s") + np.arange(14 * 24) * np.timedelta64(3600, "s")  # a Thursday
    found = calendar(times)
    np.testing.assert_allclose(found[: 7 * 24], found[7 * 24 :], atol=1e-9)
    assert np.flatnonzero(found[: 7 * 24, 4]).tolist() == [*range(2 * 24, 4 * 24)]
    np.testing.assert_allclose(np.hypot(found[:, 0], found[:, 1]), 1)


def test_synthetic_faults_are_where_they_are_said_to_be():
    series = load(42)
    changed, faulty = with_faults(series, 4, np.random.default_rng(0))
    assert np.array_equal(changed.values[~faulty], series.values[~faulty])
    assert np.diff(faulty.astype(int)).clip(0).sum() == 4 * len(FAULTS)
    with pytest.raises(DataError, match="too few for 500 faults"):
        with_faults(series, 100, np.random.default_rng(0))


def test_the_training_part_is_removed_from_the_test_part():
    data = {"train": np.arange(100.0), "test": np.arange(300.0), "test_label": np.zeros(300)}
    data["test_label"][250] = 1
    split = pulse(data, SIZES["smoke"])
    assert split.test.min() == 100
    assert [250 in window for window in split.test] == split.faulty.tolist()
    with pytest.raises(DataError, match="does not begin with its training part"):
        pulse({**data, "train": np.ones(100)}, SIZES["smoke"])


def test_faults_are_only_in_the_windows_after_the_usual_part():
    split = demand(load(90), SIZES["smoke"], 0)
    assert len(split.train) == 42 * 48 - 23 and 0 < split.faulty.sum() < len(split.faulty)
    assert split.train_context.shape == (len(split.train), 5)


def test_latents_of_a_flow_that_does_nothing_are_the_standardized_windows():
    series = load(5)
    rows, starts = windows(series, 8)
    context = calendar(series.times[starts])
    model = LatentWindows(rows, context, max_steps=1)
    model.flow.bijection = Compose()
    standardize = model.flow.preprocessing
    with torch.no_grad():
        expected = standardize(torch.from_numpy(rows).float())[0].double().numpy()
    np.testing.assert_array_equal(model.encode(rows, context), expected)


@pytest.mark.slow
def test_latents_of_usual_load_are_normal_and_faults_are_not():
    split = demand(load(90), SIZES["smoke"], 0)
    model = LatentWindows(split.train, split.train_context, max_steps=200)
    latents = model.encode(split.train, split.train_context)
    assert distance_from_normal(latents) < 0.1
    found = detectors(0.01, 0)["isolation forest"].fit(latents)
    scores = found.decision_function(model.encode(split.test, split.test_context))
    assert scores[split.faulty].mean() < scores[~split.faulty].mean() - 0.02


@pytest.mark.slow
def test_the_experiment_measures_both_series(shared_data):
    folder = shared_data("series").parent
    for name in ("electricity demand, synthetic faults", "UCR 135, internal bleeding"):
        (values,) = measure(name, SIZES["smoke"], 0, folder).values()
        assert values["local outlier factor"].keys() == {"raw", "latent"}
        assert values["density of the flow"]["latent"]["auroc"] > 0.5


@pytest.mark.slow
def test_the_command_finds_a_fault(tmp_path, capsys):
    series = load(56)
    series.values[45 * 48 : 45 * 48 + 12] += 60
    path = write(tmp_path / "load.csv", series)
    assert main([str(path), "--days", "40", "--steps", "150"]) == 0
    assert "2001-02-1" in capsys.readouterr().out


def test_bad_series_are_refused_with_the_line(tmp_path, capsys):
    path = tmp_path / "load.csv"

    def said(text, *arguments):
        path.write_text(text)
        assert main([str(path), *arguments]) == 2
        return capsys.readouterr().err

    good = "time,load\n2001-01-01 00:00,1\n2001-01-01 01:00,2\n"
    assert "line 4: give a time and a number, got '2001-01-01 02:00,x'" in said(good + "2001-01-01 02:00,x\n")
    assert "line 4: the load is nan: leave out lines" in said(good + "2001-01-01 02:00,nan\n")
    assert "line 4: 2001-01-01 00:30 does not come after the time before it" in said(good + "2001-01-01 00:30,1\n")
    assert "holds 2 values" in said(good)
    assert "no window of 12 values without a gap fits into 3 values" in said(good + "2001-01-01 02:00,1\n")
    write(path, load(3))
    text = path.read_text()
    assert "both are needed, and many of the first" in said(text, "--days", "0.5")
    assert "a window needs at least 2 values, got 1" in said(text, "--hours", "0.5")
    assert "--rate must lie between 0 and 1" in said(text, "--rate", "2")
    assert "--steps must be at least 1" in said(text, "--steps", "0")
    assert main([str(tmp_path / "absent.csv")]) == 2
    assert "there is no file" in capsys.readouterr().err
    with pytest.raises(OptionError, match="at least 2 values"):
        windows(read_series(write(path, load(1))), 1)
