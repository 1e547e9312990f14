import pytest

from experiments.experiment import Settings, markdown, run
from experiments.likelihoods import EXPERIMENTS, LINES, options
from inverseflow.errors import OptionError
from inverseflow.training.presets import load_preset

(EXPERIMENT,) = EXPERIMENTS


def test_the_full_budget_is_the_preset(tmp_path):
    made = next(line for line in LINES if line.name == "MADE")
    chosen = options(made, "full", None, 0, tmp_path).to_mapping()
    preset = load_preset(made.preset)
    assert {name: chosen[name] for name in preset if name not in ("model", "optimizer")} == {
        name: value for name, value in preset.items() if name not in ("model", "optimizer")
    }
    assert chosen["model"]["width"] == preset["model"]["width"]


def test_every_run_has_a_folder_of_its_own(tmp_path):
    lines = [line for line in LINES if line.preset in ("digits", "two-moons")]
    folders = {options(line, "quick", None, 0, tmp_path).out for line in lines}
    assert len(folders) == len(lines) == 6


def test_lines_are_chosen_by_name(tmp_path):
    with pytest.raises(OptionError, match="no line 'NICE: rings'; there are MADE: binarized MNIST"):
        run(EXPERIMENT, Settings("smoke", tmp_path, only={"lines": ("NICE: rings",)}))


@pytest.mark.slow
def test_entropy_stands_beside_points_and_finished_runs_are_read(tmp_path):
    settings = Settings("smoke", tmp_path)
    first = run(EXPERIMENT, settings)
    assert "entropy of these points 2.6" in markdown(EXPERIMENT, first)
    (tmp_path / "likelihoods.json").unlink()
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("likelihoods/*/checkpoints/last*")}
    again = run(EXPERIMENT, settings)  # from the run folders
    assert times and all(path.stat().st_mtime_ns == time for path, time in times.items())
    assert [row.values["value"] for row in again.rows] == [row.values["value"] for row in first.rows]
