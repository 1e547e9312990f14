import numpy as np
import pytest
import torch
from PIL import Image

from applications.pictures import picture_header, read_picture, read_pictures, to_bytes, write_png
from inverseflow.errors import DataError, OptionError


def test_a_picture_comes_back_from_its_file_bit_by_bit(tmp_path):
    levels = torch.arange(256).view(1, 16, 16)
    write_png(tmp_path / "gray.png", levels / 255)
    assert torch.equal(read_picture(tmp_path / "gray.png", 1) * 255, levels.float())
    assert torch.equal(to_bytes(read_picture(tmp_path / "gray.png")), levels.expand(3, -1, -1).byte())
    assert picture_header(tmp_path / "gray.png").gray


def test_alpha_is_blended_with_white_and_16_bits_are_cut_to_8(tmp_path):
    Image.fromarray(np.array([[[200, 0, 0, 0]]], dtype=np.uint8), "RGBA").save(tmp_path / "clear.png")
    assert read_picture(tmp_path / "clear.png").flatten().tolist() == [1, 1, 1]
    Image.fromarray(np.array([[0x80FF]], dtype=np.uint16)).save(tmp_path / "deep.png")
    assert to_bytes(read_picture(tmp_path / "deep.png", 1)).item() == 0x80


def test_a_file_that_cannot_be_read_or_written_is_named(tmp_path):
    with pytest.raises(DataError, match="no picture"):
        read_picture(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("text")
    with pytest.raises(DataError, match=r"text\.png cannot be read"):
        read_picture(tmp_path / "text.png")
    with pytest.raises(OptionError, match="must end in .png"):
        write_png(tmp_path / "a.jpg", torch.zeros(3, 2, 2))


def test_a_folder_is_read_in_the_order_of_names(tmp_path):
    with pytest.raises(DataError, match="holds no picture"):
        read_pictures(tmp_path)
    for name, value in (("b.png", 1.0), ("a.png", 0.0)):
        write_png(tmp_path / name, torch.full((3, 2, 4), value))
    assert {name: picture.mean().item() for name, picture in read_pictures(tmp_path).items()} == {
        "a.png": 0,
        "b.png": 1,
    }
    assert list(read_pictures(tmp_path)) == ["a.png", "b.png"]
    with pytest.raises(DataError, match="no folder"):
        read_pictures(tmp_path / "missing")
