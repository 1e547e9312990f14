import errno
import json
import os
import secrets
import shutil
from pathlib import Path

import pytest

from inverseflow.utils.files import (
    atomic_folder,
    atomic_write,
    delete_temporary,
    is_temporary,
    write_json,
    write_text,
    write_torch,
)


def test_a_failed_write_leaves_what_was_there_and_nothing_else(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("before")
    with pytest.raises(RuntimeError), atomic_write(path) as temporary:
        temporary.write_text("half of")
        raise RuntimeError

    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_written_file_replaces_the_previous_one(tmp_path):
    path = tmp_path / "deep" / "numbers.json"
    write_json(path, {"a": 1})
    write_json(path, {"a": 2})

    assert json.loads(path.read_text()) == {"a": 2}
    assert list(path.parent.iterdir()) == [path]


def test_two_writers_of_one_file_do_not_collide(tmp_path):
    path = tmp_path / "notes.txt"
    with atomic_write(path) as first, atomic_write(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")

    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_written_through_to_its_target(tmp_path):
    target, link = tmp_path / "there" / "notes.txt", tmp_path / "link.txt"
    link.symlink_to(target)
    for text in ("created", "replaced"):
        write_text(link, text)
        assert link.is_symlink()
        assert target.read_text() == text


def test_a_link_to_itself_is_an_error_that_names_it(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(link)
    with pytest.raises(OSError, match="link") as caught:
        write_text(link, "nowhere")
    assert (caught.value.errno, caught.value.filename) == (errno.ELOOP, str(link))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has the device that is always full")
def test_a_full_device_is_named_and_not_replaced(tmp_path):
    link = tmp_path / "picture.png"
    link.symlink_to("/dev/full")
    for path in (Path("/dev/full"), link):
        with pytest.raises(OSError, match="space") as caught:
            write_text(path, "x")
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    assert Path("/dev/full").is_char_device()


def test_a_name_with_a_null_character_is_an_error_that_shows_it(tmp_path):
    for write in (write_text, write_json, write_torch):
        with pytest.raises(OSError, match="null character") as caught:
            write(tmp_path / "a\0b.txt", "x")
        assert caught.value.filename == str(tmp_path / r"a\0b.txt")


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), OSError("encoder error -2")])
def test_a_system_error_of_the_writer_names_the_file(tmp_path, error):
    path = tmp_path / "notes.txt"
    with pytest.raises(OSError, match=error.strerror or str(error)) as caught, atomic_write(path):
        raise error
    assert caught.value.filename == str(path)


def test_a_system_error_about_another_file_still_names_that_file(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, atomic_write(tmp_path / "notes.txt"):
        (tmp_path / "absent").read_text()
    assert caught.value.filename == str(tmp_path / "absent")


def test_a_folder_or_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(IsADirectoryError, match="folder"):
        write_text(tmp_path / "folder", "x")
    with pytest.raises(NotADirectoryError, match="file"), atomic_folder(tmp_path / "file"):
        pass
    with pytest.raises(OSError, match="file"):
        write_text(tmp_path / "file" / "below", "x")


def test_a_new_file_obeys_the_umask_and_a_replaced_one_keeps_its_permissions(tmp_path):
    previous = os.umask(0o027)
    try:
        write_text(tmp_path / "new", "x")
        (tmp_path / "old").touch(0o600)
        write_text(tmp_path / "old", "x")
    finally:
        os.umask(previous)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("new", "old")] == [0o640, 0o600]


def test_the_longest_name_can_be_written(tmp_path):
    for path in (tmp_path / ("é" * 120 + ".json"), tmp_path / ("a." + "b" * 250)):
        write_json(path, 1)
        assert path.exists()


def test_numbers_that_json_does_not_know_are_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "numbers.json", {"a": float("nan")})

    assert list(tmp_path.iterdir()) == []


def test_a_file_name_that_is_not_utf8_survives_json(tmp_path):
    content = {"é": os.fsdecode(b"caf\xe9.png")}
    write_json(tmp_path / "names.json", content)
    assert json.loads((tmp_path / "names.json").read_text("utf-8")) == content


def test_what_a_killed_writer_left_is_recognized_and_deleted(tmp_path):
    (tmp_path / ".config.part.yaml").write_text("somebody else's")
    write_text(tmp_path / "notes.txt", "finished")
    with atomic_write(tmp_path / "last.ckpt") as file, atomic_folder(tmp_path / ("x" * 250)) as folder:
        kept = {tmp_path / ".config.part.yaml", tmp_path / "notes.txt"}
        assert {path for path in tmp_path.iterdir() if is_temporary(path)} == {file, folder}
        shutil.copy(file, file.with_name(secrets.token_hex(8).join([".a.", ".part"])))
        shutil.copytree(folder, folder.with_name(secrets.token_hex(8).join([".b.", ".part"])))
    delete_temporary(tmp_path)
    delete_temporary(tmp_path / "absent")
    assert set(tmp_path.iterdir()) == kept | {tmp_path / "last.ckpt", tmp_path / ("x" * 250)}


def test_a_failed_folder_leaves_the_previous_one(tmp_path):
    folder = tmp_path / "model"
    with atomic_folder(folder) as temporary:
        (temporary / "weights").write_text("good")
    with pytest.raises(RuntimeError), atomic_folder(folder) as temporary:
        (temporary / "weights").write_text("bad")
        raise RuntimeError

    assert (folder / "weights").read_text() == "good"
    assert list(tmp_path.iterdir()) == [folder]


def test_a_system_error_in_a_folder_names_the_file_where_it_would_have_been(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, atomic_folder(tmp_path / "model") as temporary:
        (temporary / "weights").read_text()
    assert caught.value.filename == str(tmp_path / "model" / "weights")


def test_a_atomic_folder_holds_only_what_was_written_last(tmp_path):
    folder = tmp_path / "model"
    for name in ("first", "second"):
        with atomic_folder(folder) as temporary:
            (temporary / name).touch()

    assert [entry.name for entry in folder.iterdir()] == ["second"]
