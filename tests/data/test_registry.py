import pytest

from inverseflow.data import DATA_SETS, load_images
from inverseflow.errors import DataError


def test_every_data_set_is_found_by_its_name(tmp_path, write_mnist, write_cifar10, write_images):
    write_mnist(tmp_path / "mnist")
    write_cifar10(tmp_path / "cifar10")
    write_images(tmp_path / "folder", 10)
    for name in DATA_SETS:
        assert load_images(name, data_dir=None if name == "digits" else tmp_path / name).name == name


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(DataError, match="unknown data set 'cifar': choose one of digits, mnist, cifar10, folder"):
        load_images("cifar")


def test_options_reach_the_folder(tmp_path, write_images):
    write_images(tmp_path, 10, 20, 30)
    assert load_images("folder", data_dir=tmp_path, image_size=8, channels=1).event_shape == (1, 8, 8)


@pytest.mark.parametrize("name", ["digits", "mnist", "cifar10"])
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


@pytest.mark.parametrize("name", DATA_SETS)
def test_every_data_set_refuses_a_seed_out_of_range(name, tmp_path, write_mnist, write_cifar10, write_images):
    {"mnist": write_mnist, "cifar10": write_cifar10}.get(name, lambda folder: write_images(folder, 10))(tmp_path)
    with pytest.raises(DataError, match="split_seed must be .*, got -1"):
        load_images(name, data_dir=None if name == "digits" else tmp_path, split_seed=-1)
