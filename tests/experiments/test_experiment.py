import json
from dataclasses import replace

import pytest
from matplotlib.figure import Figure

from experiments.experiment import Experiment, Settings, Task, markdown, run
from experiments.result import Result, read_result
from inverseflow.errors import NonFiniteError, OptionError, RunError, TrainingInterrupted


class Counted:
    """An experiment of three lines that remembers what it measured."""

    def __init__(self, fails=None):
        self.measured = []
        self.fails = fails or {}
        self.size = 1

    def task(self, *names):
        def measure():
            if names[0] in self.fails:
                raise self.fails[names[0]]
            self.measured.append(names)
            return {name: {"length": len(name)} for name in names}

        return Task("length", {name: {"size": self.size, "shape": (1, 2)} for name in names}, measure)

    @property
    def experiment(self):
        return Experiment(
            "counted",
            "Counted",
            "What is counted.",
            lambda settings: [self.task("one"), self.task("two", "three")],
            lambda result: [f"{len(result.rows)} rows"],
            lambda result: Figure(),
            seeds={"smoke": 2, "quick": 3, "full": 4},
        )


@pytest.fixture(autouse=True)
def no_measurement_of_the_machine(monkeypatch):
    monkeypatch.setattr("benchmarks.machine.peak_gflops", lambda device: 1.0)


@pytest.fixture
def settings(tmp_path):
    return Settings("smoke", tmp_path)


def test_it_leaves_json_markdown_and_a_picture(settings):
    counted = Counted()
    result = run(counted.experiment, settings)
    assert {path.name for path in settings.out.iterdir()} == {"counted.json", "counted.md", "counted.png"}
    assert read_result(settings.out / "counted.json") == result
    assert (settings.out / "counted.md").read_text() == markdown(counted.experiment, result)
    assert "# Counted\n\nWhat is counted.\n\n3 rows" in markdown(counted.experiment, result)
    assert result.complete and result.names == ["one", "two", "three"]


def test_a_finished_row_is_not_measured_again(settings):
    counted = Counted()
    first = run(counted.experiment, settings)
    assert run(counted.experiment, settings).rows == first.rows
    assert counted.measured == [("one",), ("two", "three")]


def test_a_row_of_other_settings_is_measured_again(settings):
    counted = Counted()
    run(counted.experiment, settings)
    counted.size = 2
    run(counted.experiment, settings)
    assert len(counted.measured) == 4


def test_overwrite_measures_everything_again(settings):
    counted = Counted()
    run(counted.experiment, settings)
    run(counted.experiment, replace(settings, overwrite=True))
    assert len(counted.measured) == 4


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"budget": "smoke"', '"budget": "quick"', "has the budget quick, not smoke"),
        ('"threads": ', '"threads": 1', r"was measured elsewhere \(threads 1\d+, here \d+\)"),
        ('"machine": {', '"machine": {"rack": 3, ', r"was measured elsewhere \(rack 3, here None\)"),
        (
            '"part": "length"',
            '"part": "seed 2"',
            "holds rows that this command does not measure: one, seed 2; three, seed 2",
        ),
    ],
)
def test_a_result_that_would_be_lost_is_refused(settings, old, new, message):
    run(Counted().experiment, settings)
    path = settings.out / "counted.json"
    there = path.read_text().replace(old, new)
    path.write_text(there)
    with pytest.raises(RunError, match=f"counted.json {message}.*--out.*--overwrite$"):
        run(Counted().experiment, settings)
    assert path.read_text() == there
    assert run(Counted().experiment, replace(settings, overwrite=True)).complete


def test_an_interruption_loses_no_row_that_was_there(settings):
    counted = Counted()
    run(counted.experiment, settings)
    counted.size, counted.fails = 2, {"one": KeyboardInterrupt()}
    with pytest.raises(TrainingInterrupted):
        run(counted.experiment, settings)
    stopped = read_result(settings.out / "counted.json")
    assert stopped.names == ["one", "two", "three"] and not stopped.complete


def test_an_interruption_of_measuring_anew_says_how_to_go_on(settings):
    counted = Counted({"two": KeyboardInterrupt()})
    with pytest.raises(TrainingInterrupted, match="the same command without --overwrite continues from there"):
        run(counted.experiment, replace(settings, overwrite=True))
    counted.fails.clear()
    run(counted.experiment, settings)
    assert counted.measured == [("one",), ("two", "three")]


def test_a_folder_that_cannot_be_written_is_found_before_measuring(tmp_path):
    (tmp_path / "file").touch()
    counted = Counted()
    with pytest.raises(OSError):
        run(counted.experiment, Settings("smoke", tmp_path / "file" / "folder"))
    assert counted.measured == []


@pytest.mark.parametrize("blow", [KeyboardInterrupt(), TrainingInterrupted("stopped after step 3")])
def test_an_interruption_keeps_what_is_finished_and_says_how_to_go_on(settings, blow):
    counted = Counted({"two": blow})
    with pytest.raises(
        TrainingInterrupted, match=r"stopped in 2 rows, length; finished measurements are in .*counted.json"
    ):
        run(counted.experiment, settings)
    stopped = read_result(settings.out / "counted.json")
    assert stopped.names == ["one"] and not stopped.complete
    counted.fails.clear()
    assert run(counted.experiment, settings).complete
    assert counted.measured == [("one",), ("two", "three")]


def test_a_row_that_diverges_stops_the_experiment_and_is_named(settings):
    counted = Counted({"one": NonFiniteError("the loss is not finite in step 3")})
    with pytest.raises(NonFiniteError, match=r"^counted: one, length: the loss is not finite in step 3$"):
        run(counted.experiment, settings)


def test_what_is_missing_is_announced(settings):
    counted, seen = Counted(), []
    run(counted.experiment, settings, lambda task, number, count: seen.append((task.name, number, count)))
    assert seen == [("one, length", 0, 2), ("2 rows, length", 1, 2)]


def test_the_budget_has_a_number_of_seeds_unless_one_is_given(settings):
    experiment = Counted().experiment
    assert experiment.with_seeds(settings).seeds == 2
    assert experiment.with_seeds(replace(settings, seeds=7)).seeds == 7


def test_settings_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(OptionError, match="there is no budget 'huge'; there are smoke, quick, full"):
        Settings("huge", tmp_path)
    with pytest.raises(OptionError, match="seeds must be at least 1, got 0"):
        Settings("smoke", tmp_path, seeds=0)


NO_MACHINE = json.dumps({**Result("counted", "smoke", 1, {}, True, ()).to_json(), "machine": None})


@pytest.mark.parametrize("content", ["[1, 2", '{"rows": []}', "[]", NO_MACHINE])
def test_a_file_that_is_no_result_is_named(tmp_path, content):
    path = tmp_path / "counted.json"
    path.write_text(content)
    with pytest.raises(RunError, match="is not the result of an experiment"):
        run(Counted().experiment, Settings("smoke", tmp_path))
    assert path.read_text() == content


def test_a_result_survives_json(settings):
    result = run(Counted().experiment, settings)
    assert Result.from_json(json.loads(json.dumps(result.to_json()))) == result
