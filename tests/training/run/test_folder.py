import shlex

import pytest

from inverseflow.errors import RunError
from inverseflow.training.options import TrainOptions
from inverseflow.training.run import Run

SETTINGS = "data: digits\nmax_steps: 3\nmodel: {}\noptimizer: {}\n"


def run_with(tmp_path, content: str | bytes) -> Run:
    run = Run(tmp_path)
    run.config.write_bytes(content if isinstance(content, bytes) else content.encode())
    return run


def test_the_settings_of_a_run_come_back(tmp_path):
    run = Run(tmp_path / "run")
    run.path.mkdir()
    run.prepare(TrainOptions(data="digits", max_steps=3), overwrite=False)

    assert run.exists and run.options() == TrainOptions(data="digits", max_steps=3)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("[" * 100_000, "recursion"),
        ("a: b: c", "mapping values are not allowed here"),
        (b"\xff\xfe\x00", "can't decode"),
        ("data: " + "9" * 5000, "integer string conversion|digits"),
        (SETTINGS.replace("max_steps: 3", "max_steps: many"), "max_steps must be a whole number, got 'many'"),
        (SETTINGS.replace("max_steps: 3", "max_steps: .nan"), "max_steps must be a whole number, got nan"),
        (SETTINGS.replace("optimizer: {}", "optimizer: [1]"), "optimizer must be a group of settings, got list"),
        (SETTINGS + "1: 2\n", "there is no setting 1"),
        (SETTINGS.replace("model: {}", "model: {steps: -1}"), r"model\.steps must be between 1 and"),
    ],
)
def test_a_damaged_config_is_called_so_in_one_line(tmp_path, content, what):
    run = run_with(tmp_path, content)

    with pytest.raises(RunError, match=rf"config\.yaml is damaged: .*({what})") as caught:
        run.options()
    assert "\n" not in str(caught.value)


def test_a_folder_with_a_damaged_config_is_not_overwritten(tmp_path):
    run = run_with(tmp_path, "a: b: c")

    with pytest.raises(RunError, match=r"config\.yaml is damaged"):
        run.check_free(resume=False, overwrite=True)


def test_a_folder_with_another_config_holds_no_run(tmp_path):
    with pytest.raises(RunError, match="holds no training run; "):
        run_with(tmp_path, "learning_rate: 1\n").settings()


def test_a_folder_with_a_posterior_names_the_command_for_it(tmp_path):
    (tmp_path / "posterior.json").touch()
    with pytest.raises(RunError, match="holds a posterior, not a density: `inverseflow posterior` draws from it"):
        Run(tmp_path).settings()


@pytest.mark.parametrize("name", ["plain", "my é run", "it's; rm -rf *", "-dash", "$HOME"])
def test_the_command_to_resume_can_be_pasted_into_a_shell(name):
    words = shlex.split(Run(name).resume_command("digits"))
    out = words[3].removeprefix("--out=") if name.startswith("-") else words[4]

    assert words[:3] == ["inverseflow", "train", "digits"] and words[-1] == "--resume"
    assert out == name


def test_a_tilde_is_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))

    assert Run("~/run").path == tmp_path / "run"


def test_a_file_that_a_killed_process_was_writing_is_no_obstacle_and_is_deleted(tmp_path):
    run = Run(tmp_path / "run")
    run.path.mkdir()
    (run.path / f".config.{'0f' * 8}.part.yaml").touch()
    run.check_free(resume=False, overwrite=False)
    run.checkpoints.mkdir()
    (run.checkpoints / f".last.{'0f' * 8}.part.ckpt").touch()
    run.prepare(TrainOptions("digits"), overwrite=False)
    assert {path.name for path in run.path.rglob("*")} == {"config.yaml", "metrics.csv", run.checkpoints.name}
