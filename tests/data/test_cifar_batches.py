import os
import pickle

import numpy as np
import pytest

from inverseflow.data.cifar_batches import has_batches, read_archive, read_batches
from inverseflow.errors import DataError


@pytest.mark.parametrize("suffix", ["", ".bin"])
def test_images_and_labels_come_in_the_order_of_the_batches(tmp_path, write_batches, suffix):
    write_batches(tmp_path / "batches", suffix)
    assert has_batches(tmp_path / "batches")
    splits = read_batches(tmp_path / "batches")
    assert splits["train"].labels.tolist() == [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]
    assert splits["test"].labels.tolist() == [5, 4]
    assert splits["train"].tensor().shape == (10, 3, 32, 32)


def test_a_row_holds_the_red_then_the_green_then_the_blue_plane(tmp_path, write_batches):
    write_batches(tmp_path / "batches", ".bin")
    row = bytes([7]) + bytes([1] * 1024 + [2] * 1024 + [3] * 1024)
    (tmp_path / "batches" / "test_batch.bin").write_bytes(row)
    image = read_batches(tmp_path / "batches")["test"].tensor()[0]
    assert [plane.unique().tolist() for plane in image] == [[1], [2], [3]]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("keys", [str, str.encode])
def test_pickles_of_any_protocol_are_read(tmp_path, write_batches, pixels, protocol, keys):
    write_batches(tmp_path / "batches")
    rows = pixels(3, 3072)
    content = pickle.dumps({keys("data"): rows, keys("labels"): [1, 2, 3]}, protocol)
    (tmp_path / "batches" / "test_batch").write_bytes(content)
    test = read_batches(tmp_path / "batches")["test"]
    assert np.array_equal(test.tensor().numpy().reshape(3, -1), rows)
    assert test.labels.tolist() == [1, 2, 3]


def test_a_pickle_of_python_2_is_read(tmp_path, write_batches):
    # As published: protocol 2, byte strings for keys and for the array's memory, NumPy's former module names.
    write_batches(tmp_path / "batches")
    content = (
        b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x01M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff"
        b"K\x00tb\x89T\x00\x0c\x00\x00" + bytes(3072) + b"tbU\x06labels](K\x08eu."
    )
    (tmp_path / "batches" / "test_batch").write_bytes(content)
    assert read_batches(tmp_path / "batches")["test"].labels.tolist() == [8]


class Attack:
    def __reduce__(self) -> tuple:
        return os.system, ("touch attacked",)


def test_a_pickle_runs_no_code(tmp_path, write_batches, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_batches(tmp_path / "batches")
    (tmp_path / "batches" / "test_batch").write_bytes(pickle.dumps({b"data": Attack(), b"labels": []}))
    with pytest.raises(DataError, match=r"test_batch in .* is not a batch .* refers to posix.system"):
        read_batches(tmp_path / "batches")
    assert not (tmp_path / "attacked").exists()


@pytest.mark.parametrize("suffix", ["", ".bin"])
def test_a_missing_batch_is_named(tmp_path, write_batches, suffix):
    write_batches(tmp_path / "batches", suffix)
    (tmp_path / "batches" / f"data_batch_3{suffix}").unlink()
    with pytest.raises(DataError, match=rf"batches lacks data_batch_3{suffix}: download it again"):
        read_batches(tmp_path / "batches")


@pytest.mark.parametrize("suffix", ["", ".bin"])
@pytest.mark.parametrize("keep", [0, 100, -1])
def test_a_truncated_batch_is_named(tmp_path, write_batches, suffix, keep):
    write_batches(tmp_path / "batches", suffix)
    path = tmp_path / "batches" / f"data_batch_3{suffix}"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=rf"data_batch_3{suffix} in .*batches .*: download it again"):
        read_batches(tmp_path / "batches")


@pytest.mark.parametrize(
    "batch",
    [
        {"data": np.zeros((2, 3072), np.uint8), "labels": [1]},
        {"data": np.zeros((2, 3072)), "labels": [1, 2]},
        {"data": np.zeros((2, 3072), np.uint8), "fine_labels": [1, 2]},
        {"data": np.zeros((2, 3072), np.uint8), "labels": ["a", "b"]},
        [1, 2],
    ],
)
def test_another_pickle_is_refused(tmp_path, write_batches, batch):
    write_batches(tmp_path / "batches")
    (tmp_path / "batches" / "test_batch").write_bytes(pickle.dumps(batch))
    with pytest.raises(DataError, match=r"test_batch in .*batches .*: download it again"):
        read_batches(tmp_path / "batches")


def test_a_truncated_archive_is_named(tmp_path, write_batches, write_cifar_archive):
    write_batches(tmp_path / "batches")
    write_cifar_archive(tmp_path / "cifar-10-python.tar.gz", tmp_path / "batches")
    path = tmp_path / "cifar-10-python.tar.gz"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match=r"cifar-10-python\.tar\.gz cannot be read .*: download it again"):
        read_archive(path)
