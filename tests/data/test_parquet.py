import sys

import numpy as np
import pytest

from inverseflow.data.decoding import Decoder
from inverseflow.data.parquet import read_parquet
from inverseflow.errors import DataError, MissingPackageError


def decoded(image) -> np.ndarray:
    return Decoder((3, 6, 9))(image)


@pytest.fixture
def arrays(pixels):
    return pixels(5, 6, 9, 3)


@pytest.fixture
def cells(arrays, encode):
    return [{"bytes": encode(array), "path": None} for array in arrays]


@pytest.mark.parametrize("column", ["img", "image"])
def test_parquet_gives_images_and_labels_in_order(tmp_path, write_parquet, arrays, cells, column):
    write_parquet(tmp_path / "train.parquet", **{column: cells, "label": [4, 3, 2, 1, 0]})
    split = read_parquet([tmp_path / "train.parquet"])
    assert np.array_equal([decoded(image) for image in split.images], arrays)
    assert split.labels.tolist() == [4, 3, 2, 1, 0]


def test_parquet_shards_are_joined_in_order(tmp_path, write_parquet, arrays, cells):
    write_parquet(tmp_path / "a.parquet", img=cells[:2])
    write_parquet(tmp_path / "b.parquet", img=cells[2:])
    split = read_parquet([tmp_path / "a.parquet", tmp_path / "b.parquet"])
    assert np.array_equal([decoded(image) for image in split.images], arrays)


def test_parquet_may_hold_plain_bytes_and_no_labels(tmp_path, write_parquet, arrays, cells):
    write_parquet(tmp_path / "train.parquet", image=[cell["bytes"] for cell in cells])
    split = read_parquet([tmp_path / "train.parquet"])
    assert np.array_equal(decoded(split.images[3]), arrays[3])
    assert split.labels is None


def test_parquet_may_name_files_instead_of_holding_bytes(tmp_path, write_parquet, arrays, cells):
    (tmp_path / "x.png").write_bytes(cells[0]["bytes"])
    paths = ["x.png", str(tmp_path / "x.png")]
    write_parquet(tmp_path / "train.parquet", img=[{"bytes": None, "path": path} for path in paths])
    for image in read_parquet([tmp_path / "train.parquet"]).images:
        assert np.array_equal(decoded(image), arrays[0])


def test_labels_in_some_shards_only_are_refused(tmp_path, write_parquet, cells):
    write_parquet(tmp_path / "a.parquet", img=cells[:2], label=[0, 1])
    write_parquet(tmp_path / "b.parquet", img=cells[2:])
    with pytest.raises(DataError, match="holds labels in some parquet files only"):
        read_parquet([tmp_path / "a.parquet", tmp_path / "b.parquet"])


def test_a_folder_called_with_wildcards_is_read(tmp_path, write_parquet, cells):
    write_parquet(tmp_path / "a[b]*" / "train.parquet", img=cells)
    assert len(read_parquet([tmp_path / "a[b]*" / "train.parquet"]).images) == 5


@pytest.mark.parametrize(("keep", "name"), [(0, "empty"), (300, "cut"), (-1, "one byte short")])
def test_a_truncated_parquet_file_is_named(tmp_path, write_parquet, cells, capfd, keep, name):
    path = tmp_path / f"{name}.parquet"
    write_parquet(path, img=cells)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=rf"{name}\.parquet (is damaged or not parquet data|holds no images)"):
        read_parquet([path])
    assert capfd.readouterr() == ("", "")


def test_a_parquet_file_with_damaged_content_is_named(tmp_path, write_parquet, cells, capfd):
    path = tmp_path / "bad.parquet"
    write_parquet(path, img=cells)
    content = bytearray(path.read_bytes())
    content[20:200] = bytes(180)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.parquet is damaged or not parquet data \(.+\): download it again"):
        read_parquet([path])
    assert capfd.readouterr() == ("", "")


def test_a_parquet_file_without_rows_is_named(tmp_path, write_parquet):
    write_parquet(tmp_path / "train.parquet", img=[], label=[])
    with pytest.raises(DataError, match=r"train\.parquet (holds no images|is damaged)"):
        read_parquet([tmp_path / "train.parquet"])


def test_a_parquet_file_without_a_column_of_images_is_refused(tmp_path, write_parquet):
    write_parquet(tmp_path / "train.parquet", pixels=[1, 2], label=[0, 1])
    with pytest.raises(DataError, match="has no column of images: expected one of img, image, found pixels, label"):
        read_parquet([tmp_path / "train.parquet"])


@pytest.mark.parametrize("cell", [[1, 2, 3], {"bytes": None, "path": None}, None])
def test_a_cell_without_an_encoded_image_is_named(tmp_path, write_parquet, cell):
    write_parquet(tmp_path / "train.parquet", img=[cell, cell])
    with pytest.raises(DataError, match=r"row 0 of .*train\.parquet holds no encoded image"):
        read_parquet([tmp_path / "train.parquet"])


@pytest.mark.parametrize("label", ["cat", None, 0.5])
def test_a_label_that_is_no_number_is_named(tmp_path, write_parquet, cells, label):
    write_parquet(tmp_path / "train.parquet", img=cells[:1], label=[label])
    with pytest.raises(DataError, match=rf"row 0 of .*train\.parquet has the label {label!r}"):
        read_parquet([tmp_path / "train.parquet"])


def test_a_bad_image_is_named_by_its_row(tmp_path, write_parquet, cells):
    cells[3] = {"bytes": b"rubbish", "path": None}
    write_parquet(tmp_path / "train.parquet", img=cells)
    with pytest.raises(DataError, match=r"row 3 of .*train\.parquet cannot be read as an image"):
        decoded(read_parquet([tmp_path / "train.parquet"]).images[3])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.parquet cannot be read \(No such file or directory\)"):
        read_parquet([tmp_path / "gone.parquet"])


def test_without_pyarrow_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingPackageError, match=r"needs the package 'pyarrow'.*pip install 'inverseflow\[train\]'"):
        read_parquet([tmp_path / "train.parquet"])
