import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from applications.anonymisation.__main__ import main
from applications.pictures import read_picture


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A real face, and a picture without one, which is no PNG."""
    folder = tmp_path_factory.mktemp("photos")
    Image.fromarray(data.astronaut()[:220, 120:340]).save(folder / "face.png")
    Image.fromarray(data.astronaut()[380:500, 100:220]).save(folder / "none.jpg")
    return folder


def test_a_face_is_replaced_all_else_stays_and_the_report_says_so(photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([str(photos), "-o", str(out), "--inpainter", "black"]) == 0
    before, after = read_picture(photos / "face.png"), read_picture(out / "face.png")
    report = json.loads((out / "report.json").read_text())
    face, none = report["pictures"]
    assert "no guarantee" in report["notice"] and report["inpainter"] == "black"
    assert len(face["replaced"]) == 1 and face["pixels outside are identical"] and not face["copied"]
    box = face["replaced"][0]["box"]
    inside = np.zeros(before.shape[1:], dtype=bool)
    inside[box["top"] : box["top"] + box["height"], box["left"] : box["left"] + box["width"]] = True
    assert torch.equal(before[:, ~inside], after[:, ~inside]) and after[:, inside].max() == 0
    assert inside[113, 102]  # the nose
    assert face["share of pixels"] == pytest.approx(inside.mean(), abs=1e-6)
    assert none["copied"] and none["replaced"] == []
    assert (out / "none.jpg").read_bytes() == (photos / "none.jpg").read_bytes()
    assert "none.jpg: nothing found, copied unchanged" in capsys.readouterr().out


def test_a_given_box_is_replaced_without_any_detector(photos, tmp_path):
    arguments = [str(photos / "none.jpg"), "--detectors", "", "--box", "10,20,30,40", "--inpainter", "pixelate"]
    assert main([*arguments, "-o", str(tmp_path / "out")]) == 0
    before, after = read_picture(photos / "none.jpg"), read_picture(tmp_path / "out" / "none.png")
    changed = (before != after).any(0)
    rows, columns = changed.nonzero(as_tuple=True)
    assert rows.min() >= 20 and rows.max() < 60 and columns.min() >= 10 and columns.max() < 40
    assert changed[20:60, 10:40].float().mean() > 0.9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.png"], "there is no picture missing.png"),
        (["empty"], "empty holds no picture"),
        (["face.png", "--detectors", "eyes"], "no detector 'eyes'; there are lbp, haar"),
        (["face.png", "--box", "100,100,200,10"], r"box 100,100,200,10 .* does not lie in the picture of 220×220"),
        (["face.png", "--box", "1,2,3"], "a box is LEFT,TOP,WIDTH,HEIGHT"),
        (["face.png", "--box", "5,5,0,10"], "does not lie in the picture"),
        (["face.png", "--grow", "7"], "--grow must be between -0.9 and 4, got 7"),
        (["face.png", "more/face.jpg"], "two pictures are called face"),
        (["face.png", "-o", "."], "must be another folder"),
        (["face.png", "--detectors", "mtcnn", "--data-dir", "empty"], "faces"),
        (["text.png"], "text.png"),
    ],
)
def test_a_mistake_is_one_sentence_with_the_remedy(arguments, message, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("more").mkdir()
    (tmp_path / "face.png").write_bytes((photos / "face.png").read_bytes())
    (tmp_path / "more/face.jpg").write_bytes((photos / "none.jpg").read_bytes())
    Path("text.png").write_text("no picture")
    try:
        code = main(["-o", "out", "--inpainter", "black", *arguments])
    except SystemExit as stop:  # by argparse
        code = stop.code
    assert code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and re.search(message, error)
    assert not Path("out").exists()
