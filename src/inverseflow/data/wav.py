"""Read and write WAV files of 16-bit mono."""

import os
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from inverseflow.data.paths import printable
from inverseflow.errors import DataError
from inverseflow.utils.files import atomic_write


@dataclass(frozen=True)
class Recording:
    """The content of a WAV file."""

    samples: npt.NDArray[np.int16]
    """``(T,)``."""
    sampling_rate: int
    """Samples a second."""


def read_wav(path: str | os.PathLike[str]) -> Recording:
    """Read a WAV file of 16-bit PCM with one channel.

    Raises:
        DataError: if it is missing, damaged, empty, has several channels, or is of another encoding.
    """
    where = printable(path)
    try:
        with wave.open(os.fspath(path), "rb") as file:
            channels, width, rate, count = file.getparams()[:4]
            content = file.readframes(count)
    except OSError as error:
        raise DataError(f"{where} cannot be read ({error.strerror}): restore the file, or remove it") from error
    except (wave.Error, EOFError) as error:
        reason = str(error) or "it ends too early"
        if reason.startswith("unknown format"):
            raise DataError(f"{where} is not 16-bit PCM ({reason}): convert it to 16-bit mono") from error
        raise DataError(f"{where} is no WAV file, or damaged ({reason}): restore the file, or remove it") from error
    if width != 2:
        raise DataError(f"{where} has {8 * width} bits a sample: convert it to 16-bit PCM")
    if channels != 1:
        raise DataError(f"{where} has {channels} channels: mix them down to one, or write each into a file of its own")
    if count == 0:
        raise DataError(f"{where} is empty: it has no samples; remove it")
    if len(content) != 2 * count:
        raise DataError(
            f"{where} is damaged: {len(content) // 2} of its {count} samples are there; restore the file, or remove it"
        )
    return Recording(np.frombuffer(content, "<i2").astype(np.int16, copy=False), rate)


def write_wav(path: Path, samples: Tensor, sampling_rate: int) -> None:
    """Write samples ``(T,)`` of ``int16`` as a WAV file with one channel.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "tone.wav"
        >>> write_wav(path, torch.tensor([0, 1000, -1000], dtype=torch.int16), 8000)
        >>> read_wav(path)
        Recording(samples=array([    0,  1000, -1000], dtype=int16), sampling_rate=8000)
    """
    if samples.dtype != torch.int16 or samples.ndim != 1:
        raise ValueError(f"samples must be (T,) of int16, got {tuple(samples.shape)} of {samples.dtype}")
    content: Any = samples.numpy().astype("<i2").tobytes()
    with atomic_write(path) as aside, wave.open(str(aside), "wb") as file:
        file.setparams((1, 2, sampling_rate, len(samples), "NONE", ""))
        file.writeframes(content)
