"""Arguments that cyclopts alone would accept or misread."""

import pytest
import yaml

WHOLE = "must be a whole number, got"
FINITE = "must be a finite number, got"
PATH = "must be the name of a file or folder, got"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "digits", "--max-steps", "1.5"], f"--max-steps: {WHOLE} '1.5'"),
        (["train", "digits", "--max-steps", "null"], f"--max-steps: {WHOLE} 'null'"),
        (["train", "digits", "--model.width", "1e3"], f"--model.width: {WHOLE} '1e3'"),
        (["train", "digits", "--model.spline-bound", "inf"], f"--model.spline-bound: {FINITE} 'inf'"),
        (["train", "digits", "--optimizer.clip-norm", "much"], f"--optimizer.clip-norm: {FINITE} 'much'"),
        (["train", "digits", "--optimizer", "3"], "Unknown option: --optimizer"),
        (["train", "digits", "--out", ""], f"--out: {PATH} ''"),
        (["train", "digits", "--data-dir", "a\0b"], f"--data-dir: {PATH} 'a\\x00b'"),
        (["train", "digits", "--out", "a", "--out", "b"], "--out specified multiple times"),
        (["evaluate", "r", "--importance-samples", "2.5"], f"--importance-samples: {WHOLE} '2.5'"),
        (["interpolate", "r", "-n", "x"], f"-n: {WHOLE} 'x'"),
        (["reconstruct", "r", "--data-dir", ""], f"--data-dir: {PATH} ''"),
        (["sample", "r", "-o", ""], f"-o: {PATH} ''"),
        (["sample", "r", "--temperature", "nan"], f"--temperature: {FINITE} 'nan'"),
        (["sample", ""], "RUN must be the name of a folder, got ''"),
        (["info", "a\0b"], "RUN must be the name of a folder, got 'a\\x00b'"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_by_name(run, words, message):
    code, text, error = run(*words)

    assert (code, text) == (2, "")
    assert error.startswith("inverseflow: error: ") and message in error and error.count("\n") == 1


def test_null_turns_an_optional_setting_off(run):
    words = ["--optimizer.clip-norm", "null", "--optimizer.ema=null", "--model.width", "null"]
    settings = yaml.safe_load(run("train", "digits", *words, "--print-config")[1])

    assert settings["optimizer"]["clip_norm"] is None and settings["optimizer"]["ema"] is None
    assert settings["model"]["width"] is None


def test_a_tilde_is_the_home_of_the_user(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))

    assert f"{tmp_path}/runs does not exist" in run("info", "~/runs")[2]
    assert f"{tmp_path}/s.bmp" in run("sample", "r", "-o", "~/s.bmp")[2]
    settings = yaml.safe_load(run("train", "digits", "--data-dir", "~/data", "--print-config")[1])
    assert settings["data_dir"] == f"{tmp_path}/data"


def test_switches_can_be_turned_off(run):
    words = ["--quiet", "--no-quiet", "--model.paper-options", "--no-model.paper-options"]
    for count, wanted in ((1, True), (2, False)):
        settings = yaml.safe_load(run("train", "digits", words[count - 1], words[count + 1], "--print-config")[1])
        assert settings["quiet"] is wanted and settings["model"]["paper_options"] is wanted
