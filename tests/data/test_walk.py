import os
from pathlib import Path

import pytest

from inverseflow.data.paths import printable
from inverseflow.data.walk import IMAGE_FILES, find_files
from inverseflow.errors import DataError


def images(folder: Path, split: str | None = None) -> list[str]:
    return [path.as_posix() for path in find_files(folder, IMAGE_FILES).files[split]]


def others(folder: Path) -> list[str]:
    return [path.as_posix() for path in find_files(folder, IMAGE_FILES).others]


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_images_are_found_at_any_depth_in_the_order_of_their_paths(tmp_path):
    deep = "/".join(["d"] * 100)
    touch(tmp_path, "b/0.png", "a/deep/1.png", "a/deep/0.png", "0.png", f"{deep}/0.png")
    assert images(tmp_path) == ["0.png", "a/deep/0.png", "a/deep/1.png", "b/0.png", f"{deep}/0.png"]


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.JpEg", "a.jfif", "a.tif", "a.pgm", "a.webp", "a.gif", "a.bmp"])
def test_images_are_told_by_their_names_in_any_case(tmp_path, name):
    touch(tmp_path, name)
    assert images(tmp_path) == [name]


@pytest.mark.parametrize(
    "name", ["a b.png", "a[b]*?.png", "'\".png", "-n.png", "a\nb.png", "ä😀.png", "%s{0}.png", "a:b.png"]
)
def test_any_name_works(tmp_path, name):
    touch(tmp_path, f"{name}.folder/{name}")
    assert images(tmp_path) == [f"{name}.folder/{name}"]


def test_names_that_are_not_utf_8_work_and_are_shown_by_their_bytes(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff\n.png"
    try:
        open(path, "w").close()
    except OSError:
        pytest.skip("this file system admits names in UTF-8 only")
    (found,) = find_files(tmp_path, IMAGE_FILES).files[None]
    assert os.fsencode(found) == b"\xff\n.png"
    assert printable(found) == r"\xff\n.png"


def test_other_files_and_hidden_ones_are_listed(tmp_path):
    touch(tmp_path, "0.png", "README.txt", "labels/a.csv", "b.png.part", "c", ".git/0.png", "labels/._0.png")
    assert images(tmp_path) == ["0.png"]
    assert others(tmp_path) == [".git", "README.txt", "b.png.part", "c", "labels/._0.png", "labels/a.csv"]


def test_a_folder_inside_a_hidden_one_is_read(tmp_path):
    touch(tmp_path, ".cache/images/0.png")
    assert images(tmp_path / ".cache" / "images") == ["0.png"]


def test_a_folder_named_like_an_image_is_a_folder(tmp_path):
    touch(tmp_path, "a.png/0.png")
    assert images(tmp_path) == ["a.png/0.png"]


def test_links_to_files_and_folders_are_followed(tmp_path):
    touch(tmp_path, "elsewhere/0.png", "elsewhere/deep/1.png", "2.png")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "folder").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "here" / "file.png").symlink_to(tmp_path / "2.png")
    (tmp_path / "link").symlink_to(tmp_path / "here")
    assert images(tmp_path / "link") == ["file.png", "folder/0.png", "folder/deep/1.png"]


def test_cycles_of_links_end_and_each_folder_is_read_once(tmp_path):
    touch(tmp_path, *(f"{folder}/0.png" for folder in "abcdefgh"))
    for folder in "abcdefgh":
        for other in "abcdefgh":
            (tmp_path / folder / f"to_{other}").symlink_to(tmp_path / other)
        (tmp_path / folder / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to("self")
    found = [os.path.realpath(tmp_path / path) for path in images(tmp_path)]
    assert sorted(found) == [f"{tmp_path.resolve()}/{folder}/0.png" for folder in "abcdefgh"]


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        *((name, "train") for name in ("train", "Training", "cats/TRAIN", "Train/test", "a/b/c/train/d")),
        *((name, "validation") for name in ("val", "Valid", "VALIDATION", "dev")),
        *((name, "test") for name in ("test", "Testing", "test/train")),
        *((name, None) for name in ("trainer", "test tube", "contest", "values", "device")),
    ],
)
def test_the_first_folder_on_a_path_that_is_called_like_a_split_gives_it(tmp_path, folder, split):
    touch(tmp_path, f"{folder}/0.png")
    assert images(tmp_path, split) == [f"{folder}/0.png"]


def test_a_split_without_images_is_there(tmp_path):
    (tmp_path / "Test").mkdir()
    assert find_files(tmp_path, IMAGE_FILES).files == {None: [], "test": []}


def test_a_folder_is_read_once_for_each_split(tmp_path):
    touch(tmp_path, "all/cats/0.png", "all/dogs/0.png")
    for name, target in (("train/cats", "../all/cats"), ("test/dogs", "../all/dogs"), ("train/up", "..")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(target)
    (tmp_path / "more").symlink_to("all")
    assert images(tmp_path) == ["all/cats/0.png", "all/dogs/0.png"]
    assert images(tmp_path, "train") == ["train/cats/0.png"]
    assert images(tmp_path, "test") == ["test/dogs/0.png"]


def test_a_link_to_nothing_is_an_image_if_it_is_named_like_one(tmp_path):
    (tmp_path / "gone.png").symlink_to("nowhere")
    (tmp_path / "gone.txt").symlink_to("nowhere")
    assert (images(tmp_path), others(tmp_path)) == (["gone.png"], ["gone.txt"])


def test_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert (images(tmp_path), others(tmp_path)) == ([], ["pipe.png"])


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    touch(tmp_path, "closed/0.png")
    scandir = os.scandir

    def refuse(folder):
        if Path(folder).name == "closed":
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"closed cannot be read \(Permission denied\): change its permissions"):
        find_files(tmp_path, IMAGE_FILES)
