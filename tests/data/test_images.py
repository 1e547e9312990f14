import pickle

import pytest
import torch
from torch.utils.data import DataLoader

from inverseflow.data import ImageSplits, TensorImages, horizontal_flip
from inverseflow.errors import DataError


def identity(batch):
    return batch


def images(count=6, shape=(3, 4, 5), labels=None) -> TensorImages:
    return TensorImages(torch.randint(256, (count, *shape), dtype=torch.uint8), labels)


def splits(**changes) -> ImageSplits:
    fields = {
        "name": "folder",
        "title": "cats",
        "levels": 256,
        "event_shape": (3, 4, 5),
        "train": images(),
        "validation": images(),
        "test": images(),
        "augmentations": ("horizontal_flip",),
    }
    return ImageSplits(**{**fields, **changes})


def test_one_many_and_all_images_are_the_same_pixels():
    pixels = torch.randint(256, (6, 3, 4, 5), dtype=torch.uint8)
    held = TensorImages(pixels)
    assert len(held) == 6
    assert held.shape == (3, 4, 5)
    assert torch.equal(held[2], pixels[2])
    assert torch.equal(held.__getitems__([4, 0, 4]), pixels[[4, 0, 4]])
    assert torch.equal(held.tensor(), pixels)


def test_iteration_ends_after_the_last_image():
    assert len(list(images(count=6))) == 6


def test_a_selection_keeps_order_and_labels():
    held = images(labels=torch.arange(6, dtype=torch.uint8))
    chosen = held.select(torch.tensor([5, 1]))
    assert torch.equal(chosen.tensor(), held.__getitems__([5, 1]))
    assert chosen.labels.tolist() == [5, 1]
    assert chosen.labels.dtype == torch.int64


def test_a_selection_has_pixels_of_its_own():
    held = images()
    before = held[1].clone()
    held.select([1]).tensor().zero_()
    assert torch.equal(held[1], before)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_fetches_whole_batches(workers):
    held = images(count=6)
    batches = list(DataLoader(held, batch_size=4, collate_fn=identity, num_workers=workers))
    assert [len(batch) for batch in batches] == [4, 2]
    assert torch.equal(torch.cat(batches), held.tensor())


def test_images_survive_pickling():
    held = images(labels=torch.arange(6))
    copy = pickle.loads(pickle.dumps(held))
    assert torch.equal(copy.tensor(), held.tensor())
    assert torch.equal(copy.labels, held.labels)


@pytest.mark.parametrize(
    "pixels", [torch.zeros(6, 3, 4, 5), torch.zeros(6, 4, 5, dtype=torch.uint8)], ids=["float", "three axes"]
)
def test_pixels_that_are_no_batch_of_bytes_are_refused(pixels):
    with pytest.raises(DataError, match=r"pixels must be \(N, C, H, W\) of uint8, got"):
        TensorImages(pixels)


@pytest.mark.parametrize("labels", [torch.arange(5), torch.zeros(6), torch.zeros(6, 1, dtype=torch.int64)])
def test_labels_that_do_not_fit_the_images_are_refused(labels):
    with pytest.raises(DataError, match="labels must be 6 integers, one for each example"):
        images(labels=labels)


def test_splits_read_well():
    assert repr(splits().train) == "TensorImages(6 × (3, 4, 5))"


def test_an_empty_split_is_refused():
    with pytest.raises(DataError, match="the validation split of cats has no examples"):
        splits(validation=images(count=0))


def test_splits_of_different_shapes_are_refused():
    with pytest.raises(DataError, match=r"the test split of cats has examples \(1, 4, 5\), expected \(3, 4, 5\)"):
        splits(test=images(shape=(1, 4, 5)))


def test_an_augmentation_that_suits_the_images_is_given():
    assert splits().augmentation("horizontal_flip") is horizontal_flip


def test_an_augmentation_that_does_not_suit_the_images_is_refused():
    with pytest.raises(DataError, match=r"'horizontal_flip' does not suit cats.*leave it out.*suit cats: none"):
        splits(augmentations=()).augmentation("horizontal_flip")


def test_an_unknown_augmentation_is_refused():
    with pytest.raises(DataError, match="unknown augmentation 'rotate': choose one of horizontal_flip"):
        splits().augmentation("rotate")
