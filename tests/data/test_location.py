import pytest

from inverseflow.data.location import existing_folder
from inverseflow.errors import DataError


def test_a_folder_is_returned(tmp_path):
    assert existing_folder(str(tmp_path)) == tmp_path


def test_the_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    assert existing_folder("~/data") == tmp_path / "data"


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="absent does not exist: give the folder that holds the data"):
        existing_folder(tmp_path / "absent")


def test_a_file_in_its_place_is_refused(tmp_path):
    (tmp_path / "train.parquet").touch()
    with pytest.raises(DataError, match=r"train\.parquet is a file: give the folder that holds it"):
        existing_folder(tmp_path / "train.parquet")
