import importlib.util
import math
import sys
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from applications.pictures import write_png
from applications.traffic.__main__ import framed, main
from applications.traffic.detector import (
    MOST,
    STEMS,
    DetectionLoss,
    Detector,
    Found,
    WindowAttention,
    complete_iou,
    decode,
    encode,
    focal_loss,
)
from applications.traffic.labels import from_text, read_folder, to_text, ultralytics_detector, write_folder
from applications.traffic.models import load_detector, train_detector
from applications.traffic.precision import average_precision
from applications.traffic.scenes import CLASSES, Scene
from inverseflow.data import Batch
from inverseflow.errors import DataError, MissingPackageError

BOXES, KINDS = torch.tensor([[3.0, 5.0, 20.0, 30.0], [40.0, 41.0, 55.0, 62.0]]), torch.tensor([2, 0])
needs_coco = pytest.mark.skipif(not importlib.util.find_spec("pycocotools"), reason="needs pycocotools")


def perfect_maps(boxes, kinds, size=(16, 16)):
    heat, places, values = encode(boxes, kinds, size)
    maps = torch.zeros(1, len(CLASSES) + 4, *size)
    maps[0, : len(CLASSES)] = torch.logit(heat.clamp(1e-6, 1 - 1e-6))
    maps[0, len(CLASSES) :, places[:, 1], places[:, 0]] = values.T
    return maps


def test_decoding_gives_back_what_was_encoded():
    for left in range(0, 30, 3):  # on every part of the grid
        boxes = BOXES + torch.tensor([left / 4, left / 7, left / 4, left / 7])
        (found,) = decode(perfect_maps(boxes, KINDS), least=0.9)
        order = found.classes.argsort(descending=True)
        torch.testing.assert_close(found.boxes[order], boxes, atol=1e-4, rtol=0)
        assert found.classes[order].tolist() == KINDS.tolist()


def test_the_focal_loss_is_that_of_the_hand():
    heat, logits = torch.tensor([1.0, 0.5]), torch.tensor([math.log(3), 0.0])  # p = 3/4 and 1/2
    expected = -((1 / 4) ** 2) * math.log(3 / 4) - (1 / 2) ** 4 * (1 / 2) ** 2 * math.log(1 / 2)
    assert float(focal_loss(logits, heat)) == pytest.approx(expected, rel=1e-5)


def test_complete_iou_is_that_of_the_hand():
    wide, high = torch.tensor([[0.0, 0.0, 4.0, 2.0]]), torch.tensor([[0.0, 0.0, 2.0, 4.0]])
    iou = 4 / 12
    v = 4 / math.pi**2 * (math.atan(2) - math.atan(1 / 2)) ** 2
    expected = iou - 2 / 32 - v / (1 - iou + v) * v
    assert float(complete_iou(wide, high)) == pytest.approx(expected, rel=1e-5)
    apart = wide + 10
    assert float(complete_iou(wide, apart)) == pytest.approx(-200 / (14**2 + 12**2), rel=1e-5)
    shifted = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 1.0, 2.0, 3.0]])
    assert float(complete_iou(shifted[:1], shifted[1:])) == pytest.approx(2 / 6 - 1 / 13, rel=1e-5)


def test_the_loss_of_perfect_maps_is_nearly_zero_and_pictures_without_objects_have_one():
    rows = torch.full((2, MOST, 5), -1.0)
    rows[0, :2] = torch.cat([BOXES, KINDS[:, None].float()], 1)
    maps = torch.cat([perfect_maps(BOXES, KINDS), perfect_maps(BOXES[:0], KINDS[:0])])
    loss = DetectionLoss()(lambda x, context: maps, Batch(torch.zeros(2, 3, 64, 64), rows.flatten(1)))
    assert 0 <= float(loss.terms["boxes"]) < 1e-4 and float(loss.terms["centers"]) < 0.2
    empty = DetectionLoss()(lambda x, context: maps[1:], Batch(torch.zeros(1, 3, 64, 64), rows[1:].flatten(1)))
    assert float(empty.total) < 1e-3


@pytest.mark.parametrize("stem", STEMS)
def test_every_stem_takes_any_size(stem):
    model = Detector(stem, width=8, depth=1).eval()
    assert model(torch.rand(1, 3, 61, 90)).shape == (1, len(CLASSES) + 4, 16, 23)


def test_a_window_as_large_as_the_grid_is_plain_attention():
    torch.manual_seed(0)
    layer, h = WindowAttention(8, heads=2, window=4), torch.randn(2, 4, 4, 8)
    q, k, v = (part.view(2, 16, 2, 4).transpose(1, 2) for part in layer.mix(h).chunk(3, -1))
    weights = (q @ k.transpose(2, 3) / 2).softmax(-1)
    expected = layer.out((weights @ v).transpose(1, 2).reshape(2, 4, 4, 8))
    torch.testing.assert_close(layer(h), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size, shift", [((6, 6), 1), ((5, 8), 0), ((7, 4), 2)])
def test_windows_see_neighbors_alone(size, shift):
    torch.manual_seed(0)
    window = 3
    layer, h = WindowAttention(4, heads=1, window=window, shift=shift), torch.randn(1, *size, 4)
    base = layer(h)
    for row, column in ((0, 0), (2, 3), (size[0] - 1, size[1] - 1)):
        other = h.clone()
        other[0, row, column] += 1
        changed = (layer(other) - base).abs().amax((0, 3)) > 1e-6
        whole = [-(-n // window) * window for n in size]
        cells = [((torch.arange(n) - shift) // window) for n in size]  # before 0 comes the part that was rolled over
        assert all(n >= m for n, m in zip(whole, size, strict=True))
        expected = (cells[0] == cells[0][row])[:, None] & (cells[1] == cells[1][column])
        assert torch.equal(changed, expected)


def test_labels_come_back_from_text(tmp_path):
    text = to_text(BOXES, KINDS, (64, 80))
    boxes, kinds = from_text(text, (64, 80), classes=5, source=tmp_path / "x.txt")
    torch.testing.assert_close(boxes, BOXES, atol=1e-3, rtol=0)
    assert kinds.tolist() == KINDS.tolist()
    write_folder(
        tmp_path, [Scene(torch.rand(3, 64, 80), BOXES, KINDS), Scene(torch.rand(3, 64, 80), BOXES[:0], KINDS[:0])]
    )
    first, second = read_folder(tmp_path, 5)
    torch.testing.assert_close(first.boxes, BOXES, atol=1e-3, rtol=0)
    assert second.boxes.shape == (0, 4)


@pytest.mark.parametrize(
    "text, message",
    [
        ("0 0.5 0.5 0.2", "line 1: it must be five numbers, class cx cy w h, got '0 0.5 0.5 0.2'"),
        ("0 0.5 0.5 0.2 0.2\n7 0.5 0.5 0.2 0.2", "line 2: the class must be a whole number from 0 to 4, got 7"),
        ("0.5 0.5 0.5 0.2 0.2", "the class must be a whole number"),
        ("0 0.95 0.5 0.2 0.2", "the box must lie in the picture"),
        ("0 0.5 0.5 0 0.2", "and not be empty"),
        ("0 nan 0.5 0.1 0.2", "the box must lie in the picture"),
    ],
)
def test_bad_labels_are_refused(text, message, tmp_path):
    with pytest.raises(DataError, match=message):
        from_text(text, (64, 80), classes=5, source=tmp_path / "x.txt")


@needs_coco
def test_average_precision_of_hand_cases():
    def precision(boxes, scores, truth=BOXES[:1], kinds=None):
        found = Found(torch.tensor(boxes).view(-1, 4), torch.zeros(len(boxes), dtype=torch.long), torch.tensor(scores))
        scene = Scene(torch.zeros(3, 64, 64), truth, torch.zeros(len(truth), dtype=torch.long))
        return average_precision([scene], [found], 5).at_half

    true, false = BOXES[0].tolist(), [50.0, 50.0, 60.0, 60.0]
    assert precision([true], [0.9]) == pytest.approx(1)
    assert precision([true, false], [0.9, 0.8]) == pytest.approx(1)
    assert precision([true, false], [0.8, 0.9]) == pytest.approx(0.5)
    assert precision([true], [0.9], truth=BOXES) == pytest.approx(51 / 101)
    assert precision([true, true], [0.8, 0.9]) == pytest.approx(1)
    assert precision([], []) == 0
    half = [3.0, 5.0, 20.0, 17.5]
    assert precision([half], [0.9]) == pytest.approx(1)  # an IoU of exactly one half counts


def test_frames_are_drawn_and_the_rest_stays():
    picture = torch.rand(3, 64, 70)
    marked = framed(picture, torch.tensor([[-5.0, 10.0, 20.0, 200.0]]))
    assert torch.equal(marked[:, 11:63, 1:19], picture[:, 11:63, 1:19]) and torch.equal(
        marked[:, :, 20:], picture[:, :, 20:]
    )
    assert marked[:, 10, 5].tolist() == [0, 1, 0]


def test_a_local_model_of_ultralytics_is_applied(tmp_path, monkeypatch):
    path = tmp_path / "yolo.pt"
    with pytest.raises(DataError, match="there is no model .*yolo.pt"):
        ultralytics_detector(path)
    path.touch()
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    with pytest.raises(MissingPackageError, match="needs the package 'ultralytics', under the AGPL"):
        ultralytics_detector(path)
    boxes = SimpleNamespace(xyxy=BOXES, cls=KINDS.float(), conf=torch.tensor([0.2, 0.7]))

    class YOLO:
        def __init__(self, name):
            assert name == str(path)

        def predict(self, pictures, verbose):
            assert pictures.shape == (1, 3, 64, 64)
            return [SimpleNamespace(boxes=boxes)]

    monkeypatch.setitem(sys.modules, "ultralytics", SimpleNamespace(YOLO=YOLO))
    found = ultralytics_detector(path)(torch.rand(3, 64, 64))
    assert found.classes.tolist() == [0, 2] and torch.equal(found.boxes, BOXES.flip(0))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["detect", "none.png"], "there is no picture none.png"),
        (["detect", "none.png", "--least", "2"], "--least must be from 0 to 1, got 2"),
        (["detect", "PICTURE", "--model", "none.st"], "there is no model none.st: make it with"),
        (["render", "x", "--scenes", "0"], "--scenes must be at least 1, got 0"),
        (["render", "x", "--severity", "-1"], "--severity must be from 0 to 1"),
        (["render", "x", "--data-dir", "nowhere"], "there is no folder nowhere/traffic-signs"),
        (["evaluate", "nowhere"], "nowhere/images holds no picture"),
        (["train", "--steps", "0"], "--steps must be at least 1, got 0"),
    ],
)
def test_bad_input_is_one_sentence(arguments, message, tmp_path, capsys):
    write_png(tmp_path / "picture.png", torch.rand(3, 9, 9))
    arguments = [str(tmp_path / "picture.png") if word == "PICTURE" else word for word in arguments]
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_the_trained_detector_finds_what_looks_like_a_sign():
    picture = torch.full((3, 96, 96), 0.5)
    rows, columns = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    disc = (rows - 40) ** 2 + (columns - 60) ** 2 < 16**2
    picture[:, disc] = torch.tensor([0.0, 0.35, 0.65])[:, None]
    picture[:, disc & ((rows - 40).abs() < 3) & ((columns - 60).abs() < 10)] = 1.0
    (found,) = decode(load_detector()(picture[None]))
    truth = torch.tensor([[44.0, 24.0, 76.0, 56.0]])
    assert CLASSES[int(found.classes[0])] == "blue disc"
    assert F.relu(complete_iou(found.boxes[:1], truth)) > 0.5


@pytest.mark.slow
def test_a_detector_learns_to_find_squares():
    generator, scenes = torch.Generator().manual_seed(0), []
    for _ in range(64):
        left, top = torch.randint(30, (2,), generator=generator).tolist()
        picture = 0.2 * torch.rand(3, 48, 48, generator=generator)
        picture[:, top : top + 14, left : left + 14] = 0.9
        scenes.append(Scene(picture, torch.tensor([[left, top, left + 14, top + 14]]).float(), torch.tensor([4])))
    model = train_detector(scenes[:56], steps=60)
    for scene in scenes[56:]:
        (found,) = decode(model(scene.picture[None]))
        assert int(found.classes[0]) == 4 and float(complete_iou(found.boxes[:1], scene.boxes)) > 0.5
