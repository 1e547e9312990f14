import pytest

from inverseflow.data import ImageSplits
from inverseflow.data.mnist import load_mnist


@pytest.fixture(scope="module")
def mnist(shared_data) -> ImageSplits:
    return load_mnist(shared_data("mnist"))


def test_a_tiny_copy_is_read(tmp_path, write_mnist):
    write_mnist(tmp_path)
    splits = load_mnist(tmp_path, split_seed=1)
    assert (splits.name, splits.levels, splits.event_shape) == ("mnist", 256, (1, 28, 28))
    assert splits.augmentations == ()


def test_the_real_splits_have_their_sizes(mnist):
    assert [len(part) for part in (mnist.train, mnist.validation, mnist.test)] == [50_000, 10_000, 10_000]
    assert mnist.title == "MNIST"


def test_the_real_test_images_are_in_the_original_order(mnist):
    assert mnist.test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


def test_the_real_training_images_are_all_there(mnist):
    # Digits of each kind in the official training set: https://yann.lecun.org/exdb/mnist
    counts = mnist.train.labels.bincount() + mnist.validation.labels.bincount()
    assert counts.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    # The mean and the standard deviation that everybody normalizes MNIST by.
    total = mnist.train.tensor().sum() + mnist.validation.tensor().sum()
    assert total.item() / (60_000 * 784 * 255) == pytest.approx(0.1307, abs=5e-5)


def test_the_real_splits_are_the_same_on_every_machine(mnist):
    # Written down once; a change here changes everybody's figures.
    assert mnist.validation.labels[:10].tolist() == [8, 6, 1, 2, 3, 6, 1, 2, 4, 7]
