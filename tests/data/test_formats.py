import gzip
import os
import pickle
import sys

import numpy as np
import pytest
import torch

from inverseflow.data.decoding import Decoder
from inverseflow.data.formats import read_batches, read_idx, read_parquet
from inverseflow.errors import DataError, MissingPackageError

# IDX


@pytest.fixture
def idx(tmp_path, write_idx, pixels):
    """Write five images and their labels, and return the paths."""
    paths = tmp_path / "images", tmp_path / "labels"
    write_idx(paths[0], pixels(5, 6, 9))
    write_idx(paths[1], pixels(5))
    return paths


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files_come_back_as_they_were_written(tmp_path, write_idx, pixels, suffix):
    arrays, labels = pixels(5, 6, 9), pixels(5)
    write_idx(tmp_path / f"images{suffix}", arrays)
    write_idx(tmp_path / f"labels{suffix}", labels)
    os.rename(tmp_path / f"labels{suffix}", tmp_path / "labels")  # the content tells whether it is compressed
    read = read_idx(tmp_path / f"images{suffix}", tmp_path / "labels")
    assert np.array_equal(read.tensor()[:, 0].numpy(), arrays)
    assert read.labels.tolist() == labels.tolist()
    read.tensor().add_(1)  # the memory is its own


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda content: b"", "it begins with nothing, expected 00 00 08 03"),
        (lambda content: content[:2] + b"\x0d" + content[3:], "it begins with 00 00 0d 03"),
        (lambda content: b"<html>", "it begins with 3c 68 74 6d"),
        (lambda content: content[:6], ""),
        (lambda content: content[:-1], r"cannot reshape array of size 269 into shape \(5,6,9\)"),
        (lambda content: content + b"\0", "cannot reshape array of size 271"),
        (lambda content: content[:4] + b"\xff" * 12 + content[16:], ""),
        (lambda content: gzip.compress(content)[:-20], "Compressed file ended"),
        (lambda content: gzip.compress(content) + b"rubbish", "Not a gzipped file"),
        (lambda content: gzip.compress(content)[:50] + b"rubbish" + gzip.compress(content)[57:], ""),
    ],
)
def test_a_damaged_idx_file_is_named(idx, damage, reason):
    idx[0].write_bytes(damage(idx[0].read_bytes()))
    with pytest.raises(DataError, match=rf"images cannot be read \(.*{reason}.*\): put the original file in its place"):
        read_idx(*idx)


def test_a_missing_idx_file_is_named(idx):
    idx[1].unlink()
    with pytest.raises(DataError, match=r"labels cannot be read \(No such file or directory\)"):
        read_idx(*idx)


def test_as_many_labels_as_images_are_needed(idx, write_idx, pixels):
    write_idx(idx[1], pixels(4))
    with pytest.raises(DataError, match=r"labels cannot be read \(labels must be 5 integers, one for each example"):
        read_idx(*idx)


# Batches of CIFAR-10


def test_batches_come_in_their_order(tmp_path, write_batches):
    write_batches(tmp_path / "batches")
    images = read_batches([tmp_path / "batches" / f"data_batch_{number}" for number in range(1, 6)])
    assert images.labels.tolist() == [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]
    assert images.shape == (3, 32, 32)


@pytest.mark.parametrize("protocol", [3, 4])
def test_a_row_holds_the_red_then_the_green_then_the_blue_plane(tmp_path, protocol):
    row = np.repeat(np.array([1, 2, 3], dtype=np.uint8), 1024)
    (tmp_path / "batch").write_bytes(pickle.dumps({b"data": row[None], b"labels": [7]}, protocol))
    assert [plane.unique().tolist() for plane in read_batches([tmp_path / "batch"])[0]] == [[1], [2], [3]]


def test_a_pickle_of_python_2_is_read(tmp_path):
    # As published: protocol 2, byte strings for keys and for the array's memory, NumPy's former module names.
    (tmp_path / "batch").write_bytes(
        b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x01M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff"
        b"K\x00tb\x89T\x00\x0c\x00\x00" + bytes(3072) + b"tbU\x06labels](K\x08eu."
    )
    assert read_batches([tmp_path / "batch"]).labels.tolist() == [8]


class Attack:
    def __reduce__(self) -> tuple:
        return os.system, ("touch attacked",)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            pickle.dumps({b"data": Attack(), b"labels": []}),
            r"it refers to posix\.system, which is not part of an array",
        ),
        (pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1]}, 4), "cannot reshape"),
        (pickle.dumps({b"data": np.zeros((2, 3072)), b"labels": [1, 2]}, 4), "its pixels are float64, expected uint8"),
        (pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"fine_labels": [1, 2]}, 4), "labels"),
        (pickle.dumps([1, 2]), ""),
        (b"", ""),
        (pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1, 2]}, 4)[:100], ""),
    ],
    ids=["attack", "too many", "floats", "other labels", "list", "empty", "cut"],
)
def test_another_pickle_is_named_and_runs_no_code(tmp_path, monkeypatch, content, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "batch").write_bytes(content)
    with pytest.raises(DataError, match=rf"batch cannot be read \(.*{reason}.*\): put the original file in its place"):
        read_batches([tmp_path / "batch"])
    assert not (tmp_path / "attacked").exists()


# Parquet


@pytest.mark.parametrize("column", ["img", "image"])
def test_parquet_files_are_joined_in_order(tmp_path, write_parquet, pixels, encode, column):
    arrays = pixels(5, 6, 9, 3)
    cells = [{"bytes": encode(array), "path": None} for array in arrays]
    files = [tmp_path / "a[b]*" / "a.parquet", tmp_path / "a[b]*" / "b.parquet"]
    write_parquet(files[0], **{column: cells[:2], "label": [4, 3]})
    write_parquet(files[1], **{column: cells[2:], "label": [2, 1, 0]})
    images, labels = read_parquet(files)
    assert np.array_equal([Decoder((3, 6, 9))(image) for image in images], arrays)
    assert torch.equal(labels, torch.arange(4, -1, -1))
    assert images[3].name == f"row 1 of {files[1]}"


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"pixels": [1], "label": [0]}, 'Field "image" does not exist'),
        ({"img": [{"bytes": b"", "path": None}]}, 'Field "label" does not exist'),
        ({"img": [None], "label": [0]}, ""),
        ({"img": [{"bytes": b"", "path": None}], "label": ["cat"]}, ""),
        ({"img": [[1, 2, 3]], "label": [0]}, ""),
    ],
)
def test_a_parquet_file_of_something_else_is_named(tmp_path, write_parquet, columns, reason):
    write_parquet(tmp_path / "train.parquet", **columns)
    with pytest.raises(DataError, match=rf"train\.parquet cannot be read \(.*{reason}.*\)"):
        read_parquet([tmp_path / "train.parquet"])


@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[:-1], lambda content: content[:300]])
def test_a_damaged_parquet_file_is_named(tmp_path, write_parquet, pixels, encode, capfd, damage):
    path = tmp_path / "train.parquet"
    write_parquet(path, img=[{"bytes": encode(pixels(6, 9, 3)), "path": None}], label=[0])
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"train\.parquet cannot be read \(.+\): put the original file in its place"):
        read_parquet([path])
    assert capfd.readouterr() == ("", "")


def test_without_pyarrow_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "pyarrow.parquet", raising=False)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingPackageError, match=r"needs the package 'pyarrow'.*pip install 'inverseflow\[train\]'"):
        read_parquet([tmp_path / "train.parquet"])
