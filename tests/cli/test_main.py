import os
import shlex
import subprocess
import sys

import pytest

from inverseflow.cli.main import COMMANDS, main
from inverseflow.errors import NonFiniteError
from inverseflow.training.run import Run


def one_line(error: str) -> bool:
    return error.startswith("inverseflow: error: ") and error.count("\n") == 1


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_lists_every_command(run, words):
    code, text, _ = run(*words)

    assert code == 0
    assert all(f"│ {name} " in text for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(run, command):
    code, text, error = run(command, "--help")

    assert (code, error) == (0, "")
    assert text.startswith(f"Usage: inverseflow {command}")
    assert "_" not in " ".join(word for word in text.split() if word.startswith("--")), "options are shown with hyphens"


def test_every_option_of_train_is_explained(run):
    _, text, _ = run("train", "--help")
    options = [line.strip("│ ") for line in text.splitlines() if line.startswith("│ --")]

    assert len(options) > 40
    for line in options:
        assert len(line.split("  ")) > 1 or line in text.replace("│   --", "│ --"), line


def test_options_of_tables_folders_and_kinds_of_models_stand_in_panels_of_their_own(run):
    _, text, _ = run("train", "--help")
    panels = {panel.partition(" ─")[0]: panel for panel in text.split("╭─ ")[1:]}

    assert list(panels)[1:] == [
        *("Parameters", "Table options", "Folder options", "Audio options", "Model options"),
        *("Model options: flows of images", "Model options: flows of vectors"),
        *(name for name in panels if name == "Model options: densities without an inverse"),
        "Optimizer options",
    ]
    assert "--context-columns" in panels["Table options"] and "--crop" in panels["Folder options"]
    assert "--model.scales" in panels["Model options: flows of images"]


def test_version_is_told(run):
    assert run("--version")[1].startswith("inverseflow 0.")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fly"], 'Unknown command "fly"'),
        (["train"], "DATA requires an argument"),
        (["train", "stamps"], 'Invalid value "stamps" for DATA. Choose from: "digits", "mnist"'),
        (["train", "digits", "--max-stops", "3"], "Unknown option: --max-stops. Did you mean --max-steps?"),
        (
            ["train", "digits", "--max-steps", "many"],
            "Invalid value for --max-steps: must be a whole number, got 'many'",
        ),
        (["train", "digits", "--max-steps", "0"], "max_steps must be between 1 and"),
        (["train", "digits", "--optimizer.learning-rate", "nan"], "--optimizer.learning-rate: must be a finite number"),
        (["train", "--max-steps", "3", "digits"], "name the data first: inverseflow train DATA"),
        (["train", "digits", "mnist"], "['mnist']"),
        (["sample", "nowhere", "--temperature", "nan"], "--temperature: must be a finite number, got 'nan'"),
        (
            ["train", "digits", "--model.spline", "blue"],
            'Invalid value "blue" for --model.spline. Choose from: "none", "shared"',
        ),
        (
            ["train", "digits", "--optimizer.learning-rate", "fast"],
            "Invalid value for --optimizer.learning-rate: must be a finite number, got 'fast'",
        ),
        (["train", "digits", "--preset", "huge"], 'Invalid value "huge" for --preset. Choose from:'),
        (["train", "folder"], "data_dir"),
        (["train", "digits", "--config", "nowhere.yaml"], "nowhere.yaml"),
        (["sample"], "RUN requires an argument"),
        (["sample", "nowhere"], "nowhere does not exist; `inverseflow train DATA --out nowhere` makes one"),
        (
            ["sample", "nowhere", "-o", "picture.bmp"],
            "--output must end in .png, .npz, .pt, .csv, .parquet, .npy or .wav, got picture.bmp",
        ),
        (["sample", "nowhere", "--temperature", "-1"], "--temperature must be at least 0, got -1"),
        (["evaluate", "nowhere", "--draws", "0"], "--draws must be at least 1, got 0"),
        (["evaluate", "nowhere", "--batch-size", "0"], "--batch-size must be at least 1, got 0"),
        (["evaluate", "nowhere", "--batch-size=-3"], "--batch-size must be at least 1, got -3"),
        (["sample", "nowhere", "--seed", "9" * 30], "--seed must be at least 0 and below 2^63"),
        (["reconstruct", "nowhere", "-o", "x.txt"], "--output must end in .png, got x.txt"),
        (["interpolate", "nowhere", "-o", "x.txt"], "--output must end in .png, got x.txt"),
        (["interpolate", "nowhere", "--steps", "1"], "--steps must be at least 2 and at most 1000, got 1"),
        (
            ["info", "."],
            ". holds no run; with --out ., `inverseflow train DATA` makes a run, and `inverseflow infer PROBLEM`",
        ),
        (["info", __file__], f"{__file__} is a file; name the folder of a run"),
    ],
)
def test_a_mistake_is_answered_in_one_line(run, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    code, text, error = run(*words)

    assert (code, text) == (2, "")
    assert one_line(error), error
    assert message in error
    assert list(tmp_path.iterdir()) == []


def test_what_nobody_expected_is_one_line_too_and_debug_shows_where(run, monkeypatch):
    def broken(self):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Run, "settings", broken)
    code, _, error = run("sample", "somewhere")
    assert code == 2
    assert error == "inverseflow: error: ZeroDivisionError: a bug; run again with --debug for the traceback\n"

    code, _, error = run("sample", "somewhere", "--debug")
    assert code == 2
    assert "Traceback" in error and "in broken" in error


def test_ctrl_c_ends_with_its_own_code(run, monkeypatch):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "settings", interrupted)

    assert run("sample", "somewhere")[::2] == (130, "inverseflow: interrupted\n")


def test_help_is_quick_because_it_loads_nothing_heavy():
    heavy = "{'lightning', 'matplotlib', 'pyarrow', 'sklearn'}"
    code = f"import sys; from inverseflow.cli.main import main; main(['--help']); print({heavy} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "set()"


def test_a_missing_package_is_named_with_the_remedy(trained, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    code, _, error = run("evaluate", trained)

    assert code == 2
    assert error == (
        "inverseflow: error: tqdm is not installed, which is needed for progress bars: "
        "pip install 'inverseflow[train]'\n"
    )


def test_doctor_runs_where_packages_are_missing(run, monkeypatch):
    for name in ("cyclopts", "yaml", "lightning", "matplotlib", "safetensors"):
        monkeypatch.setitem(sys.modules, name, None)
    code, text, error = run("doctor")

    assert code == 0, error
    assert "backends of the inverse convolution" in text


@pytest.mark.parametrize(("rank", "lines"), [("0", 1), ("1", 0)])
def test_what_all_processes_have_to_say_the_first_one_says(run, monkeypatch, rank, lines):
    def broken(self):
        raise NonFiniteError("the loss is not finite")

    monkeypatch.setenv("RANK", rank)
    monkeypatch.setattr(Run, "settings", broken)
    code, _, error = run("sample", "somewhere")

    assert (code, error.count("\n")) == (2, lines)


def test_the_module_can_be_run():
    done = subprocess.run(
        [sys.executable, "-m", "inverseflow.cli", "--version"], capture_output=True, text=True, check=True
    )

    assert done.stdout.startswith("inverseflow ")


def test_main_takes_the_words_of_the_process(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["inverseflow", "--version"])

    assert main() == 0
    assert capsys.readouterr().out.startswith("inverseflow ")


def output_to(redirection: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = shlex.join([sys.executable, "-m", "inverseflow.cli", *words])
    return subprocess.run(["bash", "-c", f"{command} {redirection}"], capture_output=True, text=True)


def test_output_that_cannot_be_written_is_one_line():
    done = output_to("> /dev/full", "--version")

    assert done.returncode == 2
    assert done.stderr == "inverseflow: error: cannot write the output: no space left on device\n"


@pytest.mark.parametrize("redirection", [">&-", "| true"])
def test_output_that_nobody_reads_is_no_error(redirection):
    done = output_to(redirection, "--help")

    assert (done.returncode, done.stderr) == (0, "")


def test_names_that_no_terminal_can_show_are_escaped(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    done = output_to("", "info", str(tmp_path / name))

    assert done.returncode == 2
    assert f"{tmp_path}/caf\\udce9 does not exist" in done.stderr
