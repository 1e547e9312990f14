import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from inverseflow.data import FileImages, TensorImages, folder
from inverseflow.data.folder import load_folder
from inverseflow.errors import DataError


def sizes(splits) -> list[int]:
    return [len(splits.train), len(splits.validation), len(splits.test)]


def gray(folder, count: int, first: int = 0) -> None:
    """Write images of 4×4 each of which has a gray level of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for level in range(first, first + count):
        Image.new("L", (4, 4), level).save(folder / f"{level:03}.png")


def levels(images) -> list[int]:
    return images.tensor()[:, 0, 0, 0].tolist()


# Splits


@pytest.mark.parametrize("count", [3, 4, 10, 19, 60])
def test_every_image_is_in_one_split_and_no_split_is_empty(tmp_path, count):
    gray(tmp_path, count)
    splits = load_folder(tmp_path)
    assert all(sizes(splits))
    assert sorted(levels(splits.train) + levels(splits.validation) + levels(splits.test)) == list(range(count))


def test_about_eight_one_and_one_tenth_go_into_the_splits(tmp_path):
    gray(tmp_path, 100)
    assert np.allclose(np.array(sizes(load_folder(tmp_path))) / 100, [0.8, 0.1, 0.1], atol=0.06)


def test_the_division_follows_the_seed_and_not_the_place(tmp_path):
    gray(tmp_path / "here", 30)
    gray(tmp_path / "there" / "deep", 15)
    gray(tmp_path / "there", 15, first=15)
    (tmp_path / "there" / "020.png").rename(tmp_path / "there" / "moved.png")
    here, there = load_folder(tmp_path / "here"), load_folder(tmp_path / "there")
    assert set(levels(here.test)) == set(levels(there.test))
    assert levels(here.test) != levels(load_folder(tmp_path / "here", split_seed=1).test)


def test_files_that_are_added_move_no_image(tmp_path):
    gray(tmp_path, 40)
    before = load_folder(tmp_path)
    gray(tmp_path / "more", 40, first=40)
    after = load_folder(tmp_path)
    for name in ("train", "validation", "test"):
        assert levels(getattr(before, name)) == [level for level in levels(getattr(after, name)) if level < 40]


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("train", "validation", "test"),
        ("Train", "Val", "Test"),
        ("TRAINING", "valid", "testing"),
        ("train", "dev", "test"),
        ("archive/Train", "archive/val", "archive/test"),
    ],
)
def test_a_divided_folder_is_taken_as_it_is(tmp_path, train, validation, test):
    gray(tmp_path / train / "some" / "where", 5)
    gray(tmp_path / validation, 3, first=5)
    gray(tmp_path / test / "test", 2, first=8)
    splits = load_folder(tmp_path)
    assert levels(splits.train) == [0, 1, 2, 3, 4]
    assert levels(splits.validation) == [5, 6, 7]
    assert levels(splits.test) == [8, 9]
    assert splits.notes == ()


def test_splits_may_be_folders_of_links(tmp_path):
    gray(tmp_path / "all" / "cats", 5)
    gray(tmp_path / "all" / "dogs", 5, first=5)
    for split, name in (("train", "cats"), ("test", "dogs")):
        (tmp_path / split).mkdir()
        (tmp_path / split / name).symlink_to(tmp_path / "all" / name)
    splits = load_folder(tmp_path)
    assert sorted(levels(splits.train) + levels(splits.validation)) == [0, 1, 2, 3, 4]
    assert levels(splits.test) == [5, 6, 7, 8, 9]


def test_classes_may_be_above_the_splits(tmp_path):
    for number, name in enumerate(("cats", "dogs")):
        gray(tmp_path / name / "Train", 5, first=10 * number)
        gray(tmp_path / name / "Test", 2, first=10 * number + 5)
    splits = load_folder(tmp_path)
    assert levels(splits.test) == [5, 6, 15, 16]
    assert sorted(levels(splits.train) + levels(splits.validation)) == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]


def test_two_folders_for_one_split_are_joined(tmp_path):
    gray(tmp_path / "train", 5)
    gray(tmp_path / "val", 2, first=5)
    gray(tmp_path / "Validation", 2, first=7)
    assert levels(load_folder(tmp_path).validation) == [7, 8, 5, 6]


@pytest.mark.parametrize("there", ["test", "val"])
def test_the_split_that_is_missing_is_held_out_of_train(tmp_path, there):
    gray(tmp_path / "train", 20)
    gray(tmp_path / there, 3, first=20)
    splits = load_folder(tmp_path)
    given, other = (splits.test, splits.validation) if there == "test" else (splits.validation, splits.test)
    assert levels(given) == [20, 21, 22]
    assert len(other) > 0
    assert sorted(levels(splits.train) + levels(other)) == list(range(20))


@pytest.mark.parametrize("other", ["plane", "test tube"])
def test_a_subfolder_train_alone_is_a_subfolder_like_others(tmp_path, other):
    gray(tmp_path / "train", 5)
    gray(tmp_path / other, 5, first=5)
    splits = load_folder(tmp_path)
    assert sum(sizes(splits)) == 10
    assert not set(range(5, 10)) <= set(levels(splits.test))


@pytest.mark.parametrize("name", ["Test", "val"])
def test_without_a_folder_for_training_all_other_images_are_for_training(tmp_path, name):
    gray(tmp_path / name, 3)
    gray(tmp_path / "cats", 10, first=3)
    splits = load_folder(tmp_path)
    given, other = (splits.test, splits.validation) if name == "Test" else (splits.validation, splits.test)
    assert levels(given) == [0, 1, 2]
    assert sorted(levels(splits.train) + levels(other)) == list(range(3, 13))


def test_a_given_split_that_is_linked_to_from_outside_is_not_trained_on(tmp_path):
    gray(tmp_path / "Test", 3)
    gray(tmp_path / "cats", 10, first=3)
    (tmp_path / "cats" / "all").symlink_to(tmp_path / "Test")
    (tmp_path / "cats" / "again.png").symlink_to(tmp_path / "Test" / "000.png")
    splits = load_folder(tmp_path)
    assert levels(splits.test) == [0, 1, 2]
    assert sorted(levels(splits.train) + levels(splits.validation)) == list(range(3, 13))


def test_images_outside_of_the_splits_are_left_out_and_counted(tmp_path):
    gray(tmp_path / "train", 10)
    gray(tmp_path / "test", 2, first=10)
    gray(tmp_path, 2, first=12)
    splits = load_folder(tmp_path)
    assert sum(sizes(splits)) == 12
    assert splits.notes == (
        f"left out of {tmp_path}: 2 images (012.png, 013.png) outside of its subfolders for splits",
    )


def test_other_files_are_named_and_counted(tmp_path):
    gray(tmp_path, 10)
    (tmp_path / "README.txt").touch()
    (tmp_path / ".DS_Store").touch()
    assert load_folder(tmp_path).notes == (f"left out of {tmp_path}: 2 other files (.DS_Store, README.txt)",)


# What comes out


def test_the_set_is_described(tmp_path, write_images, monkeypatch):
    write_images(tmp_path / "cats", 10, height=6, width=9)
    monkeypatch.chdir(tmp_path / "cats")
    splits = load_folder(".")
    assert (splits.name, splits.title, splits.levels, splits.event_shape) == ("folder", "cats", 256, (3, 6, 9))
    assert splits.augmentations == ("horizontal_flip",)


def test_channels_are_those_that_the_files_store(tmp_path, write_images):
    write_images(tmp_path, 10, channels=1)
    assert load_folder(tmp_path).event_shape == (1, 8, 8)
    (tmp_path / "new").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "new" / "color.webp")
    assert load_folder(tmp_path).event_shape == (3, 8, 8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("stored", [1, 3])
def test_channels_can_be_chosen(tmp_path, write_images, stored, channels):
    write_images(tmp_path, 10, channels=stored)
    assert load_folder(tmp_path, channels=channels).event_shape == (channels, 8, 8)


@pytest.mark.parametrize("crop", ["resize", "center"])
def test_images_of_many_sizes_become_one_size(tmp_path, write_images, crop):
    for number, (height, width) in enumerate([(8, 8), (9, 20), (30, 10)]):
        write_images(tmp_path / str(number), 4, height, width)
    splits = load_folder(tmp_path, image_size=8, crop=crop)
    assert splits.event_shape == (3, 8, 8)
    assert sum(sizes(splits)) == 12


def test_many_kinds_of_files_are_read(tmp_path):
    for kind in ("png", "jpg", "JPEG", "gif", "bmp", "webp", "tiff", "ppm"):
        Image.new("RGB", (8, 8), (200, 0, 0)).save(tmp_path / f"red.{kind}")
    splits = load_folder(tmp_path)
    assert sum(sizes(splits)) == 8
    assert (splits.train.tensor().amin((2, 3))[:, 0] > 190).all()


def test_a_path_with_any_characters_is_read_and_described(tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/a [b]*?'\n\xff"))
    try:
        gray(folder, 5)
    except OSError:
        pytest.skip("this file system admits names in UTF-8 only")
    splits = load_folder(folder)
    assert sum(sizes(splits)) == 5
    assert splits.title == r"a [b]*?'\n\xff"


@pytest.mark.slow  # decodes 200 million pixels
def test_a_large_image_is_read(tmp_path):
    gray(tmp_path, 3)
    Image.new("1", (20_000, 10_000), 1).save(tmp_path / "large.png")
    assert sum(sizes(load_folder(tmp_path, image_size=4))) == 4


def test_images_turned_by_their_orientation_have_one_size_with_the_rest(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 8
    for number in range(4):
        Image.new("RGB", (9, 6)).save(tmp_path / f"{number}.jpg")
    Image.new("RGB", (6, 9)).save(tmp_path / "turned.jpg", exif=exif)
    assert load_folder(tmp_path).event_shape == (3, 6, 9)


def test_a_large_set_stays_in_its_files(tmp_path, write_images, monkeypatch):
    write_images(tmp_path, 10)
    held = load_folder(tmp_path, image_size=4)
    monkeypatch.setattr(folder, "_IN_MEMORY_BYTES", 10 * 3 * 4 * 4 - 1)
    in_files = load_folder(tmp_path, image_size=4)
    for name in ("train", "validation", "test"):
        assert isinstance(getattr(held, name), TensorImages)
        assert isinstance(getattr(in_files, name), FileImages)
        assert torch.equal(getattr(held, name).tensor(), getattr(in_files, name).tensor())


# What can be wrong


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="absent does not exist"):
        load_folder(tmp_path / "absent")


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(DataError, match=rf"{tmp_path} holds no images: put image files there \(\.apng \.bmp"):
        load_folder(tmp_path)


def test_an_empty_split_is_named(tmp_path):
    gray(tmp_path / "train", 5)
    (tmp_path / "test").mkdir()
    with pytest.raises(DataError, match=f"{tmp_path} holds no images for test: put some into a subfolder 'test'"):
        load_folder(tmp_path)


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_images_are_refused(tmp_path, count):
    gray(tmp_path, count)
    with pytest.raises(DataError, match=f"{tmp_path} cannot be divided: {count} examples are too few to split"):
        load_folder(tmp_path)


def test_a_folder_for_tests_alone_is_refused(tmp_path):
    gray(tmp_path / "test", 10)
    with pytest.raises(DataError, match="holds no images for train: put some into a subfolder 'train', or rename"):
        load_folder(tmp_path)


def test_two_images_of_different_sizes_are_named_with_the_remedy(tmp_path, write_images):
    write_images(tmp_path / "a", 5, 8, 8)
    write_images(tmp_path / "b", 5, 9, 8)
    with pytest.raises(DataError, match=r"b/00\.png is 9×8, but the others are 8×8: .* image_size \(--image-size\)"):
        load_folder(tmp_path)


@pytest.mark.parametrize("crop", ["resize", "center"])
def test_an_image_smaller_than_image_size_is_named(tmp_path, write_images, crop):
    write_images(tmp_path, 5, 20, 20)
    Image.new("RGB", (7, 30)).save(tmp_path / "small.png")
    with pytest.raises(DataError, match=r"small\.png is 30×7, smaller than the wanted 16×16: choose .* 7 or less"):
        load_folder(tmp_path, image_size=16, crop=crop)


def test_a_damaged_image_is_named(tmp_path, write_images):
    write_images(tmp_path, 10)
    (tmp_path / "07.png").write_bytes((tmp_path / "07.png").read_bytes()[:100])
    with pytest.raises(DataError, match=r"07\.png cannot be read as an image"):
        load_folder(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 0}, "image_size must be at least 1, got 0: it is the images' height"),
        ({"image_size": 8.5}, "image_size and channels must be whole numbers, got 8.5 and None"),
        ({"image_size": 8, "crop": "random"}, "crop must be 'resize' or 'center', got 'random'"),
        ({"crop": "center"}, "crop 'center' cuts images to image_size, which is not given"),
        ({"channels": 4}, "channels must be 1 for gray or 3 for color, got 4"),
        ({"split_seed": -1}, "split_seed must be .*, got -1"),
    ],
)
def test_options_out_of_range_are_refused(tmp_path, options, message):
    gray(tmp_path, 10)
    with pytest.raises(DataError, match=message):
        load_folder(tmp_path, **options)


def test_resizing_is_the_scaling_of_pillow(tmp_path, pixels):
    array = pixels(12, 12, 3)
    for number in range(3):
        Image.fromarray(array).save(tmp_path / f"{number}.png")
    expected = np.asarray(Image.fromarray(array).resize((4, 4), Image.Resampling.LANCZOS))
    assert np.array_equal(load_folder(tmp_path, image_size=4).train[0].permute(1, 2, 0).numpy(), expected)


def test_numbers_of_numpy_are_whole_numbers(tmp_path):
    gray(tmp_path, 3)
    assert load_folder(tmp_path, image_size=np.int64(2), channels=np.int64(3)).event_shape == (3, 2, 2)


# Classes


def labels(splits) -> dict[int, str]:
    """Return the class of each image by its gray level."""
    return {
        level: splits.classes[label]
        for part in (splits.train, splits.validation, splits.test)
        for level, label in zip(levels(part), part.labels.tolist(), strict=True)
    }


@pytest.mark.parametrize("memory", [2**30, 0])
def test_subfolders_are_classes_whatever_gives_the_split(tmp_path, monkeypatch, memory):
    monkeypatch.setattr(folder, "_IN_MEMORY_BYTES", memory)
    gray(tmp_path / "train" / "dog", 10)
    gray(tmp_path / "cat" / "Train", 10, first=10)
    gray(tmp_path / "test" / "cat" / "old", 3, first=20)
    splits = load_folder(tmp_path, by_class=True)
    assert splits.classes == ("cat", "dog")
    assert labels(splits) == {level: "dog" if level < 10 else "cat" for level in range(23)}
    assert splits.train.select([0]).labels.shape == (1,)
    assert torch.equal(splits.train.tensor(), load_folder(tmp_path).train.tensor())


def test_images_without_a_class_are_counted_and_refused(tmp_path):
    gray(tmp_path / "cat", 5)
    gray(tmp_path / "train", 2, first=5)
    gray(tmp_path, 2, first=7)
    with pytest.raises(DataError, match=r"4 images \(.*\) outside of subfolders for classes: move each into"):
        load_folder(tmp_path, by_class=True)


def test_one_class_is_refused(tmp_path):
    gray(tmp_path / "cat", 5)
    with pytest.raises(DataError, match="has images of one class only, 'cat'"):
        load_folder(tmp_path, by_class=True)
