import json

import pytest

from inverseflow.utils.files import write_json, written_aside, written_folder


def test_a_failed_write_leaves_what_was_there_and_nothing_else(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("before")
    with pytest.raises(OSError, match="full"), written_aside(path) as aside:
        aside.write_text("half of")
        raise OSError("full")

    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_written_file_takes_the_place_of_the_former(tmp_path):
    path = tmp_path / "deep" / "numbers.json"
    write_json(path, {"a": 1})
    write_json(path, {"a": 2})

    assert json.loads(path.read_text()) == {"a": 2}
    assert list(path.parent.iterdir()) == [path]


def test_numbers_that_json_does_not_know_are_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "numbers.json", {"a": float("nan")})

    assert list(tmp_path.iterdir()) == []


def test_a_failed_folder_leaves_the_former_one(tmp_path):
    folder = tmp_path / "model"
    with written_folder(folder) as aside:
        (aside / "weights").write_text("good")
    with pytest.raises(RuntimeError), written_folder(folder) as aside:
        (aside / "weights").write_text("bad")
        raise RuntimeError

    assert (folder / "weights").read_text() == "good"
    assert list(tmp_path.iterdir()) == [folder]


def test_a_written_folder_holds_only_what_was_written_last(tmp_path):
    folder = tmp_path / "model"
    for name in ("first", "second"):
        with written_folder(folder) as aside:
            (aside / name).touch()

    assert [entry.name for entry in folder.iterdir()] == ["second"]
