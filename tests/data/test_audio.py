import struct
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from inverseflow.data import Splits, load_audio, load_data, mu_law_encode
from inverseflow.data.audio import to_pcm
from inverseflow.data.wav import read_wav, write_wav
from inverseflow.errors import DataError


@pytest.fixture
def write():
    """Write a WAV file of noise, which a number chooses, and return its samples."""

    def write(path: Path, count: int = 1000, seed: int = 0, rate: int = 8000, **kind: int) -> np.ndarray:
        channels, width = kind.get("channels", 1), kind.get("width", 2)
        samples = np.random.default_rng(seed).integers(-(2**15), 2**15, (count, channels)).astype("<i2")
        path.parent.mkdir(parents=True, exist_ok=True)
        with wave.open(str(path), "wb") as file:
            file.setparams((channels, width, rate, 0, "NONE", ""))
            file.writeframes(samples.astype({1: "u1", 2: "<i2", 4: "<i4"}[width]).tobytes())
        return samples[:, 0]

    return write


@pytest.fixture
def folder(tmp_path, write):
    """A folder of 30 recordings of different lengths, in three subfolders."""
    for number in range(30):
        write(tmp_path / f"{number % 3}" / f"{number}.wav", 500 + 37 * number, seed=number)
    return tmp_path


def parts(splits: Splits) -> list[torch.Tensor]:
    return [part.tensor() for part in (splits.train, splits.validation, splits.test)]


def test_segments_are_the_recordings_in_levels_and_the_ends_are_left_out(folder):
    splits = load_audio(folder, segment_length=200, encoding="pcm")
    assert (splits.levels, splits.sampling_rate, splits.event_shape) == (65536, 8000, (1, 200))
    expected = set()
    for path in folder.rglob("*.wav"):
        _, samples = wavfile.read(path)
        expected |= {tuple(samples[start : start + 200]) for start in range(0, len(samples) - 199, 200)}
    found = [tuple(row) for part in parts(splits) for row in (part[:, 0] - 2**15).tolist()]
    assert len(found) == len(expected)
    assert set(found) == expected
    (note,) = splits.notes
    assert "the ends of recordings after the last whole segment" in note


def test_mu_law_levels_are_those_of_the_amplitudes(folder):
    pcm = load_audio(folder, segment_length=200, encoding="pcm")
    companded = load_audio(folder, segment_length=200)
    assert (companded.levels, companded.train.tensor().dtype) == (256, torch.uint8)
    for levels, samples in zip(parts(companded), parts(pcm), strict=True):
        assert torch.equal(levels, mu_law_encode((samples - 2**15) / 2**15))


def test_no_recording_is_in_two_splits_whatever_the_length_of_a_segment(folder):
    owners = {}
    for path in folder.rglob("*.wav"):
        owners |= {tuple(wavfile.read(path)[1][start : start + 50]): path for start in range(0, 450, 50)}
    divided = []
    for length in (50, 200):
        segments = [
            part[:, 0, :50] - 2**15 for part in parts(load_audio(folder, segment_length=length, encoding="pcm"))
        ]
        divided.append([{owners[tuple(row)] for row in part.tolist() if tuple(row) in owners} for part in segments])
    assert divided[0] == divided[1]
    assert sum(map(len, divided[0])) == len(set.union(*divided[0])) == 30
    assert min(map(len, divided[0])) > 0


def test_the_seed_chooses_the_recordings_and_subfolders_can_name_the_splits(folder, write):
    first, again, other = (load_audio(folder, segment_length=200, split_seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.test.tensor(), again.test.tensor())
    assert not torch.equal(first.test.tensor(), other.test.tensor())
    held_out = write(folder / "test" / "last.wav", 400, seed=99)
    assert (load_audio(folder, segment_length=400, encoding="pcm").test.tensor().flatten() - 2**15).tolist() == [
        *held_out
    ]


def test_short_and_silent_recordings_are_left_out_and_noted(folder, write):
    write(folder / "short.wav", 30)
    write_wav(folder / "silence.wav", torch.randint(-2, 3, (5000,), dtype=torch.int16), 8000)
    (folder / "README.md").touch()
    write(folder / "ten.wav", 10)
    splits = load_audio(folder, segment_length=200)
    for note in (
        "1 other file (README.md)",
        "1 silent recording (silence.wav)",
        "2 recordings (short.wav, ten.wav) shorter than a",
    ):
        assert any(note in text for text in splits.notes), note
    assert len(torch.cat(parts(splits))) == sum((500 + 37 * number) // 200 for number in range(30))


def test_the_registry_finds_audio_and_refuses_options_of_others(folder):
    splits = load_data("audio", data_dir=folder, segment_length=100)
    assert splits.event_shape == (1, 100)
    with pytest.raises(DataError, match=r"'audio' needs a folder of WAV files: give data_dir \(--data-dir\)"):
        load_data("audio")
    with pytest.raises(DataError, match="image_size applies to the data set 'folder' only: leave it out for 'audio'"):
        load_data("audio", data_dir=folder, image_size=8)
    with pytest.raises(DataError, match="columns applies to the data set 'table' only"):
        load_data("audio", data_dir=folder, columns=["a"])
    with pytest.raises(DataError, match="has no classes: leave the condition 'label' out"):
        load_data("audio", data_dir=folder, segment_length=100, condition="label")
    for option in ({"segment_length": 100}, {"encoding": "pcm"}):
        with pytest.raises(DataError, match="applies to the data set 'audio' only: leave it out for 'digits'"):
            load_data("digits", **option)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ({"rate": 16000}, r"holds 1 recording \(bad.wav\) at 16000 Hz, others at 8000 Hz: convert all to one"),
        ({"channels": 2}, r"bad.wav has 2 channels: mix them down to one"),
        ({"width": 1}, r"bad.wav has 8 bits a sample: convert it to 16-bit PCM"),
        ({"width": 4}, r"bad.wav has 32 bits a sample: convert it to 16-bit PCM"),
        ({"count": 0}, r"bad.wav is empty: it has no samples; remove it"),
    ],
)
def test_a_recording_of_another_kind_is_refused_by_name(folder, write, kind, message):
    write(folder / "bad.wav", **kind)
    with pytest.raises(DataError, match=message):
        load_audio(folder, segment_length=200)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: b"", r"bad.wav is no WAV file, or damaged \(it ends too early\): restore the file"),
        (lambda content: content[:30], r"bad.wav is no WAV file, or damaged"),
        (lambda content: b"ID3" + content[3:], r"bad.wav is no WAV file, or damaged"),
        (lambda content: content[:-500], r"bad.wav is damaged: 750 of its 1000 samples are there"),
        (
            lambda content: content[:20] + struct.pack("<H", 3) + content[22:],
            r"bad.wav is not 16-bit PCM \(unknown format: 3\): convert it to 16-bit mono",
        ),
    ],
)
def test_a_damaged_file_is_refused_by_name(folder, write, change, message):
    write(folder / "bad.wav")
    (folder / "bad.wav").write_bytes(change((folder / "bad.wav").read_bytes()))
    with pytest.raises(DataError, match=message):
        load_audio(folder, segment_length=200)


def test_folders_and_lengths_that_leave_nothing_are_refused(tmp_path, folder, write):
    with pytest.raises(
        DataError, match="segment_length is 5000, but the longest recording in .* has 1573 samples: choose"
    ):
        load_audio(folder, segment_length=5000)
    with pytest.raises(DataError, match="segment_length must be at least 1, got 0: it is a number of samples"):
        load_audio(folder, segment_length=0)
    with pytest.raises(DataError, match="encoding must be 'mu-law' or 'pcm', got 'alaw'"):
        load_audio(folder, encoding="alaw")
    with pytest.raises(DataError, match="cannot be divided: 2 examples are too few"):
        load_audio(folder, segment_length=1500)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty holds no recordings: put recording files there \(.wav .wave\)"):
        load_audio(tmp_path / "empty")
    write_wav(tmp_path / "empty" / "a.wav", torch.zeros(5000, dtype=torch.int16), 8000)
    with pytest.raises(DataError, match="holds no recording but silence and ones shorter than a segment"):
        load_audio(tmp_path / "empty")
    with pytest.raises(DataError, match="does not exist"):
        load_audio(tmp_path / "nowhere")


def test_a_written_file_reads_the_same_with_scipy(tmp_path):
    samples = torch.tensor([0, 1, -1, 32767, -32768, 300], dtype=torch.int16)
    write_wav(tmp_path / "a.wav", samples, 22050)
    rate, found = wavfile.read(tmp_path / "a.wav")
    assert (rate, found.dtype, found.tolist()) == (22050, np.int16, samples.tolist())
    assert read_wav(tmp_path / "a.wav").samples.tolist() == samples.tolist()
    with pytest.raises(ValueError, match=r"samples must be \(T,\) of int16, got \(6,\) of torch.float32"):
        write_wav(tmp_path / "a.wav", samples.float(), 22050)


def test_levels_become_the_samples_that_they_stand_for():
    every = torch.arange(-(2**15), 2**15)
    assert torch.equal(to_pcm(every + 2**15, 65536), every.to(torch.int16))
    assert torch.equal(mu_law_encode(to_pcm(torch.arange(256), 256) / 2**15), torch.arange(256, dtype=torch.uint8))
