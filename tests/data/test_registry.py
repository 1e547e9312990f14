import pytest
import torch

from inverseflow.data import IMAGE_SETS, TOYS, LabelCondition, load_data, load_images
from inverseflow.errors import DataError


def test_every_data_set_is_found_by_its_name(tmp_path, write_mnist, write_cifar10, write_images):
    write_mnist(tmp_path / "mnist")
    write_mnist(tmp_path / "fashion-mnist")
    write_cifar10(tmp_path / "cifar10")
    write_images(tmp_path / "folder", 10)
    for name in IMAGE_SETS:
        assert load_images(name, data_dir=None if name == "digits" else tmp_path / name).name == name


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(
        DataError, match="unknown data set 'cifar': choose one of digits, mnist, fashion-mnist, cifar10, folder"
    ):
        load_images("cifar")


def test_options_reach_the_folder(tmp_path, write_images):
    write_images(tmp_path, 10, 20, 30)
    assert load_images("folder", data_dir=tmp_path, image_size=8, channels=1).event_shape == (1, 8, 8)


@pytest.mark.parametrize("name", ["digits", "mnist", "fashion-mnist", "cifar10"])
@pytest.mark.parametrize("option", [{"image_size": 8}, {"crop": "center"}, {"channels": 1}])
def test_options_of_the_folder_are_refused_elsewhere(name, option):
    with pytest.raises(DataError, match=f"{next(iter(option))} applies to the data set 'folder' only.*'{name}'"):
        load_images(name, **option)


def test_the_folder_needs_a_folder():
    with pytest.raises(DataError, match=r"'folder' needs the folder of images: give data_dir \(--data-dir\)"):
        load_images("folder")


def test_digits_need_no_folder(tmp_path):
    with pytest.raises(DataError, match="'digits' comes with scikit-learn: leave data_dir"):
        load_images("digits", data_dir=tmp_path)


@pytest.mark.parametrize("name", IMAGE_SETS)
def test_every_data_set_refuses_a_seed_out_of_range(name, tmp_path, write_mnist, write_cifar10, write_images):
    {"mnist": write_mnist, "fashion-mnist": write_mnist, "cifar10": write_cifar10}.get(
        name, lambda folder: write_images(folder, 10)
    )(tmp_path)
    with pytest.raises(DataError, match="split_seed must be .*, got -1"):
        load_images(name, data_dir=None if name == "digits" else tmp_path, split_seed=-1)


# Binarized images


def test_binarized_pixels_are_one_as_often_as_their_gray_level_says():
    gray, binary = load_images("digits"), load_images("digits", binarized=True)
    assert (binary.levels, binary.title, binary.event_shape) == (2, "digits (binarized)", (1, 8, 8))
    for split in ("train", "validation", "test"):
        levels, pixels = getattr(gray, split).tensor(), getattr(binary, split).tensor()
        assert torch.equal(getattr(gray, split).labels, getattr(binary, split).labels)
        assert pixels.dtype == torch.uint8
        assert not pixels[levels == 0].any()
        assert pixels[levels == 16].all()
        middle = pixels[levels == 8].double()
        assert abs(middle.mean() - 0.5) < 4 * 0.5 / len(middle) ** 0.5


def test_binarized_pixels_are_the_same_every_time():
    one, two = (load_data("digits", binarized=True).train.tensor() for _ in range(2))
    assert torch.equal(one, two)


def test_binarized_images_keep_their_labels_as_contexts():
    assert load_data("digits", binarized=True, condition="label").test.context.shape == (360, 10)


@pytest.mark.parametrize("name", ["folder", "table", "two-moons"])
def test_other_data_cannot_be_binarized(name, tmp_path):
    with pytest.raises(DataError, match=f"binarized applies to .*images only: leave it out for '{name}'"):
        load_data(name, binarized=True, data_dir=tmp_path)


# One door for every kind


@pytest.mark.parametrize("name", ["digits", "mnist", "fashion-mnist", "cifar10", "two-moons", "eight-gaussians"])
def test_labels_become_contexts_of_the_classes_by_name(name, tmp_path, write_mnist, write_cifar10):
    folder = None
    if name not in ("digits", *TOYS):
        folder = tmp_path
        (write_cifar10 if name == "cifar10" else write_mnist)(tmp_path)
    plain, splits = load_data(name, data_dir=folder), load_data(name, data_dir=folder, condition="label")
    assert plain.condition is None
    assert plain.train.context is None
    assert splits.condition == LabelCondition(plain.classes)
    for split in ("train", "validation", "test"):
        examples, others = getattr(splits, split), getattr(plain, split)
        assert torch.equal(examples.tensor(), others.tensor())
        assert torch.equal(examples.context.argmax(1), others.labels)


@pytest.mark.parametrize("name", ["checkerboard", "swiss-roll"])
def test_a_set_without_classes_has_no_condition_label(name):
    with pytest.raises(DataError, match=r"\(synthetic\) has no classes: leave the condition 'label' out"):
        load_data(name, condition="label")


def test_options_of_a_table_are_refused_elsewhere_and_those_of_a_folder_for_a_table(tmp_path):
    with pytest.raises(DataError, match="columns applies to the data set 'table' only: leave it out for 'rings'"):
        load_data("rings", columns=["x"])
    with pytest.raises(DataError, match="image_size applies to the data set 'folder' only: leave it out for 'table'"):
        load_data("table", data_dir=tmp_path / "a.csv", image_size=8)
    with pytest.raises(DataError, match="a table has no labels: name the columns of the context"):
        load_data("table", data_dir=tmp_path / "a.csv", condition="label")
    with pytest.raises(DataError, match="'rings' is drawn: leave data_dir"):
        load_data("rings", data_dir=tmp_path)
    with pytest.raises(DataError, match="'table' needs a CSV, Parquet, NPZ or NPY file"):
        load_data("table")
