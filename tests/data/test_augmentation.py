import pytest
import torch

from inverseflow.data import horizontal_flip
from inverseflow.errors import DataError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_flip_leaves_each_image_as_it_is_or_mirrors_it_whole():
    batch = torch.randint(256, (64, 3, 4, 5), dtype=torch.uint8)
    flipped = horizontal_flip(batch, generator())
    kept = (flipped == batch).flatten(1).all(1)
    mirrored = (flipped == batch.flip(-1)).flatten(1).all(1)
    assert (kept | mirrored).all()
    assert kept.any()
    assert mirrored.any()


def test_about_half_of_the_images_are_mirrored():
    batch = torch.arange(2, dtype=torch.uint8).expand(10_000, 1, 1, 2)
    share = horizontal_flip(batch, generator())[:, 0, 0, 0].float().mean().item()
    assert share == pytest.approx(0.5, abs=0.02)


def test_a_flip_depends_on_the_generator_alone():
    batch = torch.randint(256, (64, 1, 2, 2), dtype=torch.uint8)
    once = horizontal_flip(batch, generator(1))
    torch.rand(7)
    assert torch.equal(once, horizontal_flip(batch, generator(1)))
    assert not torch.equal(once, horizontal_flip(batch, generator(2)))


def test_a_flip_leaves_its_input_and_its_dtype_alone():
    batch = torch.randint(256, (16, 3, 4, 4), dtype=torch.uint8)
    before = batch.clone()
    assert horizontal_flip(batch, generator()).dtype == torch.uint8
    assert torch.equal(batch, before)


def test_a_single_image_is_refused():
    with pytest.raises(DataError, match=r"batch must have the shape \(B, C, H, W\), got \(3, 4, 4\)"):
        horizontal_flip(torch.zeros(3, 4, 4, dtype=torch.uint8), generator())
