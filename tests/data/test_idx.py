import gzip
import os

import numpy as np
import pytest

from inverseflow.data.idx import read_idx
from inverseflow.errors import DataError


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("shape", [(5,), (4, 3, 2), (0, 28, 28)])
def test_an_array_comes_back_as_it_was_written(tmp_path, write_idx, pixels, shape, suffix):
    array = pixels(*shape)
    write_idx(tmp_path / f"file{suffix}", array)
    read = read_idx(tmp_path / f"file{suffix}", len(shape))
    assert read.shape == shape
    assert np.array_equal(read.numpy(), array)


def test_compression_is_told_by_the_content(tmp_path, write_idx, pixels):
    write_idx(tmp_path / "labels.gz", pixels(5))
    os.rename(tmp_path / "labels.gz", tmp_path / "labels")
    assert len(read_idx(tmp_path / "labels", 1)) == 5


def test_what_was_read_may_be_written_to(tmp_path, write_idx, pixels):
    write_idx(tmp_path / "labels", pixels(5))
    read_idx(tmp_path / "labels", 1).add_(1)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"absent cannot be read \(No such file or directory\)"):
        read_idx(tmp_path / "absent", 1)


def test_labels_in_the_place_of_images_are_refused(tmp_path, write_idx, pixels):
    write_idx(tmp_path / "images", pixels(5))
    with pytest.raises(DataError, match=r"images is not an IDX file of 3-.* begins 00 00 08 01, expected 00 00 08 03"):
        read_idx(tmp_path / "images", 3)


def test_another_kind_of_number_is_refused(tmp_path):
    (tmp_path / "images").write_bytes(bytes([0, 0, 0x0D, 1, 0, 0, 0, 1]) + bytes(4))  # floats
    with pytest.raises(DataError, match="begins 00 00 0d 01, expected 00 00 08 01"):
        read_idx(tmp_path / "images", 1)


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "labels").write_bytes(b"")
    with pytest.raises(DataError, match="labels is empty: put the original file in its place"):
        read_idx(tmp_path / "labels", 1)


def test_a_file_that_ends_within_its_header_is_refused(tmp_path):
    (tmp_path / "images").write_bytes(bytes([0, 0, 8, 3, 0, 0]))
    with pytest.raises(DataError, match="ends within its header, after 6 bytes: download it again"):
        read_idx(tmp_path / "images", 3)


@pytest.mark.parametrize(("change", "found"), [(-1, 23), (1, 25)])
def test_a_file_of_another_length_than_its_header_says_is_refused(tmp_path, write_idx, pixels, change, found):
    path = tmp_path / "images"
    write_idx(path, pixels(2, 3, 4))
    path.write_bytes(path.read_bytes()[:-1] if change < 0 else path.read_bytes() + b"\0")
    with pytest.raises(DataError, match=f"should hold 2 × 3 × 4 = 24 bytes after its header but holds {found}"):
        read_idx(path, 3)


def test_a_header_that_promises_more_than_memory_holds_is_refused(tmp_path):
    (tmp_path / "images").write_bytes(bytes([0, 0, 8, 3]) + b"\xff" * 12 + b"pixels")
    with pytest.raises(DataError, match="but holds 6"):
        read_idx(tmp_path / "images", 3)


def test_a_truncated_gzip_is_refused(tmp_path, write_idx, pixels):
    path = tmp_path / "images.gz"
    write_idx(path, pixels(20, 3, 4))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"images\.gz is truncated or damaged \(.*\): download it again"):
        read_idx(path, 3)


def test_a_gzip_with_flipped_bits_is_refused(tmp_path, write_idx, pixels):
    path = tmp_path / "images.gz"
    write_idx(path, pixels(20, 3, 4))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match="is truncated or damaged"):
        read_idx(path, 3)


def test_a_gzip_with_rubbish_after_it_is_refused(tmp_path, write_idx, pixels):
    path = tmp_path / "labels.gz"
    write_idx(path, pixels(5))
    path.write_bytes(path.read_bytes() + b"rubbish")
    with pytest.raises(DataError, match="is truncated or damaged"):
        read_idx(path, 1)


def test_a_gzip_of_something_else_is_refused(tmp_path):
    (tmp_path / "labels.gz").write_bytes(gzip.compress(b"<html>Not found</html>"))
    with pytest.raises(DataError, match=r"is not an IDX file .* begins 3c 68 74 6d"):
        read_idx(tmp_path / "labels.gz", 1)
