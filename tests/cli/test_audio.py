"""A run on recordings, from its training to a WAV file."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import wavfile

from inverseflow.cli.main import main
from inverseflow.data import mu_law_decode
from inverseflow.training import describe
from inverseflow.training.run import Run

RATE = 4000
TINY = """
max_steps: 2
batch_size: 4
validate_every: 2
accelerator: cpu
segment_length: 300
model: {name: wavenet, width: 4, depth: 4}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of 20 noisy tones, synthetic."""
    folder = tmp_path_factory.mktemp("tones")
    generator = np.random.default_rng(0)
    for number in range(20):
        tone = 8000 * np.sin(np.arange(700) * (0.05 + 0.02 * number)) + 200 * generator.normal(size=700)
        wavfile.write(folder / f"{number}.wav", RATE, tone.astype(np.int16))
    return folder


def train(folder: Path, out: Path, *words: str) -> Path:
    settings = out.with_suffix(".yaml")
    settings.write_text(TINY)
    words = ("train", "audio", "--data", str(folder), "--config", str(settings), "--out", str(out), *words)
    assert main([*words]) == 0
    return out


@pytest.fixture(scope="module")
def mu_law(folder, tmp_path_factory):
    return train(folder, tmp_path_factory.mktemp("runs") / "mu-law")


def test_a_report_compares_exact_bits_per_sample_with_baselines_on_the_same_levels(mu_law, run):
    report = json.loads((mu_law / "report.json").read_text())
    assert {"histogram", "linear_predictor_of_order_16"} <= {*report["baselines"]}
    assert report["likelihood"] == "exact"
    assert report["evaluation"]["unit"] == "bits/sample"
    assert 0 < report["test_bits_per_dim"] < 8.5
    with Image.open(mu_law / "samples.png") as picture:
        assert picture.size[0] > 100
    assert describe(Run(mu_law)).sampling_rate == RATE
    code, out, _ = run("evaluate", mu_law)
    assert code == 0
    assert "bits/sample" in out
    assert f"{report['test_bits_per_dim']:.4f}" in out
    assert "segments" in out
    code, out, _ = run("info", mu_law)
    assert code == 0
    out = " ".join(out.split())
    assert "bits/sample" in out and "test segments" in out and f"parameters {report['parameters']:,}" in out


def test_a_sample_of_any_length_is_a_wav_file_of_the_rate_of_the_data(mu_law, run, tmp_path):
    code, out, _ = run("sample", mu_law, "--length", 1000, "-o", tmp_path / "out.wav")
    assert (code, "1 sample" in out) == (0, True)
    rate, samples = wavfile.read(tmp_path / "out.wav")
    assert (rate, samples.shape, samples.dtype) == (RATE, (1000,), np.int16)
    run("sample", mu_law, "--length", 1000, "-o", tmp_path / "levels.npz")
    levels = torch.from_numpy(np.load(tmp_path / "levels.npz")["levels"])
    assert (levels.shape, levels.dtype) == ((1, 1, 1000), torch.uint8)
    np.testing.assert_allclose(samples / 2**15, mu_law_decode(levels).flatten().numpy(), atol=1 / 2**15)


def test_several_samples_follow_each_other_with_a_pause(mu_law, run, tmp_path):
    run("sample", mu_law, "-n", 2, "--seed", 5, "-o", tmp_path / "two.wav")
    _, samples = wavfile.read(tmp_path / "two.wav")
    assert len(samples) == 300 + RATE // 4 + 300
    assert not samples[300:-300].any()
    assert samples[:300].any()
    assert samples[-300:].any()


def test_raw_samples_are_drawn_too(folder, run, tmp_path):
    out = train(folder, tmp_path / "pcm", "--encoding", "pcm")
    assert describe(Run(out)).levels == 2**16
    assert json.loads((out / "report.json").read_text())["baselines"]["histogram"] > 9
    assert run("sample", out, "--length", 100, "-o", tmp_path / "out.wav")[0] == 0
    assert wavfile.read(tmp_path / "out.wav")[1].shape == (100,)


def test_a_run_goes_on_only_with_the_same_rate(folder, mu_law, run, tmp_path):
    for path in folder.glob("*.wav"):
        wavfile.write(tmp_path / path.name, 2 * RATE, wavfile.read(path)[1])
    code, _, error = run("evaluate", mu_law, "--data-dir", tmp_path)
    assert code == 2
    assert f"its sampling rate changed from {RATE} to {2 * RATE};" in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--length", 0), "--length must be at least 1, got 0"),
        (("--length", 10**14), "there is no memory for 1 sample of --length 100000000000000; draw less"),
        (("--given", "a=1"), "--given is of columns of a table"),
        (("-o", "out.mp3"), "--output must end in"),
        (("-o", "out.csv"), "--output must end in .wav, .npz or .pt, got out.csv"),
        (("--label", "7"), "was trained without a condition; leave --label out"),
    ],
)
def test_a_sample_that_cannot_be_is_refused(mu_law, run, words, message):
    code, _, error = run("sample", mu_law, *words)
    assert code == 2
    assert message in error


def test_a_length_is_refused_of_images(trained, run):
    code, _, error = run("sample", trained, "--length", 100)
    assert code == 2
    assert "--length is of audio; digits is none, leave it out" in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "the data set 'audio' needs a folder of WAV files: give data_dir (--data-dir)"),
        (("--segment-length", "900"), "segment_length is 900, but the longest recording in"),
        (("--segment-length", "0"), "segment_length must be between 1 and"),
        (("--segment-length", "300", "--model", "glow", "--model.stacks", "2"), "has no option stacks"),
    ],
)
def test_settings_that_cannot_work_are_refused_in_one_sentence(folder, run, tmp_path, words, message):
    data = () if not words else ("--data", folder)
    code, _, error = run("train", "audio", *data, *words, "--out", tmp_path / "run")
    assert code == 2
    assert message in error
    assert not (tmp_path / "run").exists()


def test_a_flow_of_sequences_trains_on_audio_too_but_draws_segments_only(folder, run, tmp_path):
    settings = tmp_path / "flow.yaml"
    settings.write_text(
        "{max_steps: 1, batch_size: 4, initialization_images: 8, evaluation_draws: 1, accelerator: cpu, "
        "segment_length: 256, model: {name: inverse-flow, scales: 1, steps: 1, width: 4}}"
    )
    code, out, _ = run("train", "audio", "--data", folder, "--config", settings, "--out", tmp_path / "flow")
    assert code == 0
    assert "bits/sample (upper bound)" in out
    assert "samples come back exactly" in out
    code, _, error = run("sample", tmp_path / "flow", "--length", 100)
    assert code == 2
    assert "InverseFlow draws segments of 256 samples only" in error
