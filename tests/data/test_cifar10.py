import pytest
import torch

from inverseflow.data import ImageSplits
from inverseflow.data.cifar10 import load_cifar10


@pytest.fixture(scope="module")
def cifar10(shared_data) -> ImageSplits:
    return load_cifar10(shared_data("cifar10-jpeg"))


def test_a_tiny_copy_is_read(tmp_path, write_cifar10):
    write_cifar10(tmp_path)
    splits = load_cifar10(tmp_path, split_seed=1)
    assert (splits.name, splits.levels, splits.event_shape) == ("cifar10", 256, (3, 32, 32))
    assert splits.augmentations == ("horizontal_flip",)


@pytest.mark.slow  # decoding 60,000 files of JPEG takes 15 seconds
def test_the_real_splits_have_their_sizes_and_say_that_they_are_jpeg(cifar10):
    assert [len(part) for part in (cifar10.train, cifar10.validation, cifar10.test)] == [40_000, 10_000, 10_000]
    assert cifar10.title == "CIFAR-10 (JPEG)"


@pytest.mark.slow  # decoding 60,000 files of JPEG takes 15 seconds
def test_the_real_classes_are_balanced(cifar10):
    assert (cifar10.train.labels.bincount() + cifar10.validation.labels.bincount()).tolist() == [5000] * 10
    assert cifar10.test.labels.bincount().tolist() == [1000] * 10


@pytest.mark.slow  # decoding 60,000 files of JPEG takes 15 seconds
def test_the_real_pixels_have_the_known_mean(cifar10):
    # The channel means that everybody normalizes CIFAR-10 by; JPEG keeps them to within a gray level.
    mean = cifar10.test.tensor().sum((0, 2, 3)) / (10_000 * 32 * 32)
    assert torch.allclose(mean, torch.tensor([0.4914, 0.4822, 0.4465]) * 255, atol=1.0)
