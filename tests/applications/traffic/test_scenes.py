import os
from pathlib import Path

import pytest
import torch

from applications.traffic import context
from applications.traffic.context import MISSING, Roads, accuracy, render_roads, roadside_designs
from applications.traffic.models import test_scenes as scenes_to_test
from applications.traffic.models import training_scenes
from applications.traffic.scenes import (
    CLASSES,
    CONDITIONS,
    Designs,
    Scene,
    homography,
    in_condition,
    put_sign,
    render,
    shape_of,
)
from experiments.__main__ import main as experiments
from inverseflow.errors import DataError, OptionError

DATA = Path(os.environ.get("INVERSEFLOW_DATA", "../shared/data"))
needs_data = pytest.mark.skipif(not (DATA / "traffic-signs").is_dir(), reason="needs the folders of signs and photos")


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def designs():
    drawings = []
    for kind in range(len(CLASSES)):
        drawing = torch.ones(4, 96, 96)
        drawing[:3] *= torch.tensor([1.0, 0.1 * kind, 0.0])[:, None, None]
        drawings.append((drawing,))
    return Designs(tuple(drawings))


def square(left, top, right, bottom):
    return torch.tensor([[left, top], [right, top], [right, bottom], [left, bottom]], dtype=torch.float32)


def test_a_homography_takes_corners_to_corners_and_lines_to_lines():
    corners = torch.tensor([[3.0, 4.0], [30.0, 8.0], [28.0, 40.0], [1.0, 33.0]])
    h = homography(corners)
    for (u, v), corner in zip([(-1, -1), (1, -1), (1, 1), (-1, 1)], corners.double(), strict=True):
        x = h @ torch.tensor([u, v, 1], dtype=torch.float64)
        assert torch.allclose(x[:2] / x[2], corner)
    line = h @ torch.tensor([[-1, -1, 1], [0.3, 0.3, 1], [1, 1, 1]], dtype=torch.float64).T
    points = line / line[2]
    assert abs(float(torch.linalg.det(points))) < 1e-6


def test_a_sign_covers_its_box_and_nothing_else():
    picture, drawing = torch.zeros(3, 40, 50), torch.ones(4, 96, 96)
    drawn, box = put_sign(picture, drawing, square(10, 5, 30, 25), 0.5)
    assert box.tolist() == [10, 5, 30, 25]
    assert torch.allclose(drawn[:, 6:24, 11:29], torch.tensor(0.5)) and float(drawn.sum()) == pytest.approx(
        600, rel=0.02
    )
    with pytest.raises(OptionError, match="covers no pixel"):
        put_sign(picture, drawing, square(100, 100, 120, 120), 1)


def test_scenes_hold_signs_that_do_not_overlap_in_boxes_within_the_picture(designs, generator):
    background = torch.zeros(3, 150, 150)
    for scene in render(designs, [background], 20, generator, side=100):
        red = scene.picture[0] > 0.3
        for box, kind in zip(scene.boxes.int().tolist(), scene.classes.tolist(), strict=True):
            assert 0 <= box[0] < box[2] <= 100 and 0 <= box[1] < box[3] <= 100
            middle = scene.picture[:, (box[1] + box[3]) // 2, (box[0] + box[2]) // 2]
            assert float(middle[1] / middle[0]) == pytest.approx(0.1 * kind, abs=0.06)
            red[box[1] - 2 : box[3] + 2, max(0, box[0] - 2) : box[2] + 2] = False
            red[: box[3] + 2, max(0, box[0] - 2) : box[2] + 2] &= box[1] > 2  # a box at the edge
        assert red.float().mean() < 0.02
        assert 1 <= len(scene.boxes) <= 3


def test_scenes_are_seeded_and_conditions_change_only_the_picture(designs):
    first, again = (
        render(designs, [torch.rand(3, 120, 120)], 1, torch.Generator().manual_seed(3))[0] for _ in range(2)
    )
    assert torch.equal(first.boxes, again.boxes)
    for condition in CONDITIONS:
        changed = in_condition(first, condition, 0.8, torch.Generator().manual_seed(0))
        assert torch.equal(changed.boxes, first.boxes)
        assert torch.equal(changed.picture, first.picture) == (condition == "normal")
        assert torch.equal(in_condition(first, condition, 0.0, torch.Generator()).picture, first.picture)


def test_shapes_are_told_by_corners_and_color():
    rows, columns = torch.meshgrid(torch.arange(96) - 47.5, torch.arange(96) - 47.5, indexing="ij")
    masks = {
        "triangle": (columns.abs() * 2 < rows + 47.5),
        "diamond": columns.abs() + rows.abs() < 48,
        "disc": columns**2 + rows**2 < 48**2,
        "panel": torch.ones(96, 96, dtype=torch.bool),
        None: (columns.abs() * 2 < 47.5 - rows),
    }
    for name, mask in masks.items():
        drawing = torch.cat([torch.tensor([0.9, 0.1, 0.1])[:, None, None] * mask, mask[None].float()])
        assert shape_of(drawing) == name
        if name == "disc":
            assert shape_of(drawing[[2, 1, 0, 3]]) == "blue disc"


@needs_data
def test_training_and_test_share_neither_designs_nor_pictures():
    training, test = training_scenes(10, DATA, conditions=("normal",)), scenes_to_test(10, DATA)
    assert {type(scene) for scene in training + test} == {Scene}
    assert training[0].picture.shape == (3, 112, 112)
    with pytest.raises(DataError, match="there is no folder"):
        scenes_to_test(1, DATA / "nowhere")


@needs_data
def test_a_removed_sign_leaves_no_pixel_and_the_same_scar_as_none(monkeypatch):
    designs = roadside_designs(DATA)
    pictures = [torch.rand(3, 80, 80, generator=torch.Generator().manual_seed(1))]

    def rendered(roads):
        return render_roads(designs, pictures, 10, roads, torch.Generator().manual_seed(0))[0]

    with_signs = rendered(Roads(cues=False))
    swapped = Designs(designs.drawings[::-1])
    other, _ = render_roads(swapped, pictures, 10, Roads(cues=False), torch.Generator().manual_seed(0))
    assert torch.equal(with_signs, other)  # nothing tells which sign was there
    monkeypatch.setattr(context, "_removed", lambda picture, box: picture)
    assert (rendered(Roads(cues=False)) - with_signs).abs().max() > 0.2


@needs_data
def test_cues_show_on_the_road_and_classes_come_in_equal_shares(generator):
    designs, pictures = roadside_designs(DATA), [torch.full((3, 80, 80), 0.5)]
    roads, classes = render_roads(designs, pictures, 10, Roads(scars="nowhere"), generator)
    assert torch.bincount(classes).tolist() == [2] * len(MISSING)
    straight, _ = render_roads(
        designs, pictures, 10, Roads(cues=False, scars="nowhere"), torch.Generator().manual_seed(0)
    )
    changed = (roads - straight).abs().amax(1).flatten(1).gt(0.1).float().mean(1)
    assert (
        changed[classes == MISSING.index("none")].max() == 0 and changed[classes != MISSING.index("none")].min() > 0.01
    )


def test_accuracy_counts_right_answers():
    logits = torch.eye(5)
    assert accuracy(lambda x: logits, torch.zeros(5, 3, 64, 64), torch.tensor([0, 1, 2, 0, 0])) == (3, 5)


@needs_data
@pytest.mark.slow
def test_the_experiment_runs_and_draws_what_it_found(tmp_path, capsys):
    pytest.importorskip("pycocotools")
    assert experiments(["traffic", "--budget", "smoke", "--data-dir", str(DATA), "-o", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert all(condition in printed for condition in CONDITIONS) and "scars at signs only" in printed
    assert (tmp_path / "traffic.png").read_bytes().startswith(b"\x89PNG")
