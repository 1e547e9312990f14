"""A folder of recordings, cut into segments."""

import hashlib
import os
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from inverseflow.data.examples import Splits, TensorExamples
from inverseflow.data.mulaw import mu_law_decode, mu_law_encode
from inverseflow.data.paths import existing_folder, printable
from inverseflow.data.splitting import check_seed, split_by_content
from inverseflow.data.walk import AUDIO_FILES, counted, find_files, paths_by_split
from inverseflow.data.wav import Recording, read_wav
from inverseflow.errors import DataError
from inverseflow.utils.arguments import whole_number

Encoding = Literal["mu-law", "pcm"]
"""How 16-bit samples become levels: 256 levels of the μ-law, or the 65,536 that they are."""

SEGMENT_LENGTH = 4000
"""Samples of a segment, unless told."""
_PCM_LEVELS = 2**16
_SILENT = 16  # a recording with fewer different values is silence, and its likelihood says nothing


def load_audio(
    data_dir: str | os.PathLike[str],
    *,
    split_seed: int = 0,
    segment_length: int | None = None,
    encoding: Encoding = "mu-law",
) -> Splits[TensorExamples]:
    """Load the recordings in a folder and its subfolders: WAV files of 16-bit PCM, with one channel and one rate.

    Each recording is cut into segments from its beginning. Samples after the last whole segment are left out, and so
    are shorter recordings and silent ones; `notes` says how much.

    About 80 : 10 : 10 of the recordings are for training, validation and test, by a hash of their content, or as
    subfolders for splits tell (see `load_folder`). All segments of a recording are in one split.

    Args:
        data_dir: the folder.
        split_seed: chooses which recordings go into which split.
        segment_length: samples T of a segment; 4000 by default.
        encoding: ``"mu-law"`` for 256 levels, ``"pcm"`` for the 65,536 of the files.

    Returns:
        The segments ``(1, T)``, integers from 0 to ``levels - 1``; `sampling_rate` is set.

    Raises:
        DataError: if there are no recordings, one of them cannot be read or has another rate, or none is as long as a
            segment. The message says what to do.

    Example:
        >>> import tempfile
        >>> from inverseflow.data.wav import write_wav
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for number in range(10):
        ...         noise = torch.randint(-1000, 1000, (500,), dtype=torch.int16)
        ...         write_wav(Path(folder) / f"{number}.wav", noise, 8000)
        ...     splits = load_audio(folder, segment_length=200)
        >>> splits.train.shape, splits.levels, splits.sampling_rate
        ((1, 200), 256, 8000)
    """
    if encoding not in get_args(Encoding):
        raise DataError(f"encoding must be 'mu-law' or 'pcm', got {encoding!r}")
    try:
        length = whole_number(
            "segment_length", SEGMENT_LENGTH if segment_length is None else segment_length, at_least=1
        )
    except (TypeError, ValueError) as error:
        raise DataError(f"{error}: it is a number of samples") from None
    check_seed(split_seed)
    root = existing_folder(data_dir)
    where = printable(root)
    paths, notes = paths_by_split(find_files(root, AUDIO_FILES))
    recordings = {path: read_wav(root / path) for part in paths.values() for path in part}
    rate = _common_rate(root, recordings)
    kept, left_out = _usable(where, recordings, length)
    parts = {split: [path for path in part if path in kept] for split, part in paths.items()}
    missing = [split for split in ("test", "validation") if split not in parts]
    candidates = parts["train"]
    digests = [hashlib.sha256(recordings[path].samples.tobytes()).digest() for path in candidates]
    try:
        indices = split_by_content(digests, len(missing), seed=split_seed)
    except DataError as error:
        raise DataError(f"the recordings of {where} that can be cut cannot be divided: {error}") from None
    for split, part in zip(("train", *missing), indices, strict=True):
        parts[split] = [candidates[index] for index in part]
    segments = {
        split: TensorExamples(_segments([recordings[path] for path in part], length, encoding))
        for split, part in parts.items()
    }
    return Splits(
        name="audio",
        title=printable(root.resolve().name) or where,
        levels=256 if encoding == "mu-law" else _PCM_LEVELS,
        event_shape=(1, length),
        train=segments["train"],
        validation=segments["validation"],
        test=segments["test"],
        notes=(*notes, *left_out),
        sampling_rate=rate,
    )


def to_pcm(x: Tensor, levels: int) -> Tensor:
    """Return levels of any shape as the 16-bit samples that they stand for: μ-law levels if there are 256, else PCM.

    Example:
        >>> to_pcm(torch.tensor([0, 128, 255]), 256), to_pcm(torch.tensor([0, 32768, 65535]), 65536)
        (tensor([-32768,      3,  32767], dtype=torch.int16), tensor([-32768,      0,  32767], dtype=torch.int16))
    """
    samples = x.long() - _PCM_LEVELS // 2 if levels == _PCM_LEVELS else (mu_law_decode(x, levels) * 2**15).round()
    return samples.clamp(-(2**15), 2**15 - 1).to(torch.int16)


def _common_rate(root: Path, recordings: dict[Path, Recording]) -> int:
    """Return the sampling rate of all recordings."""
    by_rate: dict[int, list[Path]] = {}
    for path, recording in recordings.items():
        by_rate.setdefault(recording.sampling_rate, []).append(path)
    usual = max(by_rate, key=lambda rate: len(by_rate[rate]))
    for rate, others in by_rate.items():
        if rate != usual:
            raise DataError(
                f"{printable(root)} holds {counted('recording', others)} at {rate} Hz, others at {usual} Hz: convert "
                "all to one sampling rate, or give each rate a folder of its own"
            )
    return usual


def _usable(where: str, recordings: dict[Path, Recording], length: int) -> tuple[set[Path], list[str]]:
    """Return the recordings that can be cut, and notes about what is left out."""
    longest = max(len(recording.samples) for recording in recordings.values())
    if longest < length:
        raise DataError(
            f"segment_length is {length}, but the longest recording in {where} has {longest} samples: choose at most "
            f"{longest} (--segment-length)"
        )
    short = [path for path, recording in recordings.items() if len(recording.samples) < length]
    silent = [
        path
        for path, recording in recordings.items()
        if path not in short and len(np.unique(recording.samples)) < _SILENT
    ]
    kept = recordings.keys() - {*silent, *short}
    if not kept:
        raise DataError(f"{where} holds no recording but silence and ones shorter than a segment, {length} samples")
    notes = [f"left out of {where}: {counted('silent recording', silent)}"] if silent else []
    if short:
        notes.append(f"left out of {where}: {counted('recording', short)} shorter than a segment, {length} samples")
    total = sum(len(recordings[path].samples) for path in kept)
    rest = sum(len(recordings[path].samples) % length for path in kept)
    if rest:
        notes.append(f"left out of {where}: the ends of recordings after the last whole segment, {rest / total:.1%}")
    return {*kept}, notes


def _segments(recordings: list[Recording], length: int, encoding: Encoding) -> Tensor:
    """Return the whole segments of recordings, ``(N, 1, T)``."""
    whole = [recording.samples[: len(recording.samples) // length * length] for recording in recordings]
    pcm = torch.from_numpy(np.concatenate(whole)) if whole else torch.empty(0, dtype=torch.int16)
    levels = mu_law_encode(pcm / 2**15) if encoding == "mu-law" else pcm.int() + _PCM_LEVELS // 2
    return levels.reshape(-1, 1, length)
