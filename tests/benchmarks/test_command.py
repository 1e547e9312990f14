"""The command lines of experiments and benchmarks: help, errors, interruption."""

import subprocess
import sys

import pytest

import benchmarks.__main__
import experiments.__main__
from experiments.registry import REGISTRY
from inverseflow.errors import TrainingInterrupted


def test_help_explains_every_experiment_in_one_line(capsys):
    with pytest.raises(SystemExit) as ended:
        experiments.__main__.main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    for name, entry in REGISTRY.items():
        assert f" {name} {entry.summary}" in text
    assert " page write docs/experiments.md" in text


def test_help_loads_neither_lightning_nor_the_experiments():
    code = "import sys; from experiments.__main__ import _parser; _parser().format_help()"
    code += "; print({'lightning', 'skimage', 'experiments.arma'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    ("main", "words", "message"),
    [
        (experiments.__main__.main, ["table1"], "invalid choice: 'table1'"),
        (experiments.__main__.main, [], "required: NAME"),
        (experiments.__main__.main, ["bijectivity", "--budget", "huge"], "invalid choice: 'huge'"),
        (experiments.__main__.main, ["bijectivity", "--seeds", "0"], "seeds must be at least 1, got 0"),
        (experiments.__main__.main, ["bijectivity", "--device", "cuda:9"], "cannot use the device 'cuda:9'"),
        (experiments.__main__.main, ["bijectivity", "--budget", "smoke", "-o", "/dev/null/x"], "/dev/null"),
        (benchmarks.__main__.main, ["model", "--budget", "sweeps"], "invalid choice: 'sweeps'"),
        (benchmarks.__main__.main, ["op", "-o", "nowhere/op.json"], "not a file in an existing folder"),
    ],
)
def test_an_error_is_one_line_and_exit_code_2(main, words, message, capsys):
    try:
        code = main(words)
    except SystemExit as ended:
        code = ended.code
    error = capsys.readouterr().err
    assert code == 2
    assert message in error and error.startswith("python -m ") and error.count("\n") == 1


def test_a_package_that_is_missing_is_named_with_the_remedy(monkeypatch, capsys):
    for name in [name for name in sys.modules if name.partition(".")[0] == "skimage"]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.startswith("experiments.deblurring.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "skimage", None)
    assert experiments.__main__.main(["deblurring", "--budget", "smoke"]) == 2
    assert "the package skimage is not installed: pip install -e '.[dev]'" in capsys.readouterr().err


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), TrainingInterrupted("stopped in a row; go on")])
def test_an_interruption_is_exit_code_130(interruption, monkeypatch, capsys):
    def interrupted(*arguments):
        raise interruption

    monkeypatch.setattr("experiments.__main__.run", interrupted)
    assert experiments.__main__.main(["bijectivity"]) == 130
    assert capsys.readouterr().err.endswith(f"python -m experiments: {str(interruption) or 'interrupted'}\n")
