"""From pairs in a file, or a problem, to a posterior on the command line."""

import csv
import errno
import inspect
import json
import os
import re
import shlex
import shutil
import signal
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from inverseflow.cli.main import main
from inverseflow.cli.method_options import MethodOptions
from inverseflow.inference import AmortizedPosterior, method_names, methods
from inverseflow.inference.methods import method_entry
from inverseflow.inference.posterior import Model

RADIUS, SPEED, AREA = "radius [m]", "speed, in m/s", "area [m^2]"
NAMES = [RADIUS, SPEED, AREA, "sound"]
FILES = {
    *("config.yaml", "metrics.csv", "posterior.json", "posterior.safetensors", "report.json"),
    *("calibration.png", "corner.png", "report.html"),
}
TINY = ("--method", "maf", "--method.steps", 1, "--method.width", 8, "--quiet")
SMALL = (*TINY, "--max-steps", 20)


def write(path: Path, names: list[str], rows: np.ndarray) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows.tolist()])
    return path


def simulated(count: int = 400) -> np.ndarray:
    """Disks of a radius between 0 and 2 that fly at some speed: their area and their sound, both with noise."""
    generator = np.random.default_rng(0)
    radius, speed = generator.uniform(0, 2, count), generator.normal(5, 1, count)
    area = np.pi * radius**2 + generator.normal(0, 0.5, count)
    return np.stack([radius, speed, area, speed * radius + generator.normal(0, 0.5, count)], 1)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("pairs") / "disks.csv", NAMES, simulated())


@pytest.fixture(scope="module")
def columns() -> tuple[str, ...]:
    return ("--parameters", f'{RADIUS},"{SPEED}"', "--observations", f"sound,{AREA}", "--bounds", f"{RADIUS}=0:2")


@pytest.fixture(scope="module")
def learned(pairs: Path, columns: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a posterior that has hardly been trained."""
    folder = tmp_path_factory.mktemp("runs") / "disks"
    assert main([str(word) for word in ("infer", pairs, *columns, *SMALL, "--out", folder)]) == 0
    return folder


def table(path: Path) -> dict[str, np.ndarray]:
    with path.open(newline="") as file:
        names, *rows = csv.reader(file)
    return dict(zip(names, np.array([[float(cell) for cell in row] for row in rows]).T, strict=True))


def test_the_run_folder_holds_the_posterior_its_settings_and_its_report(learned, pairs):
    assert {path.name for path in learned.iterdir()} == FILES
    settings = yaml.safe_load((learned / "config.yaml").read_text())
    report = json.loads((learned / "report.json").read_text())
    posterior = AmortizedPosterior.load(learned)

    assert settings["source"] == str(pairs) and settings["method"] == {"name": "maf", "width": 8, "steps": 1}
    assert posterior.parameters == (RADIUS, SPEED) and posterior.observations == ("sound", AREA)
    assert report["pairs"] == 300 and report["steps"] == 20 and report["diagnosis"]["simulations"] == 100
    assert report["verdict"] == report["diagnosis"]["verdict"]
    for name in ("calibration.png", "corner.png"):
        with Image.open(learned / name) as picture:
            assert picture.width > 500


def test_samples_are_those_of_the_posterior_and_stay_in_their_bounds(learned, run, tmp_path):
    code, text, _ = run("posterior", learned, "--y", "5,3.1", "-n", 500, "--seed", 3, "-o", tmp_path / "s.csv")
    drawn = table(tmp_path / "s.csv")
    expected = AmortizedPosterior.load(learned).sample(torch.tensor([5.0, 3.1]).double(), 500, seed=3)

    assert code == 0 and list(drawn) == [RADIUS, SPEED]
    assert np.allclose(drawn[RADIUS], expected[:, 0]) and np.allclose(drawn[SPEED], expected[:, 1])
    assert drawn[RADIUS].min() > 0 and drawn[RADIUS].max() < 2
    assert f"sound = 5, {AREA} = 3.1" in text and "500 samples" in text


def test_observations_are_found_by_name(learned, run, tmp_path):
    write(tmp_path / "seen.csv", [AREA, "site", "sound"], np.array([[3.1, 7, 5.0]]))
    for name, words in (
        ("a", ["--y", "5,3.1"]),
        ("b", ["--y", f"{AREA}=3.1,sound=5"]),
        ("c", ["--observation", tmp_path / "seen.csv"]),
    ):
        code, _, error = run("posterior", learned, *words, "-n", 50, "-o", tmp_path / f"{name}.npy")
        ignored = "inverseflow: seen.csv has a column that is no observation, and is ignored: site\n"
        assert code == 0 and (ignored in error) == (name == "c")

    assert np.array_equal(np.load(tmp_path / "a.npy"), np.load(tmp_path / "b.npy"))
    assert np.array_equal(np.load(tmp_path / "a.npy"), np.load(tmp_path / "c.npy"))


@pytest.mark.parametrize("suffix", ["csv", "parquet", "npz", "npy", "pt"])
def test_several_observations_have_a_row_each_in_every_format(learned, run, tmp_path, suffix):
    write(tmp_path / "seen.csv", ["sound", AREA], np.array([[5, 3.1], [2, 1.0], [8, 8.0]]))
    path = tmp_path / f"s.{suffix}"
    assert run("posterior", learned, "--observation", tmp_path / "seen.csv", "-n", 20, "-o", path)[0] == 0
    if suffix == "csv":
        rows = table(path)["row"]
    elif suffix == "parquet":
        rows = pytest.importorskip("pyarrow.parquet").read_table(path)["row"].to_numpy()
    elif suffix == "npz":
        rows = np.load(path)["row"]
    else:
        array = np.load(path) if suffix == "npy" else torch.load(path)
        assert array.shape == (3, 20, 2)
        return

    assert rows.tolist() == [0] * 20 + [1] * 20 + [2] * 20


def test_an_observation_that_the_simulator_could_not_have_made_is_flagged(learned, run, tmp_path):
    write(tmp_path / "seen.csv", ["sound", AREA], np.array([[5, 3.1], [5, 500.0]]))
    code, _, error = run(
        "posterior", learned, "--observation", tmp_path / "seen.csv", "-n", 10, "-o", tmp_path / "s.csv"
    )

    assert code == 0
    assert "could hardly have made the observation in row 1" in error and "row 0" not in error
    given = re.search(r"has probability (?:below )?([\d.e-]+)\)", error)
    assert given is not None and float(given[1]) >= 1e-12
    assert table(tmp_path / "s.csv")["unlikely"].tolist() == [0.0] * 10 + [1.0] * 10


def test_an_observation_is_pictured(learned, run, tmp_path):
    write(tmp_path / "seen.csv", ["sound", AREA], np.array([[5, 3.1], [2, 1.0]]))
    output = ("-n", 100, "-o", tmp_path / "s.csv", "--picture", tmp_path / "corner.png")
    assert run("posterior", learned, "--y", "5,3.1", *output)[0] == 0
    assert run("posterior", learned, "--observation", tmp_path / "seen.csv", *output)[0] == 0

    for name in ("corner.png", "corner-0.png", "corner-1.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_a_posterior_that_is_not_calibrated_says_so_with_each_sample(learned, run, tmp_path):
    folder, verdict = shutil.copytree(learned, tmp_path / "r"), "Not calibrated: too narrow."
    report = json.loads((folder / "report.json").read_text())
    (folder / "report.json").write_text(json.dumps({**report, "trusted": False, "verdict": verdict}))

    assert verdict in run("posterior", folder, "--y", "5,3.1", "-o", tmp_path / "s.csv")[2]


def test_info_shows_a_posterior(learned, run):
    code, text, error = run("info", learned)

    assert (code, error) == (0, "")
    assert f"{RADIUS}, {SPEED}" in text and "Interval(low=0.0, high=2.0)" in text and "maf" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--y", "5"], f"--y takes 2 numbers (sound, {AREA}), separated by commas, got 1 in '5'"),
        (["--y", "5,x"], "got 'x'"),
        (["--y", "5,nan"], "--y takes finite numbers, got '5,nan'"),
        (["--y", "5,-inf"], "--y takes finite numbers, got '5,-inf'"),
        (["--y", "noise=5,sound=3"], "noise"),
        ([], "give one observation by --y, or a file of some by --observation"),
        (["--y", "5,3", "--observation", "seen.csv"], "give one observation by --y, or a file of some"),
        (["--observation", "nowhere.csv"], "nowhere.csv does not exist"),
        (["--y", "5,3", "-o", "s.xlsx"], "--output must end in .csv"),
        (["--y", "5,3", "--picture", "s.jpg"], "--picture must be a file that ends in .png"),
        (["--y", "5,3", "-n", "0"], "--number must be at least 1"),
    ],
)
def test_a_mistake_in_an_observation_is_one_line(learned, run, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    code, text, error = run("posterior", learned, *words)

    assert (code, text) == (2, "")
    assert error.startswith("inverseflow: error: ") and error.count("\n") == 1 and message in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("names", "row", "message"),
    [
        (["sound", "area [cm^2]"], [5, 3], f"no column '{AREA}' but 'area [cm^2]', in another unit"),
        (["sound", "volume"], [5, 3], f"no column '{AREA}'"),
        (["sound", AREA], [5, "loud"], AREA),
        (["sound", AREA], [5, "nan"], AREA),
        (["sound", AREA], [5, ""], AREA),
    ],
)
def test_a_file_of_other_observations_is_refused_by_name(learned, run, tmp_path, names, row, message):
    write(tmp_path / "seen.csv", names, np.array([row], dtype=object))
    code, _, error = run("posterior", learned, "--observation", tmp_path / "seen.csv", "-o", tmp_path / "s.csv")

    assert code == 2 and error.count("\n") == 1 and message in error
    assert not (tmp_path / "s.csv").exists()


def broken(kind: str) -> tuple[list[str], np.ndarray]:
    """Names and rows of a file that nothing can be learned from."""
    rows = simulated().astype(object)
    if kind == "few":
        return NAMES, rows[:20]
    if kind == "constant parameter":
        rows[:, 1] = 3
    if kind == "constant observable":
        rows[:, 3] = 3
    if kind == "nan":
        rows[:10, 2] = "nan"
    if kind == "text":
        rows[7, 0] = "wide"
    if kind == "outside":
        rows[7, 0] = 2.5
    return NAMES, rows


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("few", "pairs.csv has 20 pairs, too few for 2 parameters: give 20 to learn from, and more"),
        ("constant parameter", f"the parameter '{SPEED}' is 3"),
        ("constant observable", "the observable 'sound' is 3"),
        ("nan", "10 of 400 rows of pairs.csv are not finite"),
        ("text", RADIUS),
        ("outside", f"--bounds {RADIUS}=0:2 leaves out 1 of the file's values, such as 2.5"),
    ],
)
def test_pairs_that_nothing_can_be_learned_from_are_refused_and_leave_no_folder(run, tmp_path, columns, kind, message):
    path = write(tmp_path / "pairs.csv", *broken(kind))
    code, text, error = run("infer", path, *columns, *SMALL, "--out", tmp_path / "r")

    assert (code, text) == (2, "")
    assert error.startswith("inverseflow: error: ") and error.count("\n") == 1 and message in error, error
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.csv"]


def test_a_few_rows_without_a_value_are_left_out_with_a_note_and_the_verdict_is_printed(run, tmp_path, columns):
    rows = simulated().astype(object)
    rows[3, 2] = ""
    path = write(tmp_path / "pairs.csv", NAMES, rows)
    code, text, error = run("infer", path, *columns, *TINY[:-1], "--max-steps", 20, "--out", tmp_path / "r")

    assert code == 0
    assert json.loads((tmp_path / "r" / "report.json").read_text())["verdict"] in text
    assert str(tmp_path / "r") in text
    assert "1 of 400 rows of pairs.csv are not finite and were dropped" in error
    assert "UserWarning" not in error


def test_a_posterior_of_few_pairs_is_not_judged_and_tells_how_many_are_needed(run, tmp_path, columns):
    path = write(tmp_path / "pairs.csv", NAMES, simulated(60))
    code, text, _ = run("infer", path, *columns, *SMALL, "--out", tmp_path / "r")

    assert code == 0 and "20 pairs are too few, take 100 or more: give a file of 300" in text
    assert "calibration.png" not in text and not (tmp_path / "r" / "calibration.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["phrenology"], "there is no problem 'phrenology' and no such file: name one of"),
        (["nowhere.csv", "--parameters", "a"], "nowhere.csv does not exist: give a CSV, Parquet, NPZ or NPY file\n"),
        ([".", "--parameters", "a", "--out", "r"], ". is a folder: give a problem"),
        (["pairs.csv", "--parameters", "sound", "--out", "/proc/x"], "cannot write to /proc/x"),
        (["kinematics", "--method", "magic"], "unknown method 'magic': choose one of"),
        (["kinematics", "--simulations", "0"], "--simulations must be at least 1"),
        (["kinematics", "--simulations", "many"], "must be a whole number"),
        (["kinematics", "--learning-rate", "-1"], "--learning-rate must be above 0"),
        (["kinematics", "--max-steps", "0"], "--max-steps must be at least 1"),
        (["kinematics", "--seed", "-1"], "--seed must be at least 0"),
        (["kinematics", "--parameters", "height"], "--parameters is of a file"),
        (["kinematics", "--simulations", "30"], "30 pairs are too few for 4 parameters"),
        (["kinematics", "--method.blocks", "3"], "can't be built"),
        (["pairs.csv"], "which columns of pairs.csv are parameters"),
        (["pairs.csv", "--parameters", "a"], "has no column 'a'"),
        (["pairs.csv", "--parameters", "sound,sound"], "twice"),
        (["pairs.csv", "--parameters", "sound", "--bounds", "sound"], "--bounds names 'sound'"),
        (["pairs.csv", "--parameters", "sound", "--bounds", "sound=3"], "NAME=LOW:HIGH"),
        (["pairs.csv", "--parameters", "sound", "--bounds", "sound=3:1"], "NAME=LOW:HIGH"),
        (["pairs.csv", "--parameters", "sound", "--bounds", "sound=a:b"], "NAME=LOW:HIGH"),
        (["pairs.csv", "--parameters", "sound", "--bounds", "sound=0.5..2"], "of whole numbers"),
        (["pairs.csv", "--parameters", "sound", "--out", "pairs.csv"], "is a file; choose another folder"),
        (["pairs.csv", "--parameters", "sound", "--out", "pairs.csv/r"], "pairs.csv"),
        (["pairs.csv", "--parameters", "sound", "--out", "."], "not empty and holds no posterior"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(run, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "pairs.csv", NAMES, simulated(60))
    code, text, error = run("infer", *words, "--quiet")

    assert (code, text) == (2, "")
    assert error.startswith("inverseflow: error: ") and error.count("\n") == 1 and message in error, error
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "pairs.csv"]


def test_a_posterior_is_not_overwritten_unless_asked_for_and_then_only_by_a_whole_one(
    learned, pairs, columns, run, tmp_path
):
    folder = shutil.copytree(learned, tmp_path / "r")
    again = ("infer", pairs, *columns, *TINY, "--out", folder)
    before = (folder / "report.json").read_text()
    code, _, error = run(*again)
    assert code == 2 and "holds a posterior already; --overwrite replaces it" in error
    assert run(*again, "--overwrite", "--method.blocks", 3)[0] == 2
    assert (folder / "report.json").read_text() == before

    assert run(*again, "--overwrite", "--max-steps", 10)[0] == 0
    assert json.loads((folder / "report.json").read_text())["steps"] == 10
    assert {path.name for path in folder.iterdir()} == FILES


def interrupt_at(step: int, monkeypatch) -> None:
    """Press Ctrl-C in a step of the training, counted from this call on."""
    calls = []

    def interrupted(self, x, y, loss=Model.loss):
        calls.append(x)
        if len(calls) == step:
            signal.raise_signal(signal.SIGINT)
        return loss(self, x, y)

    monkeypatch.setattr(Model, "loss", interrupted)


def test_ctrl_c_keeps_the_best_weights_and_a_resumed_run_is_as_one_without_a_break(
    learned, pairs, columns, run, tmp_path, monkeypatch
):
    words = ("infer", pairs, *columns, *SMALL, "--out", tmp_path / "r")
    with monkeypatch.context() as patched:
        interrupt_at(15, patched)
        code, text, error = run(*words)
    report = json.loads((tmp_path / "r" / "report.json").read_text())

    assert code == 130 and "interrupted after step" in error and report["verdict"] in text
    assert report["interrupted"] and 0 < report["steps"] < 20
    assert {path.name for path in (tmp_path / "r").iterdir()} == FILES | {"training"}
    assert "unfinished" in run("info", tmp_path / "r")[1]
    assert run("posterior", tmp_path / "r", "--y", "5,3", "-o", tmp_path / "s.csv")[0] == 0
    assert "--resume continues it, --overwrite replaces it" in run(*words)[2]

    command = shlex.split(error.rstrip().rpartition("continue with: ")[2])
    assert command[0] == "inverseflow"
    code, _, error = run(*command[1:], "--quiet")
    assert (code, error) == (0, "")
    assert {path.name for path in (tmp_path / "r").iterdir()} == FILES
    for name in ("posterior.json", "posterior.safetensors", "config.yaml"):
        assert (tmp_path / "r" / name).read_bytes() == (learned / name).read_bytes()
    code, _, error = run(*command[1:])
    assert code == 2 and "holds a posterior that is finished, so there is nothing to continue" in error


def test_a_run_is_not_continued_with_other_settings_or_pairs(columns, run, tmp_path, monkeypatch):
    path = write(tmp_path / "pairs.csv", NAMES, simulated())
    words = ("infer", path, *columns, *TINY, "--max-steps", 60, "--seed", 0, "--out", tmp_path / "r")
    assert run(*words, "--resume")[0] == 2 and not (tmp_path / "r").exists()
    assert "give one of both" in run(*words, "--resume", "--overwrite")[2]
    with monkeypatch.context() as patched:
        interrupt_at(25, patched)
        assert run(*words)[0] == 130
    for changed, message in (
        ({"--max-steps": 70}, "max_steps was 60 when the training in"),
        ({"--method.width": 9}, "options was {'width': 8, 'steps': 1} when the training in"),
        ({"--seed": 1}, "seed was 0 when"),
    ):
        again = [str(changed.get(option, word)) for option, word in zip(("", *words), words, strict=False)]
        code, _, error = run(*again, "--resume")
        assert code == 2 and message in error and error.count("\n") == 1, error
    rows = simulated()
    rows[17, 0] += 0.001
    write(path, NAMES, rows)
    code, _, error = run(*words, "--resume")
    assert code == 2 and "the pairs have changed since the training in" in error and error.count("\n") == 1
    write(path, NAMES, simulated())
    assert run(*words, "--resume")[0] == 0


def test_a_full_disk_at_the_end_costs_no_training(pairs, columns, run, tmp_path, monkeypatch):
    from inverseflow.utils.files import write_json

    def full(path, content):
        if path.name == "report.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write_json(path, content)

    words = ("infer", pairs, *columns, *SMALL, "--out", tmp_path / "r")
    with monkeypatch.context() as patched:
        patched.setattr("inverseflow.utils.files.write_json", full)
        code, text, error = run(*words)
    assert (code, text) == (2, "") and error.count("\n") == 1
    assert f"cannot write to {tmp_path / 'r'}: no space left on device; mend that, and continue with: " in error
    assert [path.name for path in (tmp_path / "r").iterdir()] == ["training"]
    assert "an unfinished training" in run("posterior", tmp_path / "r", "--y", "5,3")[2]
    assert run(*words, "--resume")[0] == 0
    assert {path.name for path in (tmp_path / "r").iterdir()} == FILES


def test_ctrl_c_while_the_posterior_is_judged_keeps_it_without_a_verdict(pairs, columns, run, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("inverseflow.inference.diagnostics.diagnose", interrupted)
    code, text, error = run("infer", pairs, *columns, *SMALL, "--out", tmp_path / "r")
    report = json.loads((tmp_path / "r" / "report.json").read_text())

    assert code == 130 and "Not judged: interrupted." in text and "interrupted after step 20" in error
    assert report["interrupted"] and not report["trusted"]
    assert {path.name for path in (tmp_path / "r").iterdir()} == FILES - {"calibration.png"} | {"training"}
    assert run("posterior", tmp_path / "r", "--y", "5,3", "-o", tmp_path / "s.csv")[0] == 0


def test_ctrl_c_while_pictures_are_drawn_leaves_what_can_be_continued(pairs, columns, run, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("inverseflow.inference.diagnostics.corner_figure", interrupted)
    code, text, error = run("infer", pairs, *columns, *SMALL, "--out", tmp_path / "r")

    assert (code, text) == (130, "") and error.startswith(
        "inverseflow: stopped at once; continue with: inverseflow infer"
    )
    assert [path.name for path in (tmp_path / "r").iterdir()] == ["training"]


def test_whole_numbers_have_bounds_of_their_own(run, tmp_path):
    generator = np.random.default_rng(0)
    count = generator.integers(0, 4, 300)
    rows = np.stack([count, count + generator.normal(0, 0.5, 300)], 1)
    file = write(tmp_path / "counts.csv", ["count", "seen"], rows)
    words = ("infer", file, "--parameters", "count", *SMALL, "--bounds")
    assert run(*words, "count=0..3", "--out", tmp_path / "r")[0] == 0
    assert run("posterior", tmp_path / "r", "--y", "1.5", "-n", 50, "-o", tmp_path / "s.csv")[0] == 0
    assert {*table(tmp_path / "s.csv")["count"].tolist()} <= {0.0, 1.0, 2.0, 3.0}
    code, _, error = run(*words, "count=0..2", "--out", tmp_path / "q")
    assert code == 2 and "--bounds count=0..2 leaves out" in error


def test_every_option_of_a_method_is_one_of_the_command_and_reaches_the_method(run, tmp_path, monkeypatch):
    builders = [method_entry(name).build for name in method_names()]
    classes = [methods.inn.INN, methods.inn.LikelihoodINN, methods.reverse.FeedForwardReverse]
    taken = {name for build in (*builders, *classes) for name in inspect.signature(build).parameters}
    known = {field.name for field in fields(MethodOptions)}
    assert taken - {"dims", "context_channels", "build", "options"} == known - {"spline_bins"}
    monkeypatch.setenv("COLUMNS", "160")
    text = run("infer", "--help")[1]
    assert all(f"--method.{name.replace('_', '-')}" in text for name in known)

    words = ("--method.latent", 3, "--method.variance", 0.5, "--method.latent-prior", "learned", "--method.width", 8)
    small = ("--simulations", 120, "--max-steps", 2, "--quiet", "--out", tmp_path / "r")
    assert run("infer", "kinematics", "--method", "cvae", *words, *small)[0] == 0
    options = {"width": 8, "latent": 3, "variance": 0.5, "latent_prior": "learned"}
    assert AmortizedPosterior.load(tmp_path / "r").options == options
    for method, option in (("cvae", "slope"), ("inn", "slope"), ("autoencoder", "blocks"), ("maf-reverse", "variance")):
        code, _, error = run(
            "infer", "kinematics", "--method", method, f"--method.{option}", 1, *small[:-1], tmp_path / "q"
        )
        assert code == 2 and f"the method '{method}' has no option {option}" in error and not (tmp_path / "q").exists()


@pytest.mark.parametrize("name", ["config.yaml", "report.json", "posterior.json", "posterior.safetensors"])
def test_a_damaged_run_is_refused_by_file(learned, run, tmp_path, name):
    folder = shutil.copytree(learned, tmp_path / "r")
    (folder / name).write_text("][")
    code, _, error = run("info", folder)

    assert code == 2 and error.count("\n") == 1 and str(folder) in error


@pytest.mark.parametrize("words", [("posterior", "--y", "1"), ("info",)])
def test_a_folder_without_a_posterior_is_refused(run, tmp_path, words):
    code, _, error = run(words[0], tmp_path, *words[1:])

    assert code == 2 and f"{tmp_path} holds no" in error


@pytest.mark.slow
def test_a_linear_problem_is_learned_calibrated_and_recovers_the_exact_posterior(run, tmp_path):
    generator = np.random.default_rng(1)
    x = generator.normal(0, 1, 6000)
    rows = np.stack([x, x + generator.normal(0, 0.5, 6000)], 1)
    path = write(tmp_path / "pairs.csv", ["x", "y"], rows)
    small = ("--method", "maf", "--method.steps", 1, "--method.width", 16, "--max-steps", 500, "--quiet")
    code, text, _ = run("infer", path, "--parameters", "x", *small, "--out", tmp_path / "r")
    assert code == 0 and "\n  Calibrated: " in text
    code, text, error = run("posterior", tmp_path / "r", "--y", "-1.0", "-n", 20_000, "-o", tmp_path / "s.csv")
    drawn = table(tmp_path / "s.csv")["x"]

    assert (code, error) == (0, "")  # p(x | y) = N(0.8 y, 0.2)
    assert abs(drawn.mean() + 0.8) < 0.05 and abs(drawn.std() - 0.2**0.5) < 0.03
