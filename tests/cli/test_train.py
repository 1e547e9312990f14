import json
import os
import shlex
import shutil
import signal
import threading
import time

import numpy as np
import pytest
import yaml
from PIL import Image

from inverseflow.cli.main import main
from inverseflow.training.options import ModelOptions, TrainOptions
from inverseflow.training.presets import load_preset
from inverseflow.training.run import Run
from inverseflow.training.run.folder import read_metrics


def test_a_run_reports_everything_that_was_asked_for(trained):
    report = json.loads(Run(trained).report.read_text())

    assert report.keys() >= {
        "test_bits_per_dim", "test_bits_per_dim_stderr", "baselines", "max_reconstruction_error", "parameters",
        "train_seconds", "ms_per_step", "sample_ms_per_100", "seed", "versions", "title", "steps",
    }  # fmt: skip
    assert report["baselines"].keys() == {"pixel_histogram", "gaussian"}
    assert report["max_reconstruction_error"] == 0
    assert report["steps"] == 6
    assert report["versions"].keys() >= {"inverseflow", "python", "torch", "lightning"}


def test_a_run_tells_its_progress_and_closes_with_a_comparison_with_the_baselines(tiny, run, tmp_path):
    code, text, error = run("train", "digits", "--config", tiny, "--out", tmp_path / "run")
    lines = error.splitlines()

    assert code == 0
    assert [line.split("  ")[0] for line in lines] == ["step 3/6", "step 6/6", "measuring on 360 test images"]
    assert all("bits/dim, validation" in line for line in lines[:2]) and "nan" not in error
    assert "ms/step" in lines[1]
    assert text.startswith("digits: ")
    assert " between draws" in text.splitlines()[0]
    assert "± " in text and "ms/step" in text and str(tmp_path / "run") in text
    assert "the baseline pixel histogram, 2.4" in text and "the baseline gaussian, 2.9" in text


def test_made_is_trained_on_binarized_images_and_measured_in_nats_too(run, tmp_path):
    words = [
        "--preset",
        "mnist-binary",
        "--max-steps",
        "3",
        "--batch-size",
        "50",
        "--model.width",
        "8",
        "--model.orders",
        "2",
    ]
    code, text, _ = run("train", "digits", *words, "--out", tmp_path / "run")
    report = json.loads(Run(tmp_path / "run").report.read_text())

    assert code == 0
    assert text.startswith("digits (binarized): ")
    assert "bits/dim (exact) on 360 test images" in text.splitlines()[0]
    assert f"{report['evaluation']['nats_per_image']:.2f} nats an image" in text
    assert report["likelihood"] == "exact"
    code, text, _ = run("evaluate", tmp_path / "run", "-n", 50)
    assert code == 0
    assert "nats an image" in text


def test_help_tells_the_exit_code_of_ctrl_c_and_what_resuming_changes(run):
    text = " ".join(run("train", "--help")[1].split())

    assert "exit code 130" in text and "changes the trajectory" in text


@pytest.mark.parametrize("order", [0, 1])
def test_the_command_line_overrides_the_file_wherever_it_stands(tiny, run, order):
    words = [["--config", tiny], ["--max_steps", 1, "--model.width=6", "--optimizer.learning-rate", "0.5"]]
    code, text, error = run("train", "digits", *words[order], *words[1 - order], "--print-config")
    settings = yaml.safe_load(text)

    assert code == 0, error
    assert (settings["max_steps"], settings["model"]["width"], settings["optimizer"]["learning_rate"]) == (1, 6, 0.5)
    assert settings["batch_size"] == 16


def test_of_two_files_the_later_one_wins(tiny, run, tmp_path):
    (tmp_path / "more.yaml").write_text("model: {width: 9}\nbatch_size: 1_7\noptimizer: {learning_rate: 1e-3}\n")
    _, text, _ = run("train", "digits", "--config", tiny, "--config", tmp_path / "more.yaml", "--print-config")
    settings = yaml.safe_load(text)

    assert (settings["model"]["width"], settings["model"]["spline_bins"], settings["batch_size"]) == (9, 4, 17)
    assert settings["optimizer"]["learning_rate"] == 1e-3  # without a point, YAML reads it as a string


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("optimizer: 3\n", "optimizer must be a group of settings, got int"),
        ("max_steps: many\n", "max_steps must be a whole number, got 'many'"),
        ("max_steps: null\n", "max_steps must be a whole number, got None"),
        ("max_stops: 3\n", "there is no setting max_stops"),
        ("help: true\n", "there is no setting help"),
        ("data: stamps\n", "data must be one of digits, mnist"),
        ("[1, 2]\n", "holds no settings"),
        ("[" * 3000, "is not valid YAML"),
        ("\xff", "is not valid YAML"),
    ],
)
def test_a_file_of_wrong_settings_is_one_line(run, tmp_path, content, message):
    config = tmp_path / "config.yaml"
    config.write_text(content, "latin-1")
    code, _, error = run("train", "digits", "--config", config, "--out", tmp_path / "run")

    assert code == 2
    assert error.startswith(f"inverseflow: error: {config}") and message in error and error.count("\n") == 1


@pytest.mark.parametrize(("words", "batch_size"), [([], 16), (["--preset", "mnist"], 100), (["--batch-size", "7"], 7)])
def test_a_model_has_a_preset_of_its_own_for_some_data(run, words, batch_size):
    _, text, _ = run("train", "mnist", "--model", "pixelcnn", *words, "--print-config")
    settings = yaml.safe_load(text)

    assert settings["batch_size"] == batch_size
    assert settings["model"]["name"] == "pixelcnn"


def test_a_preset_is_the_ground(run):
    _, text, _ = run("train", "mnist", "--preset", "mnist-paper", "--model.steps", 3, "--print-config")
    settings = yaml.safe_load(text)

    assert settings["model"]["width"] == 512
    assert settings["model"]["steps"] == 3
    assert settings["data"] == "mnist"


@pytest.mark.parametrize("words", [["--model", "finc"], ["--model=finc"], ["--model.name", "finc"]])
def test_one_word_chooses_the_flow(run, words):
    _, text, _ = run("train", "digits", *words, "--print-config")

    assert yaml.safe_load(text)["model"]["name"] == "finc"


@pytest.mark.parametrize(
    ("data", "model", "kept"),
    [
        ("mnist", "glow", {"scales": 2, "steps": 4}),
        ("mnist", "pixelcnn", {"scales": None, "steps": None}),
        ("rings", "nsf-ar", {"spline_bound": 3.0}),
        ("rings", "maf", {"spline_bound": None}),
    ],
)
def test_another_model_takes_those_options_of_a_preset_that_it_has(run, data, model, kept):
    _, text, _ = run("train", data, "--model", model, "--print-config")
    settings = yaml.safe_load(text)["model"]

    assert settings["name"] == model
    assert {name: settings[name] for name in kept} == kept


@pytest.mark.parametrize("model", ["realnvp", "iresnet"])
def test_a_flow_of_vectors_names_its_form_for_images(run, model):
    code, _, error = run("train", "digits", "--model", model)

    assert code == 2
    assert f"cannot build {model} for images (1, 8, 8): it models vectors; take {model}-image" in error


def test_an_option_that_another_model_lacks_is_refused_if_it_was_asked_for(run):
    code, _, error = run("train", "rings", "--model", "maf", "--model.spline-bound", 4)

    assert code == 2
    assert "'maf' has no option spline_bound" in error


def test_an_unknown_model_is_refused_with_the_names_of_all(run):
    code, _, error = run("train", "digits", "--model", "nobody")

    assert code == 2
    assert "unknown density 'nobody'" in error and "emerging, exponential, finc, glow" in error


def test_a_flow_of_a_publication_is_trained_with_its_steps(tiny, run, tmp_path):
    words = ["--model", "cinc", "--model.paper-options", "--max-steps", 1, "--out", tmp_path / "run"]
    code, _, error = run("train", "digits", "--config", tiny, *words)
    _, text, _ = run("info", tmp_path / "run")

    assert code == 0, error
    assert "CInCFlow" in text and "QuadCoupling" in text and "Spline" not in text


@pytest.mark.parametrize("words", [["digits"], ["mnist"], ["mnist", "--preset", "mnist-paper"]])
def test_help_shows_the_defaults_of_the_preset(run, monkeypatch, words):
    monkeypatch.setenv("COLUMNS", "200")
    _, text, _ = run("train", *words, "--help")
    preset = load_preset(words[-1])
    shown = " ".join(text.split())

    for option, value in [
        ("--batch-size", preset["batch_size"]),
        ("--model.steps", preset["model"]["steps"]),
        ("--optimizer.learning-rate", preset["optimizer"]["learning_rate"]),
    ]:
        assert f"[default: {value}]" in shown.split(f"│ {option} ")[1].split("│ --")[0].replace("│ │ ", "")


def test_without_a_place_a_run_goes_to_the_folder_of_its_preset(tiny, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, text, error = run("train", "digits", "--config", tiny, "--max-steps", 1, "--quiet")

    assert (code, error) == (0, "")
    assert Run("runs/digits").exists
    assert "runs/digits" in text


def test_the_settings_that_a_run_leaves_repeat_it(trained, run, tmp_path):
    code, _, error = run("train", "digits", "--config", trained / "config.yaml", "--out", tmp_path / "again")
    assert code == 0, error
    bits = [
        [row.get("train_bits_per_dim") for row in read_metrics(Run(folder).metrics)]
        for folder in (trained, tmp_path / "again")
    ]

    assert bits[0] == bits[1]


def test_a_folder_of_color_images_is_trained_on_and_what_is_left_out_is_named(tiny, run, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 9, 12, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        folder = tmp_path / "pictures" / ("Test" if number < 1 else "Train")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number:02}.png")
    (tmp_path / "pictures" / "README.txt").touch()
    words = ["--data-dir", tmp_path / "pictures", "--image-size", 8, "--horizontal-flip", "--max-steps", 2]
    code, text, error = run("train", "folder", "--config", tiny, *words, "--out", tmp_path / "run")

    assert code == 0, error
    assert text.startswith("pictures: ") and "on 1 test image" in text
    assert error.startswith(f"left out of {tmp_path / 'pictures'}: 1 other file (README.txt)\n")
    for command, answer in {
        "reconstruct": "the largest error over the only test image of pictures is",
        "interpolate": "8 pairs of training images of pictures",
        "evaluate": "one image has no standard error",
    }.items():
        code, text, error = run(command, tmp_path / "run")
        assert (code, error) == (0, "") and answer in text, command


def test_a_run_that_is_there_is_refused_in_one_line(trained, run):
    code, _, error = run("train", "digits", "--out", trained)

    assert code == 2
    assert error == (
        f"inverseflow: error: {trained} holds a run already; --resume continues it, --overwrite deletes it, "
        "--out chooses another folder\n"
    )


def test_a_run_resumes_with_its_own_settings_and_may_be_made_longer(tiny, run, tmp_path):
    out = tmp_path / "run"
    run("train", "digits", "--config", tiny, "--out", out, "--max-steps", 3)
    code, text, error = run("train", "digits", "--out", out, "--resume", "--max-steps", 5)

    assert code == 0, error
    assert "5 steps" in text
    assert Run(out).options().model.width == 8


def test_a_folder_whose_name_is_not_utf8_is_refused(run, tmp_path):
    code, _, error = run("train", "digits", "--out", tmp_path / os.fsdecode(b"caf\xe9"))

    assert code == 2
    assert "is no name in UTF-8, which TensorBoard needs" in error and list(tmp_path.iterdir()) == []


def test_resuming_with_another_model_is_refused(trained, run):
    code, _, error = run("train", "digits", "--out", trained, "--resume", "--model.width", 9)

    assert code == 2
    assert "model.width is 8 in the run and 9 here" in error


def test_settings_that_are_none_are_one_line_on_resume(trained, run, tmp_path):
    config = tmp_path / "run" / "config.yaml"
    config.parent.mkdir()
    settings = yaml.safe_load(Run(trained).config.read_text())
    config.write_text(yaml.safe_dump(settings | {"optimizer": 3}))
    code, _, error = run("train", "digits", "--out", config.parent, "--resume")

    assert code == 2
    assert error == f"inverseflow: error: {config} is damaged: optimizer must be a group of settings, got int\n"


def test_a_truncated_checkpoint_is_one_line(trained, run, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(trained, out)
    last = Run(out).last
    last.write_bytes(last.read_bytes()[:1000])
    code, _, error = run("train", "digits", "--out", out, "--resume", "--max-steps", 8)

    assert code == 2
    assert error.startswith(f"inverseflow: error: {last} is damaged: ") and error.count("\n") == 1


def test_ctrl_c_saves_and_says_how_to_go_on(tiny, run, tmp_path):
    out = tmp_path / "run"
    rows = Run(out).metrics

    def interrupt() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (rows.exists() and len(read_metrics(rows)) > 3):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    code, _, error = run("train", "digits", "--config", tiny, "--out", out, "--max-steps", 100_000, "--log-every", 1)
    thread.join()
    *lines, answer = error.strip().splitlines()

    assert code == 130
    assert any("once more stops at once" in line for line in lines)
    assert answer.startswith("inverseflow: stopped after step ")
    steps = int(answer.split("step ")[1].split(";")[0])
    state = f"unfinished: step {steps} of 100000; using "
    assert state in run("info", out)[1]
    code, text, _ = run(*shlex.split(answer.partition("continue with: inverseflow ")[2]), "--max-steps", steps + 2)
    assert code == 0
    assert f"{steps + 2} steps" in text


def test_the_options_of_the_model_are_by_default_those_of_the_run_to_start_from(tmp_path, capsys):
    source = Run(tmp_path / "source")
    source.prepare(TrainOptions(data="digits", model=ModelOptions(steps=7)), overwrite=False)
    words = ["train", "digits", "--init-from", str(source.path), "--out", str(tmp_path / "run"), "--print-config"]
    assert main(words) == 0
    settings = yaml.safe_load(capsys.readouterr().out)

    assert settings["model"]["steps"] == 7 and settings["init_from"] == str(source.path)


def test_a_density_without_an_inverse_is_trained_and_refuses_what_takes_one(run, tmp_path):
    folder = tmp_path / "made"
    words = ["--model", "made", "--model.width", 8, "--max-steps", 2, "--validate-every", 2, "--accelerator", "cpu"]
    code, text, error = run("train", "digits", *words, "--quiet", "--out", folder)

    assert code == 0, error
    assert "bits/dim (exact) on 360 test images" in text and "there is no inverse" in text
    report = json.loads(Run(folder).report.read_text())
    assert report["likelihood"] == report["evaluation"]["likelihood"] == "exact"
    assert not Run(folder).reconstructions.exists() and Run(folder).samples.exists()
    for command, done in {"reconstruct": "reconstructed", "interpolate": "interpolated"}.items():
        code, _, error = run(command, folder)
        assert code == 2 and f"a made has no inverse, so that no images can be {done}; train a flow" in error
    code, _, error = run("evaluate", folder, "--importance-samples", 5)
    assert code == 2 and "the likelihood of this model is exact, no bound to tighten" in error
    code, _, error = run("train", "digits", *words, "--gradient-checkpointing", "--out", tmp_path / "other")
    assert code == 2 and "made recomputes no activations; leave gradient_checkpointing out" in error
