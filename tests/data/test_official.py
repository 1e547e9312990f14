import huggingface_hub
import numpy as np
import pytest
import torch

from inverseflow.data.cifar10 import CIFAR10
from inverseflow.data.mnist import MNIST
from inverseflow.data.official import load_official
from inverseflow.errors import DataError


def load(spec, folder=None, seed=0):
    return load_official(spec, folder, split_seed=seed)


# Splits


def test_validation_comes_from_the_official_training_images_and_the_test_images_stay(tmp_path, write_mnist):
    write_mnist(tmp_path, train=12, test=4)
    splits = load(MNIST, tmp_path)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [10, 2, 4]
    assert splits.test.labels.tolist() == [0, 1, 2, 3]
    assert sorted(splits.train.labels.tolist() + splits.validation.labels.tolist()) == [0, 0, 1, 1, *range(2, 10)]


def test_the_seed_moves_validation_but_never_test(tmp_path, write_mnist):
    write_mnist(tmp_path, train=60)
    first, again, other = load(MNIST, tmp_path, 1), load(MNIST, tmp_path, 1), load(MNIST, tmp_path, 2)
    assert torch.equal(first.validation.tensor(), again.validation.tensor())
    assert not torch.equal(first.validation.tensor(), other.validation.tensor())
    assert torch.equal(first.test.tensor(), other.test.tensor())


# Titles


@pytest.mark.parametrize(
    ("kind", "title"), [("PNG", "CIFAR-10 (10 + 4 images)"), ("JPEG", "CIFAR-10 (JPEG, 10 + 4 images)")]
)
def test_the_title_tells_of_jpeg_and_of_missing_images(tmp_path, write_cifar10, kind, title):
    write_cifar10(tmp_path, kind)
    assert load(CIFAR10, tmp_path).title == title


# Where the files lie


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("subfolder", ["", "mnist", "MNIST/raw", "data/MNIST/raw"])
def test_idx_files_are_found(tmp_path, write_mnist, subfolder, suffix):
    write_mnist(tmp_path / subfolder, suffix=suffix)
    assert load(MNIST, tmp_path).event_shape == (1, 28, 28)


def test_idx_files_with_a_dot_in_their_names_are_found(tmp_path, write_mnist):
    write_mnist(tmp_path, suffix="")
    for path in tmp_path.iterdir():
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))
    assert len(load(MNIST, tmp_path).test) == 4


@pytest.mark.parametrize("subfolder", ["", "plain_text", "data", "cifar10-jpeg"])
@pytest.mark.parametrize("name", ["{}.parquet", "{}-00000-of-00001.parquet", "{}/0000.parquet"])
def test_parquet_files_are_found(tmp_path, write_cifar10, subfolder, name):
    write_cifar10(tmp_path / subfolder)
    for split in ("train", "test"):
        target = tmp_path / subfolder / name.format(split)
        target.parent.mkdir(exist_ok=True)
        (tmp_path / subfolder / f"{split}.parquet").rename(target)
    splits = load(CIFAR10, tmp_path)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [8, 2, 4]


@pytest.mark.parametrize("names", [("train", "test"), ("Training", "TESTING")])
def test_image_folders_are_found_and_their_subfolders_are_labels(tmp_path, write_images, names):
    for split in names:
        for label in range(3):
            write_images(tmp_path / split / str(label), 4, 28, 28, channels=1)
    splits = load(MNIST, tmp_path)
    assert splits.test.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert splits.event_shape == (1, 28, 28)


def test_parquet_and_idx_files_hold_the_same_pixels(tmp_path, write_idx, write_parquet, pixels, encode):
    for split, stem in (("train", "train"), ("test", "t10k")):
        arrays, labels = pixels(6, 28, 28), np.arange(6, dtype=np.uint8)
        write_idx(tmp_path / "idx" / f"{stem}-images-idx3-ubyte", arrays)
        write_idx(tmp_path / "idx" / f"{stem}-labels-idx1-ubyte", labels)
        cells = [{"bytes": encode(array), "path": None} for array in arrays]
        write_parquet(tmp_path / "parquet" / f"{split}.parquet", image=cells, label=labels.tolist())
    idx, parquet = load(MNIST, tmp_path / "idx"), load(MNIST, tmp_path / "parquet")
    for name in ("train", "validation", "test"):
        assert torch.equal(getattr(idx, name).tensor(), getattr(parquet, name).tensor())
        assert torch.equal(getattr(idx, name).labels, getattr(parquet, name).labels)


@pytest.mark.parametrize(("path", "labeled"), [("{}/0.png", False), ("{0}/a/0.png", False), ("{}/a/b/0.png", True)])
def test_labels_are_read_if_all_images_lie_in_classes(tmp_path, write_images, path, labeled):
    for split in ("train", "test"):
        write_images(tmp_path / split / "a" / "a", 3, 32, 32)
        target = tmp_path / path.format(split)
        write_images(target.parent, 1, 32, 32)
    assert (load(CIFAR10, tmp_path).test.labels is not None) is labeled


def test_the_batches_of_cifar_10_and_its_archives_hold_the_same_pixels(tmp_path, write_batches, write_cifar_archive):
    batches = tmp_path / "folder" / "cifar10" / "cifar-10-batches-py"
    write_batches(batches)
    write_cifar_archive(tmp_path / "archive" / "cifar-10-python.tar.gz", batches)
    folder, archive = load(CIFAR10, tmp_path / "folder"), load(CIFAR10, tmp_path / "archive")
    assert folder.title == "CIFAR-10 (10 + 2 images)"
    for name in ("train", "validation", "test"):
        assert torch.equal(getattr(folder, name).tensor(), getattr(archive, name).tensor())
        assert torch.equal(getattr(folder, name).labels, getattr(archive, name).labels)


def test_torchvision_s_folders_are_found_by_the_variable(tmp_path, monkeypatch, write_batches, write_mnist):
    write_batches(tmp_path / "cifar-10-batches-py")
    write_mnist(tmp_path / "MNIST" / "raw", test=3)
    monkeypatch.setenv("INVERSEFLOW_DATA", str(tmp_path))
    assert (len(load(CIFAR10).test), len(load(MNIST).test)) == (2, 3)


def test_an_archive_is_found_by_the_variable(tmp_path, monkeypatch, write_batches, write_cifar_archive):
    write_batches(tmp_path / "batches", suffix=".bin")
    write_cifar_archive(tmp_path / "data" / "cifar-10-binary.tar.gz", tmp_path / "batches")
    monkeypatch.setenv("INVERSEFLOW_DATA", str(tmp_path / "data"))
    assert len(load(CIFAR10).test) == 2


@pytest.mark.parametrize("name", ["cifar10", "cifar10-jpeg"])
def test_without_a_folder_the_variable_is_asked(tmp_path, write_cifar10, monkeypatch, name):
    write_cifar10(tmp_path / name)
    monkeypatch.setenv("INVERSEFLOW_DATA", str(tmp_path))
    assert len(load(CIFAR10).test) == 4


def test_a_folder_goes_before_the_variable(tmp_path, write_mnist, monkeypatch):
    write_mnist(tmp_path / "data" / "mnist", test=3)
    write_mnist(tmp_path / "other", test=5)
    monkeypatch.setenv("INVERSEFLOW_DATA", str(tmp_path / "data"))
    assert len(load(MNIST, tmp_path / "other").test) == 5


@pytest.fixture
def hub(tmp_path, monkeypatch, write_parquet, encode, pixels):
    """Put a hub with one MNIST-like data set in the place of the real one."""
    folder = tmp_path / "hub"
    for split, count in (("train", 12), ("test", 5)):
        cells = [{"bytes": encode(pixels(28, 28)), "path": None} for _ in range(count)]
        path = folder / "mnist" / f"{split}-00000-of-00001.parquet"
        write_parquet(path, image=cells, label=[0] * count)
    asked = []
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda repository, **_: asked.append(repository) or str(folder)
    )
    return asked, folder


@pytest.mark.parametrize("variable", ["", "without mnist"])
def test_without_folder_and_variable_the_hub_is_asked(tmp_path, monkeypatch, hub, variable):
    if variable:
        (tmp_path / "data").mkdir()
        monkeypatch.setenv("INVERSEFLOW_DATA", str(tmp_path / "data"))
    assert len(load(MNIST).test) == 5
    assert hub[0] == ["ylecun/mnist"]


def test_a_hub_without_a_test_split_is_refused(hub):
    (hub[1] / "mnist" / "test-00000-of-00001.parquet").unlink()
    with pytest.raises(DataError, match=r"lacks test\.parquet"):
        load(MNIST)


def test_a_hub_out_of_reach_says_how_to_name_a_folder(monkeypatch):
    def unreachable(repository: str, **_: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(
        DataError, match=r"ylecun/mnist cannot be .*\(no network\): .*MNIST with --data-dir, or set INVER"
    ):
        load(MNIST)


# What can be wrong


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="absent does not exist"):
        load(MNIST, tmp_path / "absent")


def test_a_variable_that_names_no_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("INVERSEFLOW_DATA", str(tmp_path / "absent"))
    with pytest.raises(DataError, match=r"INVERSEFLOW_DATA = .*absent does not exist"):
        load(MNIST)


@pytest.mark.parametrize(
    ("spec", "expected"), [(MNIST, "the four IDX files, train.parquet"), (CIFAR10, "cifar-10-batches-py or its arch")]
)
def test_a_folder_with_nothing_known_says_what_is_expected(tmp_path, spec, expected):
    (tmp_path / "cifar-100-python.tar.gz").touch()
    with pytest.raises(
        DataError, match=f"{tmp_path} holds no {spec.title}: .*{expected}.*; found cifar-100-python.tar.gz"
    ):
        load(spec, tmp_path)


@pytest.mark.parametrize(
    "missing",
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"],
)
def test_a_missing_idx_file_is_named(tmp_path, write_mnist, missing):
    write_mnist(tmp_path)
    (tmp_path / f"{missing}.gz").unlink()
    with pytest.raises(DataError, match=rf"lacks {missing} \(plain or \.gz\)"):
        load(MNIST, tmp_path)


def test_as_many_labels_as_images_are_needed(tmp_path, write_mnist, write_idx, pixels):
    write_mnist(tmp_path, train=12)
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", pixels(11))
    with pytest.raises(
        DataError, match=r"train-images-idx3-ubyte\.gz holds 12 images but train-labels.* holds 11 labels"
    ):
        load(MNIST, tmp_path)


def test_idx_images_of_another_size_are_refused(tmp_path, write_mnist):
    write_mnist(tmp_path, size=27)
    with pytest.raises(DataError, match="holds images of 27×27, but MNIST has images of 28×28"):
        load(MNIST, tmp_path)


def test_parquet_images_of_another_size_are_refused(tmp_path, write_parquet, encode, pixels):
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}.parquet", img=[{"bytes": encode(pixels(9, 8, 3)), "path": None}] * 4)
    with pytest.raises(DataError, match=r"row 0 of .*train\.parquet is 9×8, but all images here must be 32×32"):
        load(CIFAR10, tmp_path)


@pytest.mark.parametrize("missing", ["train", "test"])
def test_a_missing_parquet_file_is_named(tmp_path, write_cifar10, missing):
    write_cifar10(tmp_path)
    (tmp_path / f"{missing}.parquet").unlink()
    with pytest.raises(DataError, match=rf"lacks {missing}\.parquet"):
        load(CIFAR10, tmp_path)


def test_missing_parquet_shards_are_counted(tmp_path, write_cifar10):
    write_cifar10(tmp_path)
    (tmp_path / "train.parquet").rename(tmp_path / "train-00000-of-00002.parquet")
    with pytest.raises(DataError, match="holds 1 of the 2 parquet files of the split 'train': download the rest"):
        load(CIFAR10, tmp_path)


@pytest.mark.parametrize(("there", "missing"), [("train", "test"), ("test", "train")])
def test_a_missing_image_folder_is_named(tmp_path, write_images, there, missing):
    write_images(tmp_path / there, 3, 32, 32)
    with pytest.raises(DataError, match=f"lacks the image folder '{missing}'"):
        load(CIFAR10, tmp_path)


def test_image_folders_with_different_classes_are_refused(tmp_path, write_images):
    for folder in ("train/cat", "train/dog", "test/cat", "test/ship"):
        write_images(tmp_path / folder, 3, 32, 32)
    with pytest.raises(DataError, match=r"other class folders in train than in test: .*'dog'.*'ship'"):
        load(CIFAR10, tmp_path)


def test_too_few_images_to_split_are_refused(tmp_path, write_mnist):
    write_mnist(tmp_path, train=1)
    with pytest.raises(DataError, match="1 images are too few to split: at least 2 are needed"):
        load(MNIST, tmp_path)
