import numpy as np
import pytest
import torch

from applications.anonymisation.boxes import Box, mask_of, matched, overlap, without_doubles
from applications.anonymisation.inpainters import (
    HOLE,
    INPAINTERS,
    SIDE,
    Biharmonic,
    Blur,
    FlowInpainter,
    Pixelate,
    bundled_faces,
    replace,
)
from applications.anonymisation.privacy import exposed, leak, ranks, seam
from applications.anonymisation.scenes import composite
from inverseflow.errors import OptionError


@pytest.fixture(scope="module")
def flow():
    return FlowInpainter(steps=5)


def made(name, flow):
    return flow if name == "flow" else INPAINTERS[name](0)


@pytest.mark.parametrize("name", INPAINTERS)
@pytest.mark.parametrize("box", [Box(20, 30, 41, 55), Box(0, 0, 17, 60), Box(0, 0, 64, 60)])
def test_pixels_outside_stay_and_inside_change(name, box, flow):
    picture = torch.rand(3, 60, 64)
    filled = replace(picture, [box], made(name, flow))
    inside = mask_of([box], (60, 64))
    assert torch.equal(filled[:, ~inside], picture[:, ~inside])
    assert (filled[:, inside] != picture[:, inside]).float().mean() > 0.9
    assert filled.min() >= 0 and filled.max() <= 1


@pytest.mark.parametrize("name", ["black", "biharmonic"])
def test_what_was_in_the_hole_does_not_matter(name, flow):
    picture, box = torch.rand(3, 40, 40), Box(10, 12, 28, 30)
    other = picture.clone()
    other[:, 12:30, 10:28] = torch.rand(3, 18, 18)
    assert torch.equal(replace(picture, [box], made(name, flow)), replace(other, [box], made(name, flow)))


def test_the_flow_does_not_look_into_the_hole_and_follows_light_and_color():
    picture, box = 0.2 + 0.6 * torch.rand(3, 40, 40), Box(10, 12, 28, 30)
    other = picture.clone()
    other[:, 12:30, 10:28] = torch.rand(3, 18, 18)
    tinted = 0.25 * picture * torch.tensor([1.0, 0.5, 0.5])[:, None, None]
    first, second, third = (
        replace(each, [box], FlowInpainter(steps=3))[:, 12:30, 10:28] for each in (picture, other, tinted)
    )
    assert torch.equal(first, second)
    assert third.mean() < 0.4 * first.mean() and third[0].mean() > 1.5 * third[1].mean()


def test_the_flow_draws_other_faces_each_time_and_none_that_it_learned(flow):
    faces = bundled_faces()[:20]
    drawn = flow.draw(faces)
    assert drawn.shape == (20, 1, HOLE, HOLE) and not torch.equal(drawn, flow.draw(faces))
    learned = bundled_faces()[:, 3:-3, 3:-3].flatten(1)
    assert torch.cdist(drawn.flatten(1), learned).min() > 0.5
    with pytest.raises(OptionError, match="faces must be .N, 25, 25., got .4, 19, 19."):
        FlowInpainter(torch.zeros(4, 19, 19))


def test_a_surface_that_is_smooth_is_continued():
    rows, columns = torch.meshgrid(torch.linspace(0, 1, 36), torch.linspace(0, 1, 36), indexing="ij")
    picture = torch.stack([rows, columns, (rows + columns) / 2])
    filled = replace(picture, [Box(12, 12, 24, 24)], Biharmonic())
    torch.testing.assert_close(filled, picture, rtol=0, atol=0.03)


def test_squares_have_the_mean_of_what_was_there_and_a_blur_is_as_wide_as_the_hole_asks():
    picture = torch.rand(3, 48, 48)
    filled = replace(picture, [Box(8, 8, 40, 40)], Pixelate(8))
    expected = picture[:, 8:40, 8:40].reshape(3, 8, 4, 8, 4).mean((2, 4))
    torch.testing.assert_close(filled[:, 8:40:4, 8:40:4], expected)
    point = torch.zeros(3, 65, 65)
    point[:, 32, 32] = 1
    row = replace(point, [Box(22, 22, 42, 42)], Blur(0.1))[0, 32]
    assert float(row[34] / row[32]) == pytest.approx(np.exp(-(2**2) / (2 * 2**2)), rel=1e-3)


def test_overlap_matches_and_doubles_by_hand():
    boxes = [Box(0, 0, 10, 10, score=0.9), Box(1, 0, 11, 10, score=0.8), Box(30, 30, 40, 40, score=0.7)]
    assert overlap(boxes[0], boxes[1]) == pytest.approx(90 / 110)
    assert without_doubles(boxes[::-1]) == [boxes[0], boxes[2]]
    assert matched(boxes, boxes) == 3 and matched(boxes[:1], boxes[:2]) == 1 and matched([], boxes) == 0
    assert overlap(Box(0, 0, 5, 5), Box(5, 0, 10, 5)) == 0


def test_an_untouched_face_is_first_and_one_gray_gallery_tells_nothing():
    faces, places = bundled_faces(), torch.arange(100)
    assert ranks(faces, faces, places).eq(1).all()
    assert ranks(faces, torch.zeros(100, SIDE, SIDE), places).eq(50.5).all()
    shuffled = faces[torch.randperm(100, generator=torch.Generator().manual_seed(0))]
    assert 35 < ranks(shuffled, faces, places).mean() < 65


def test_the_leak_sees_a_shifted_copy_and_no_strange_picture():
    noise = torch.rand(2, 27, 27)
    assert leak(noise[0, 3:22, 1:20], noise[0, 4:23, 4:23]) == pytest.approx(1)
    assert leak(noise[1, 4:23, 4:23], noise[0, 4:23, 4:23]) < 0.5


def test_a_seam_is_seen_and_an_unchanged_picture_has_none():
    picture, box = torch.rand(3, 60, 60), Box(20, 20, 40, 40)
    assert seam(picture, box) == pytest.approx(1, abs=0.25)
    assert seam(replace(picture, [box], INPAINTERS["black"](0)), box) > 1.3
    assert seam(picture, Box(0, 20, 40, 40)) is None and seam(torch.zeros(3, 60, 60), box) is None


def test_light_keeps_the_mean_adds_the_noise_of_electrons_and_much_light_none():
    gray = torch.full((3, 200, 200), 0.5)
    plenty = exposed(gray, 1.0, electrons=1e9, read_noise=0)
    torch.testing.assert_close(plenty, gray, rtol=0, atol=1 / 255)
    linear = ((0.5 + 0.055) / 1.055) ** 2.4
    found = exposed(gray, 0.5).double()
    found = ((found + 0.055) / 1.055) ** 2.4
    assert float(found.mean()) == pytest.approx(linear, rel=0.01)
    assert float(found.var()) == pytest.approx((1000 * 0.5 * linear + 25) / 500**2, rel=0.05)
    assert exposed(gray, 1 / 32).std() > exposed(gray, 1 / 4).std()


def test_faces_are_put_where_the_boxes_say_and_nowhere_else():
    photo = torch.full((3, 200, 240), 0.5)
    picture, boxes = composite(photo, bundled_faces()[:3], sizes=(40, 50), seed=1)
    inside = mask_of(boxes, (200, 240))
    assert torch.equal(picture[:, ~inside], photo[:, ~inside])
    assert all(picture[:, box.top : box.bottom, box.left : box.right].std() > 0.05 for box in boxes)
    assert overlap(boxes[0], boxes[1]) == overlap(boxes[1], boxes[2]) == 0
