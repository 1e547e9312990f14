import numpy as np
import pytest
import torch
from PIL import Image

from inverseflow.data import FileImages, TensorImages, folder
from inverseflow.data.folder import load_folder
from inverseflow.errors import DataError


def sizes(splits) -> list[int]:
    return [len(splits.train), len(splits.validation), len(splits.test)]


def grey(folder, count: int, first: int = 0) -> None:
    """Write images of 4×4 each of which has one grey level of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for level in range(first, first + count):
        Image.new("L", (4, 4), level).save(folder / f"{level:03}.png")


def levels(images) -> list[int]:
    return images.tensor()[:, 0, 0, 0].tolist()


# Splits


@pytest.mark.parametrize(("count", "expected"), [(3, [1, 1, 1]), (20, [16, 2, 2]), (39, [33, 3, 3])])
def test_images_are_divided_into_eight_one_and_one_tenth(tmp_path, count, expected):
    grey(tmp_path, count)
    splits = load_folder(tmp_path)
    assert sizes(splits) == expected
    assert sorted(levels(splits.train) + levels(splits.validation) + levels(splits.test)) == list(range(count))


def test_the_division_follows_the_seed_and_not_the_place(tmp_path):
    for name in ("here", "there"):
        grey(tmp_path / name, 30)
    here, there = load_folder(tmp_path / "here"), load_folder(tmp_path / "there")
    assert levels(here.test) == levels(there.test)
    assert levels(here.test) != levels(load_folder(tmp_path / "here", split_seed=1).test)


@pytest.mark.parametrize("name", ["validation", "val", "valid"])
def test_a_divided_folder_is_taken_as_it_is(tmp_path, name):
    grey(tmp_path / "train" / "some" / "where", 5)
    grey(tmp_path / name, 3, first=5)
    grey(tmp_path / "test", 2, first=8)
    splits = load_folder(tmp_path)
    assert levels(splits.train) == [0, 1, 2, 3, 4]
    assert levels(splits.validation) == [5, 6, 7]
    assert levels(splits.test) == [8, 9]


@pytest.mark.parametrize(("there", "expected"), [("test", [18, 2, 3]), ("val", [18, 3, 2])])
def test_the_split_that_is_missing_is_carved_out_of_train(tmp_path, there, expected):
    grey(tmp_path / "train", 20)
    grey(tmp_path / there, 3, first=20)
    splits = load_folder(tmp_path)
    assert sizes(splits) == expected
    assert levels(splits.test if there == "test" else splits.validation) == [20, 21, 22]


def test_a_subfolder_train_alone_is_a_subfolder_like_others(tmp_path):
    grey(tmp_path / "train", 5)
    grey(tmp_path / "plane", 5, first=5)
    assert sizes(load_folder(tmp_path)) == [8, 1, 1]


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
    Image.new("RGB", (8, 8)).save(tmp_path / "new" / "colour.webp")
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
    assert sizes(splits) == [10, 1, 1]


def test_many_kinds_of_files_are_read(tmp_path):
    for kind in ("png", "jpg", "JPEG", "gif", "bmp", "webp", "tiff", "ppm"):
        Image.new("RGB", (8, 8), (200, 0, 0)).save(tmp_path / f"red.{kind}")
    splits = load_folder(tmp_path)
    assert sum(sizes(splits)) == 8
    assert (splits.train.tensor().amin((2, 3))[:, 0] > 190).all()


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
    with pytest.raises(DataError, match=f"{tmp_path} holds no images"):
        load_folder(tmp_path)


def test_an_empty_split_is_named(tmp_path):
    grey(tmp_path / "train", 5)
    (tmp_path / "test").mkdir()
    with pytest.raises(DataError, match="test holds no images"):
        load_folder(tmp_path)


def test_too_few_images_are_refused(tmp_path):
    grey(tmp_path, 2)
    with pytest.raises(DataError, match="2 images are too few to split: at least 3 are needed"):
        load_folder(tmp_path)


def test_two_validation_folders_are_refused(tmp_path):
    for name in ("train", "val", "validation"):
        grey(tmp_path / name, 3)
    with pytest.raises(DataError, match="has the subfolders validation and val: keep one of them"):
        load_folder(tmp_path)


def test_two_images_of_different_sizes_are_named_with_the_remedy(tmp_path, write_images):
    write_images(tmp_path / "a", 5, 8, 8)
    write_images(tmp_path / "b", 5, 9, 8)
    with pytest.raises(DataError, match=r"\d\d\.png is \d×8 but .*\d\d\.png is \d×8: give image_size \(--image-size\)"):
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


def test_a_file_that_is_no_image_but_named_like_one_is_named(tmp_path, write_images):
    write_images(tmp_path, 10)
    (tmp_path / "error.jpg").write_text("<html>404</html>")
    with pytest.raises(
        DataError, match=r"error\.jpg cannot be read as an image \(its content is not that of an image\)"
    ):
        load_folder(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 0}, "image_size is 0: choose the images' height in pixels, at least 1"),
        ({"image_size": 8, "crop": "random"}, "unknown crop 'random': choose 'resize' or 'center'"),
        ({"crop": "center"}, "crop 'center' cuts images to image_size, which is not given"),
        ({"channels": 4}, "channels is 4: choose 1 for grey or 3 for colour"),
        ({"split_seed": -1}, "split_seed is -1"),
    ],
)
def test_options_out_of_range_are_refused(tmp_path, options, message):
    grey(tmp_path, 10)
    with pytest.raises(DataError, match=message):
        load_folder(tmp_path, **options)


def test_resizing_is_the_scaling_of_pillow(tmp_path, pixels):
    array = pixels(12, 12, 3)
    for number in range(3):
        Image.fromarray(array).save(tmp_path / f"{number}.png")
    expected = np.asarray(Image.fromarray(array).resize((4, 4), Image.Resampling.LANCZOS))
    assert np.array_equal(load_folder(tmp_path, image_size=4).train[0].permute(1, 2, 0).numpy(), expected)
