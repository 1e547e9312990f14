"""Small data sets on disk, made where a test wants them."""

import gzip
import io
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def _no_data_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INVERSEFLOW_DATA", raising=False)


@pytest.fixture
def pixels() -> Callable[..., np.ndarray]:
    """Return random ``uint8`` arrays of a given shape, the same in each run."""
    generator = np.random.default_rng(0)
    return lambda *shape: generator.integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def encode() -> Callable[..., bytes]:
    """Encode an ``(H, W)`` or ``(H, W, 3)`` array."""

    def encoded(array: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(array).save(buffer, kind, **options)
        return buffer.getvalue()

    return encoded


@pytest.fixture
def write_idx() -> Callable[..., None]:
    def write(path: Path, array: np.ndarray) -> None:
        header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
        content = header + array.tobytes()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)

    return write


@pytest.fixture
def write_mnist(write_idx: Callable[..., None], pixels: Callable[..., np.ndarray]) -> Callable[..., None]:
    """Write the four files of a tiny MNIST."""

    def write(folder: Path, train: int = 12, test: int = 4, size: int = 28, suffix: str = ".gz") -> None:
        for stem, count in (("train", train), ("t10k", test)):
            write_idx(folder / f"{stem}-images-idx3-ubyte{suffix}", pixels(count, size, size))
            write_idx(folder / f"{stem}-labels-idx1-ubyte{suffix}", np.arange(count, dtype=np.uint8) % 10)

    return write


@pytest.fixture
def write_parquet() -> Callable[..., None]:
    """Write a parquet file with the columns given."""

    def write(path: Path, **columns: list[object]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.table(columns), path)

    return write


@pytest.fixture
def write_cifar10(
    write_parquet: Callable[..., None], pixels: Callable[..., np.ndarray], encode: Callable[..., bytes]
) -> Callable[..., None]:
    """Write the two files of a tiny CIFAR-10."""

    def write(folder: Path, kind: str = "PNG", train: int = 10, test: int = 4) -> None:
        for split, count in (("train", train), ("test", test)):
            images = [{"bytes": encode(pixels(32, 32, 3), kind), "path": None} for _ in range(count)]
            write_parquet(folder / f"{split}.parquet", img=images, label=[row % 10 for row in range(count)])

    return write


@pytest.fixture
def write_batches(pixels: Callable[..., np.ndarray]) -> Callable[..., None]:
    """Write the six batch files of a tiny CIFAR-10, two images in each."""

    def write(folder: Path) -> None:
        folder.mkdir(parents=True)
        for number, name in enumerate([*(f"data_batch_{batch}" for batch in range(1, 6)), "test_batch"]):
            batch = {b"data": pixels(2, 3072), b"labels": [number, 9 - number], b"batch_label": b"batch"}
            (folder / name).write_bytes(pickle.dumps(batch, protocol=4))

    return write


@pytest.fixture
def write_images(pixels: Callable[..., np.ndarray], encode: Callable[..., bytes]) -> Callable[..., None]:
    """Write a folder of ``count`` images called ``00.png``, ``01.png`` ..."""

    def write(folder: Path, count: int, height: int = 8, width: int = 8, channels: int = 3) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            array = pixels(height, width, 3) if channels == 3 else pixels(height, width)
            (folder / f"{number:02}.png").write_bytes(encode(array))

    return write
