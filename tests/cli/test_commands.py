"""The commands that use a trained run."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from inverseflow import flows
from inverseflow.training.run import Run


def test_samples_are_a_picture(trained, run, tmp_path):
    code, text, error = run("sample", trained, "-n", 9, "-o", tmp_path / "s.png")

    assert (code, error) == (0, "")
    assert str(tmp_path / "s.png") in text
    with Image.open(tmp_path / "s.png") as picture:
        assert picture.width == picture.height > 300


def test_samples_are_an_array_or_a_tensor_of_grey_levels(trained, run, tmp_path):
    for suffix in ("npz", "pt"):
        assert run("sample", trained, "--number", 7, "--batch-size", 3, "--output", tmp_path / f"s.{suffix}")[0] == 0
    array = np.load(tmp_path / "s.npz")["images"]
    tensor = torch.load(tmp_path / "s.pt")

    assert array.dtype == np.uint8 and array.shape == (7, 1, 8, 8) and array.max() <= 16
    assert np.array_equal(array, tensor.numpy())


def test_the_seed_and_the_temperature_decide_the_samples(trained, run, tmp_path):
    def samples(*words):
        run("sample", trained, "-n", 20, "-o", tmp_path / "s.pt", *words)
        return torch.load(tmp_path / "s.pt")

    assert torch.equal(samples("--seed", 1), samples("--seed", 1))
    assert not torch.equal(samples("--seed", 1), samples("--seed", 2))
    assert len(samples("--temperature", "0").unique(dim=0)) == 1


def test_a_picture_that_cannot_be_written_is_one_line(trained, run, tmp_path):
    (tmp_path / "file").touch()
    code, _, error = run("sample", trained, "-o", tmp_path / "file" / "s.png")

    assert code == 2
    assert error == f"inverseflow: error: --output must be a file in a folder, and {tmp_path / 'file'} is a file\n"


def test_evaluation_prints_and_writes_what_it_measured(trained, run, tmp_path):
    code, text, error = run(
        "evaluate", trained, "-n", 40, "--draws", 2, "--importance-samples", 3, "-o", tmp_path / "e.json"
    )
    measured = json.loads((tmp_path / "e.json").read_text())

    assert (code, error) == (0, "")
    assert f"{measured['bits_per_dim']:.4f} ± {measured['bits_per_dim_stderr']:.4f}" in text
    assert (measured["examples"], measured["draws"], measured["importance_samples"]) == (40, 2, 3)
    assert measured["max_reconstruction_error"] == 0
    assert "tighter bound" in text


def test_evaluation_repeats_the_number_in_the_report(trained, run, tmp_path):
    run("evaluate", trained, "--draws", 2, "-o", tmp_path / "e.json")
    report = json.loads(Run(trained).report.read_text())

    assert json.loads((tmp_path / "e.json").read_text())["bits_per_dim"] == report["test_bits_per_dim"]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_other_splits_can_be_evaluated(trained, run, split):
    code, text, _ = run("evaluate", trained, "--split", split, "-n", 30, "--draws", 1)

    assert code == 0
    assert f"{split} images" in text and "30 images, 1 draw each" in text


def test_reconstructions_are_exact(trained, run, tmp_path):
    code, text, _ = run("reconstruct", trained, "-n", 16, "-o", tmp_path / "r.png")

    assert code == 0
    assert "is 0 gray levels" in text
    assert (tmp_path / "r.png").is_file()


def test_reconstructions_leave_the_picture_of_the_training_alone(trained, run):
    before = Run(trained).reconstructions.read_bytes()
    code, text, _ = run("reconstruct", trained, "-n", 4, "--seed", 5)

    assert code == 0 and str(trained / "reconstructions-seed5.png") in text
    assert (trained / "reconstructions-seed5.png").is_file()
    assert Run(trained).reconstructions.read_bytes() == before


def test_interpolations_are_a_picture(trained, run, tmp_path):
    code, _, _ = run("interpolate", trained, "-n", 3, "--steps", 5, "-o", tmp_path / "i.png")

    assert code == 0
    with Image.open(tmp_path / "i.png") as picture:
        assert picture.width > picture.height


def test_more_images_than_there_are_is_one_line(trained, run):
    code, _, error = run("reconstruct", trained, "-n", 100_000)

    assert code == 2
    assert error == "inverseflow: error: --number must be at most 360, the number of test images, got 100000\n"


def test_info_shows_layers_shapes_and_parameters(trained, run):
    code, text, _ = run("info", trained)
    total = json.loads(Run(trained).report.read_text())["parameters"]

    assert code == 0
    assert f"{total:,}" in text
    assert "InverseConv2d(channels=4" in text and "(4, 4, 4)" in text and "scale 2" in text
    assert "bits/dim" in text


def test_doctor_tells_versions_devices_and_backends(run):
    code, text, _ = run("doctor")

    assert code == 0
    for word in ("torch", torch.__version__, "cpu", "native", "blocked", "dense", "available"):
        assert word in text


def test_a_device_that_is_not_there_is_one_line(trained, run, tmp_path):
    code, _, error = run("sample", trained, "--device", "cuda:99", "-o", tmp_path / "s.png")

    assert code == 2
    assert error.startswith("inverseflow: error: cannot use the device 'cuda:99': ") and error.count("\n") == 1


def test_a_run_that_was_interrupted_is_used_through_its_best_checkpoint(trained, run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    shutil.rmtree(Run(folder).model)
    Run(folder).report.unlink()
    for source in (trained, folder):
        run("sample", source, "-n", 5, "-o", tmp_path / f"{source.name}.pt")

    assert torch.equal(torch.load(tmp_path / "tiny.pt"), torch.load(tmp_path / "run.pt"))
    state = "unfinished: step 6 of 6; using best.ckpt of step 6"
    assert f"state {state}; --resume continues it" in " ".join(run("info", folder)[1].split())
    assert run("sample", folder, "-o", tmp_path / "s.png")[2] == f"inverseflow: {folder} is {state}\n"
    Run(folder).last.unlink()
    assert "unfinished: last.ckpt is missing or damaged; using best.ckpt of step 6" in run("info", folder)[1]


@pytest.mark.parametrize("content", ["{", "[]", '{"title": "digits"}'])
def test_a_damaged_report_is_one_line(trained, run, tmp_path, content):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    Run(folder).report.write_text(content)
    code, _, error = run("info", folder)

    assert code == 2
    assert error == f"inverseflow: error: {folder / 'report.json'} is damaged; `train --resume` writes it anew\n"


def test_a_flow_of_real_numbers_draws_no_images(trained, run, tmp_path, monkeypatch):
    flow = flows.create("inverse-flow", (1, 8, 8), levels=17, scales=1, steps=1, width=4)
    flow.levels = None
    monkeypatch.setattr("inverseflow.training.model.load_density", lambda run: flow)
    code, _, error = run("sample", trained, "-o", tmp_path / "s.png")

    assert code == 2
    assert "holds a model of real numbers" in error and error.count("\n") == 1


def test_a_finished_run_that_was_made_longer_says_how_far_it_is(trained, run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    config = Run(folder).config
    config.write_text(config.read_text().replace("max_steps: 6", "max_steps: 900"))

    state = "unfinished: step 6 of 900; using the model of step 6"
    assert f"{state}; --resume continues it" in run("info", folder)[1]
    assert state in run("evaluate", folder, "-n", 2)[2]


def test_a_run_without_any_weights_says_so(trained, run, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(Run(trained).config, folder)
    code, _, error = run("sample", folder, "-o", tmp_path / "s.png")

    assert code == 2
    assert "has no trained model yet" in error


def test_a_truncated_model_is_one_line(trained, run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    weights = Run(folder).model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    code, _, error = run("sample", folder, "-o", tmp_path / "s.png")

    assert code == 2
    assert error.startswith("inverseflow: error: ") and error.count("\n") == 1 and "Error:" not in error
