import sys

import huggingface_hub
import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits as load_bundled

from inverseflow.data import ImageSplits
from inverseflow.data.named import CIFAR10, FASHION_MNIST, MNIST, load_digits, load_official
from inverseflow.errors import DataError, MissingPackageError


def sizes(splits: ImageSplits) -> list[int]:
    return [len(splits.train), len(splits.validation), len(splits.test)]


# Digits


def test_digits_are_described():
    splits = load_digits()
    assert (splits.name, splits.title, splits.levels, splits.event_shape) == ("digits", "digits", 17, (1, 8, 8))
    assert splits.augmentations == ()
    assert splits.train.tensor().unique().tolist() == list(range(17))


def test_every_bundled_digit_is_in_exactly_one_split_with_its_label():
    splits = load_digits()
    assert sizes(splits) == [1257, 180, 360]
    found = sorted(
        (part[index].flatten().tolist(), part.labels[index].item())
        for part in (splits.train, splits.validation, splits.test)
        for index in range(len(part))
    )
    bundled = load_bundled()
    assert found == sorted(zip(bundled.data.astype(int).tolist(), bundled.target.tolist(), strict=True))


def test_the_splits_of_digits_follow_the_seed_and_are_the_same_on_every_machine():
    # Written down once; a change here changes everybody's figures.
    assert load_digits().test.labels[:10].tolist() == [1, 2, 4, 5, 9, 7, 9, 2, 7, 9]
    assert load_digits(split_seed=4).test.labels[:10].tolist() != [1, 2, 4, 5, 9, 7, 9, 2, 7, 9]


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "sklearn.datasets", raising=False)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingPackageError, match=r"'digits' needs the package 'scikit-learn'"):
        load_digits()


# The real images


def test_the_real_mnist_is_whole_and_split_in_the_same_way_on_every_machine(shared_data):
    mnist = load_official(MNIST, shared_data("mnist"))
    assert (sizes(mnist), mnist.title) == ([50_000, 10_000, 10_000], "MNIST")
    assert mnist.test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]  # the original order
    # Digits of each kind in the official training set: https://yann.lecun.org/exdb/mnist
    counts = mnist.train.labels.bincount() + mnist.validation.labels.bincount()
    assert counts.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    # The mean that everybody normalizes MNIST by.
    total = sum(images.tensor().numpy().sum() for images in (mnist.train, mnist.validation))
    assert total / (60_000 * 784 * 255) == pytest.approx(0.1307, abs=5e-5)
    # Written down once; a change here changes everybody's figures.
    assert mnist.validation.labels[:10].tolist() == [8, 6, 1, 2, 3, 6, 1, 2, 4, 7]


def test_the_real_fashion_mnist_is_whole_with_its_classes(shared_data):
    fashion = load_official(FASHION_MNIST, shared_data("fashion-mnist"))
    assert (len(fashion.train), len(fashion.validation), len(fashion.test)) == (50_000, 10_000, 10_000)
    assert [fashion.classes[label] for label in fashion.test.labels[:3]] == ["Ankle boot", "Pullover", "Trouser"]


@pytest.mark.slow  # decoding 60,000 files of JPEG takes 15 seconds
def test_the_real_cifar_10_is_whole_and_says_that_it_is_jpeg(shared_data):
    cifar10 = load_official(CIFAR10, shared_data("cifar10-jpeg"))
    assert (sizes(cifar10), cifar10.title) == ([40_000, 10_000, 10_000], "CIFAR-10 (JPEG)")
    assert (cifar10.train.labels.bincount() + cifar10.validation.labels.bincount()).tolist() == [5000] * 10
    # The channel means that everybody normalizes CIFAR-10 by; JPEG keeps them to within a gray level.
    mean = cifar10.test.tensor().sum((0, 2, 3)) / (10_000 * 32 * 32)
    assert torch.allclose(mean, torch.tensor([0.4914, 0.4822, 0.4465]) * 255, atol=1.0)


# Splits and titles


def test_validation_comes_from_the_official_training_images_and_the_test_images_stay(tmp_path, write_mnist):
    write_mnist(tmp_path)
    splits = load_official(MNIST, tmp_path)
    assert sizes(splits) == [10, 2, 4]
    assert splits.test.labels.tolist() == [0, 1, 2, 3]
    assert sorted(splits.train.labels.tolist() + splits.validation.labels.tolist()) == [0, 0, 1, 1, *range(2, 10)]


def test_the_seed_moves_validation_but_never_test(tmp_path, write_mnist):
    write_mnist(tmp_path, train=60)
    first, other = load_official(MNIST, tmp_path, split_seed=1), load_official(MNIST, tmp_path, split_seed=2)
    assert not torch.equal(first.validation.tensor(), other.validation.tensor())
    assert torch.equal(first.test.tensor(), other.test.tensor())


@pytest.mark.parametrize(
    ("kind", "title"), [("PNG", "CIFAR-10 (10 + 4 images)"), ("JPEG", "CIFAR-10 (JPEG, 10 + 4 images)")]
)
def test_the_title_tells_of_jpeg_and_of_missing_images(tmp_path, write_cifar10, kind, title):
    write_cifar10(tmp_path, kind)
    splits = load_official(CIFAR10, tmp_path)
    assert (splits.title, splits.augmentations) == (title, ("horizontal_flip",))


def test_parquet_and_idx_files_hold_the_same_pixels(tmp_path, write_idx, write_parquet, pixels, encode):
    for split, stem in (("train", "train"), ("test", "t10k")):
        arrays, labels = pixels(6, 28, 28), np.arange(6, dtype=np.uint8)
        write_idx(tmp_path / "idx" / f"{stem}-images-idx3-ubyte", arrays)
        write_idx(tmp_path / "idx" / f"{stem}-labels-idx1-ubyte", labels)
        cells = [{"bytes": encode(array), "path": None} for array in arrays]
        write_parquet(tmp_path / "parquet" / f"{split}.parquet", image=cells, label=labels.tolist())
    idx, parquet = load_official(MNIST, tmp_path / "idx"), load_official(MNIST, tmp_path / "parquet")
    for name in ("train", "validation", "test"):
        assert torch.equal(getattr(idx, name).tensor(), getattr(parquet, name).tensor())
        assert torch.equal(getattr(idx, name).labels, getattr(parquet, name).labels)


# Where the files lie


@pytest.mark.parametrize("subfolder", ["", "raw", "MNIST/raw", "mnist/MNIST/raw"])
@pytest.mark.parametrize(("suffix", "hyphen"), [("", "-"), (".gz", "-"), ("", ".")])
def test_idx_files_are_found(tmp_path, write_mnist, subfolder, suffix, hyphen):
    write_mnist(tmp_path / subfolder, suffix=suffix)
    for path in (tmp_path / subfolder).iterdir():
        path.rename(path.with_name(path.name.replace("-idx", f"{hyphen}idx")))
    assert sizes(load_official(MNIST, tmp_path)) == [10, 2, 4]


@pytest.mark.parametrize("subfolder", ["", "plain_text", "cifar10-jpeg"])
@pytest.mark.parametrize("name", ["{}.parquet", "{}-00000-of-00001.parquet"])
def test_parquet_files_are_found(tmp_path, write_cifar10, subfolder, name):
    write_cifar10(tmp_path / subfolder)
    for split in ("train", "test"):
        (tmp_path / subfolder / f"{split}.parquet").rename(tmp_path / subfolder / name.format(split))
    assert sizes(load_official(CIFAR10, tmp_path)) == [8, 2, 4]


def test_torchvision_s_folders_are_found(tmp_path, monkeypatch, write_batches, write_mnist):
    write_batches(tmp_path / "cifar-10-batches-py")
    write_mnist(tmp_path / "MNIST" / "raw", test=3)
    assert sizes(load_official(CIFAR10, tmp_path)) == sizes(load_official(CIFAR10, tmp_path / "cifar-10-batches-py"))
    monkeypatch.setenv("INVERSEFLOW_DATA", str(tmp_path))
    assert sizes(load_official(CIFAR10)) == [8, 2, 2]
    assert sizes(load_official(MNIST)) == [10, 2, 3]


def test_a_folder_goes_before_the_variable(tmp_path, write_mnist, monkeypatch):
    write_mnist(tmp_path / "data" / "mnist", test=3)
    write_mnist(tmp_path / "other", test=5)
    monkeypatch.setenv("INVERSEFLOW_DATA", str(tmp_path / "data"))
    assert len(load_official(MNIST).test) == 3
    assert len(load_official(MNIST, tmp_path / "other").test) == 5


@pytest.mark.parametrize("variable", [False, True])
def test_without_folder_and_variable_the_hub_is_asked(tmp_path, monkeypatch, variable, write_parquet, encode, pixels):
    for split, count in (("train", 12), ("test", 5)):
        cells = [{"bytes": encode(pixels(28, 28)), "path": None} for _ in range(count)]
        write_parquet(tmp_path / "hub" / "mnist" / f"{split}-00000-of-00001.parquet", image=cells, label=[0] * count)
    asked = []
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda name, **_: asked.append(name) or str(tmp_path / "hub")
    )
    if variable:
        monkeypatch.setenv("INVERSEFLOW_DATA", str(tmp_path))
    assert len(load_official(MNIST).test) == 5
    assert asked == ["ylecun/mnist"]


def test_a_hub_out_of_reach_says_how_to_name_a_folder(monkeypatch):
    def unreachable(repository: str, **_: object) -> None:
        raise ConnectionError("no network.\nAnd much more.")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(DataError, match=r"ylecun/mnist cannot be .* hub \(no network\): .*--data-dir, or set INVERSEF"):
        load_official(MNIST)


# What can be wrong


def test_a_missing_folder_is_named(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="absent does not exist: give the folder that holds the data"):
        load_official(MNIST, tmp_path / "absent")
    monkeypatch.setenv("INVERSEFLOW_DATA", str(tmp_path / "absent"))
    with pytest.raises(DataError, match=r"INVERSEFLOW_DATA = .*absent does not exist"):
        load_official(MNIST)


@pytest.mark.parametrize(
    ("spec", "expected"), [(MNIST, "the four IDX files"), (CIFAR10, "the folder cifar-10-batches-py")]
)
def test_a_folder_with_nothing_known_says_what_is_expected(tmp_path, spec, expected):
    (tmp_path / "a.zip").touch()
    with pytest.raises(
        DataError, match=rf"{tmp_path} holds no {spec.title}: expected {expected}, or train\.parquet .*; found a\.zip"
    ):
        load_official(spec, tmp_path)


@pytest.mark.parametrize("missing", ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte"])
def test_a_missing_idx_file_is_named(tmp_path, write_mnist, missing):
    write_mnist(tmp_path)
    (tmp_path / f"{missing}.gz").unlink()
    with pytest.raises(DataError, match=rf"{missing} cannot be read \(No such file or directory\)"):
        load_official(MNIST, tmp_path)


def test_a_missing_batch_or_parquet_file_is_named(tmp_path, write_batches, write_cifar10):
    write_batches(tmp_path / "batches")
    (tmp_path / "batches" / "data_batch_3").unlink()
    with pytest.raises(DataError, match="data_batch_3 cannot be read"):
        load_official(CIFAR10, tmp_path / "batches")
    write_cifar10(tmp_path / "parquet")
    (tmp_path / "parquet" / "train.parquet").unlink()
    with pytest.raises(DataError, match=r"train\.parquet cannot be read"):
        load_official(CIFAR10, tmp_path / "parquet")


def test_images_of_another_size_are_refused(tmp_path, write_mnist, write_parquet, encode, pixels):
    write_mnist(tmp_path / "idx", size=27)
    with pytest.raises(DataError, match=r"MNIST \(12 \+ 4 images\) has examples \(1, 27, 27\), expected \(1, 28, 28\)"):
        load_official(MNIST, tmp_path / "idx")
    cells = [{"bytes": encode(pixels(9, 8, 3)), "path": None}] * 4
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}.parquet", img=cells, label=[0] * 4)
    with pytest.raises(DataError, match=r"row 0 of .*train\.parquet is 9×8, but the others are 32×32"):
        load_official(CIFAR10, tmp_path)
