import os
from pathlib import Path

import pytest

from inverseflow.data.walk import find_files
from inverseflow.errors import DataError


def images(folder: Path) -> list[str]:
    return [path.as_posix() for path in find_files(folder).images]


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


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
@pytest.mark.parametrize("name", ["a", "subject01.centerlight", "a.0001"])
def test_images_are_told_by_their_content(tmp_path, encode, pixels, name, kind):
    (tmp_path / name).write_bytes(encode(pixels(6, 9), kind))
    assert images(tmp_path) == [name]


@pytest.mark.parametrize("name", ["a.png.part", "a.JPG~", "a.png.bak"])
def test_backups_and_partial_downloads_are_not_images(tmp_path, encode, pixels, name):
    (tmp_path / name).write_bytes(encode(pixels(6, 9)))
    assert images(tmp_path) == []


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
    found = find_files(tmp_path)
    assert [os.fsencode(path) for path in found.images] == [b"\xff\n.png"]
    assert found.encoded(found.images[0]).name == f"{tmp_path}/\\xff\\n.png"


def test_other_files_and_hidden_ones_are_named_and_counted(tmp_path):
    touch(tmp_path, "0.png", "README.txt", "labels/a.csv", "b.json", "c.md", ".git/0.png", "labels/._0.png")
    found = find_files(tmp_path)
    assert [path.as_posix() for path in found.images] == ["0.png"]
    assert found.describe_others() == (
        "4 other files (README.txt, b.json, c.md, ...), 2 hidden files (.git, labels/._0.png)"
    )


def test_a_folder_of_images_alone_has_no_others(tmp_path):
    touch(tmp_path, "0.png")
    assert find_files(tmp_path).describe_others() == ""


def test_the_pictures_of_training_runs_are_not_read(tmp_path):
    touch(tmp_path, "0.png", "runs/a/config.yaml", "runs/a/checkpoints/last.ckpt", "runs/a/samples.png")
    found = find_files(tmp_path)
    assert [path.as_posix() for path in found.images] == ["0.png"]
    assert found.describe_others() == "1 training run (runs/a)"
    assert images(tmp_path / "runs" / "a") == ["samples.png"]


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
    assert images(tmp_path) == [f"{folder}/0.png" for folder in "abcdefgh"]


def test_a_folder_is_read_once_for_each_group(tmp_path):
    touch(tmp_path, "all/cats/0.png", "all/dogs/0.png")
    for name, target in (("train/cats", "../all/cats"), ("test/dogs", "../all/dogs"), ("train/up", "..")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(target)
    (tmp_path / "more").symlink_to("all")
    found = find_files(tmp_path, lambda folder: next(iter({"train", "test"} & {*folder.parts}), None))
    assert [path.as_posix() for path in found.images] == [
        "all/cats/0.png",
        "all/dogs/0.png",
        "test/dogs/0.png",
        "train/cats/0.png",
    ]


def test_a_link_to_nothing_is_an_image_if_it_is_named_like_one(tmp_path):
    (tmp_path / "gone.png").symlink_to("nowhere")
    (tmp_path / "gone.txt").symlink_to("nowhere")
    found = find_files(tmp_path)
    assert [path.name for path in found.images + found.others] == ["gone.png", "gone.txt"]


def test_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "pipe")
    assert [path.name for path in find_files(tmp_path).others] == ["pipe", "pipe.png"]


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    touch(tmp_path, "closed/0.png")
    listdir = os.listdir

    def refuse(folder):
        if Path(folder).name == "closed":
            raise PermissionError(13, "Permission denied")
        return listdir(folder)

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(DataError, match=r"closed cannot be read \(Permission denied\): change its permissions"):
        find_files(tmp_path)


@pytest.mark.parametrize(
    ("name", "found"), [(None, "no images: "), ("a.zip", r"no images, only 1 other file \(a\.zip\): ")]
)
def test_a_folder_without_images_is_refused_with_what_is_there(tmp_path, name, found):
    if name:
        touch(tmp_path, name)
    with pytest.raises(DataError, match=rf"{tmp_path} holds {found}put image files there \(\.apng \.bmp"):
        find_files(tmp_path).require_images()
