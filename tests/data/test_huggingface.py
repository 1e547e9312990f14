import socket
import sys
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet
import pytest

from inverseflow.data.decoding import Decoder
from inverseflow.data.huggingface import read_hub, read_image_folder, read_parquet
from inverseflow.errors import DataError


def decoded(image) -> np.ndarray:
    return Decoder((3, 6, 9))(image)


@pytest.fixture
def arrays(pixels):
    return pixels(5, 6, 9, 3)


@pytest.fixture
def cells(arrays, encode):
    return [{"bytes": encode(array), "path": None} for array in arrays]


# Parquet


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
    write_parquet(tmp_path / "train.parquet", img=[{"bytes": None, "path": str(tmp_path / "x.png")}])
    assert np.array_equal(decoded(read_parquet([tmp_path / "train.parquet"]).images[0]), arrays[0])


def test_parquet_as_datasets_itself_writes_it_is_read(tmp_path, arrays, cells):
    features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    table = datasets.Dataset.from_dict({"img": cells, "label": [0, 1, 1, 0, 1]}, features=features)
    pyarrow.parquet.write_table(table.data.table, tmp_path / "train.parquet")
    split = read_parquet([tmp_path / "train.parquet"])
    assert np.array_equal([decoded(image) for image in split.images], arrays)
    assert split.labels.tolist() == [0, 1, 1, 0, 1]
    assert split.classes == ("cat", "dog")


def test_a_changed_parquet_file_is_read_again(tmp_path, write_parquet, cells):
    for count in (3, 5):
        write_parquet(tmp_path / "train.parquet", img=cells[:count])
        assert len(read_parquet([tmp_path / "train.parquet"]).images) == count


def test_a_folder_called_with_wildcards_is_read(tmp_path, write_parquet, cells):
    write_parquet(tmp_path / "a[b]*" / "train.parquet", img=cells)
    assert len(read_parquet([tmp_path / "a[b]*" / "train.parquet"]).images) == 5


def test_reading_leaves_nothing_beside_the_data(tmp_path, write_parquet, write_images, cells):
    write_parquet(tmp_path / "train.parquet", img=cells)
    write_images(tmp_path / "images", 3)
    before = sorted(tmp_path.rglob("*"))
    read_parquet([tmp_path / "train.parquet"])
    read_image_folder(tmp_path / "images")
    assert sorted(tmp_path.rglob("*")) == before


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


def test_a_cache_that_may_not_be_written_is_named(tmp_path, write_parquet, cells, monkeypatch):
    write_parquet(tmp_path / "train.parquet", img=cells)
    (tmp_path / "file").touch()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "file" / "cache")
    with pytest.raises(DataError, match=r"cannot be read through the Hugging Face cache .* set HF_HOME"):
        read_parquet([tmp_path / "train.parquet"])


def test_without_datasets_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"needs the package 'datasets'.*pip install 'inverseflow\[train\]'"):
        read_parquet([tmp_path / "train.parquet"])


# Image folders


def names(split, folder: Path) -> list[str]:
    return [Path(image.name).relative_to(folder).as_posix() for image in split.images]


def test_images_are_found_in_all_subfolders_and_sorted_by_path(tmp_path, write_images):
    for folder in ("b", "a/deep", "c"):
        write_images(tmp_path / folder, 2)
    write_images(tmp_path, 1)
    split = read_image_folder(tmp_path)
    assert names(split, tmp_path) == [
        "00.png",
        "a/deep/00.png",
        "a/deep/01.png",
        "b/00.png",
        "b/01.png",
        "c/00.png",
        "c/01.png",
    ]
    assert split.labels is None


def test_subfolders_are_labels(tmp_path, write_images):
    for folder in ("dog", "cat"):
        write_images(tmp_path / folder, 2)
    split = read_image_folder(tmp_path)
    assert split.classes == ("cat", "dog")
    assert split.labels.tolist() == [0, 0, 1, 1]


def test_names_that_mean_something_elsewhere_mean_nothing_here(tmp_path, write_images):
    write_images(tmp_path / "im[a]ges", 2)
    (tmp_path / "im[a]ges" / "00.png").rename(tmp_path / "im[a]ges" / "test-1.PNG")
    (tmp_path / "im[a]ges" / "metadata.csv").write_text("a,b\n1,2\n")
    (tmp_path / "im[a]ges" / "README.txt").write_text("hello")
    (tmp_path / "im[a]ges" / "._01.png").write_bytes(b"left by macOS")
    assert names(read_image_folder(tmp_path / "im[a]ges"), tmp_path / "im[a]ges") == ["01.png", "test-1.PNG"]


def test_a_folder_inside_a_hidden_one_is_read(tmp_path, write_images):
    write_images(tmp_path / ".cache" / "images", 2)
    assert len(read_image_folder(tmp_path / ".cache" / "images").images) == 2


@pytest.mark.parametrize("other", [None, "README.txt", ".hidden.png"])
def test_a_folder_without_images_is_refused(tmp_path, other):
    if other:
        (tmp_path / other).write_text("hello")
    with pytest.raises(DataError, match=f"{tmp_path} holds no images"):
        read_image_folder(tmp_path)


# The hub


def test_the_hub_gives_its_splits(monkeypatch, arrays, cells):
    table = datasets.Dataset.from_dict({"image": cells, "label": range(5)}).cast_column("image", datasets.Image())
    monkeypatch.setattr(
        datasets, "load_dataset", lambda repository: datasets.DatasetDict({"train": table, "test": table})
    )
    splits = read_hub("somebody/something", remedy="")
    assert list(splits) == ["train", "test"]
    assert np.array_equal([decoded(image) for image in splits["test"].images], arrays)
    assert splits["train"].labels.tolist() == [0, 1, 2, 3, 4]


def test_a_hub_out_of_reach_gives_the_remedy(monkeypatch):
    def unreachable(repository: str) -> None:
        raise ConnectionError(f"Couldn't reach {repository!r} on the Hub") from OSError("[Errno -2] Name unknown")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(DataError, match=r"a/b cannot be fetched from the Hugging Face hub \(.*\): carry a disk over"):
        read_hub("a/b", remedy="carry a disk over")


def settings() -> tuple[bool, int, bool]:
    bars, verbosity = datasets.is_progress_bar_enabled(), datasets.logging.get_verbosity()
    return bars, verbosity, datasets.config.HF_UPDATE_DOWNLOAD_COUNTS


def test_the_settings_of_datasets_are_as_before_afterwards(tmp_path):
    before = settings()
    with pytest.raises(DataError):
        read_image_folder(tmp_path)
    assert settings() == before


def test_local_data_is_read_without_the_network(tmp_path, write_parquet, write_images, cells, monkeypatch):
    def connect(*arguments: object) -> None:
        pytest.fail(f"tried to reach {arguments}")

    write_parquet(tmp_path / "train.parquet", img=cells)
    write_images(tmp_path / "images", 3)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
    read_parquet([tmp_path / "train.parquet"])
    read_image_folder(tmp_path / "images")
