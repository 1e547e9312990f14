import hashlib
import io
import sys
from pathlib import Path

import pytest
from PIL import EpsImagePlugin, Image

from inverseflow.data import encoded
from inverseflow.data.encoded import Encoded
from inverseflow.errors import DataError, MissingPackageError


@pytest.mark.parametrize(("kind", "lossy"), [("PNG", False), ("JPEG", True), ("WEBP", False), ("BMP", False)])
@pytest.mark.parametrize("in_file", [True, False])
def test_jpeg_is_told_by_the_first_bytes(tmp_path, encode, pixels, kind, lossy, in_file):
    content = encode(pixels(6, 9, 3), kind)
    (tmp_path / "picture.png").write_bytes(content)  # the name says nothing
    assert Encoded(tmp_path / "picture.png" if in_file else content, "picture").is_jpeg() is lossy


@pytest.mark.parametrize("in_file", [True, False])
def test_the_digest_is_of_the_content(tmp_path, in_file):
    content = bytes(range(256)) * 5000
    (tmp_path / "picture.png").write_bytes(content)
    image = Encoded(tmp_path / "picture.png" if in_file else content, "picture")
    assert image.digest() == hashlib.sha256(content).digest()


@pytest.mark.parametrize("call", [Encoded.is_jpeg, Encoded.open, Encoded.digest])
def test_a_missing_file_is_named(call):
    with pytest.raises(DataError, match=r"gone\.png cannot be read as an image \(it is not there\)"):
        call(Encoded(Path("/nowhere/gone.png"), "gone.png"))


def test_a_link_to_nothing_is_named(tmp_path):
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(DataError, match=r"link\.png cannot .* \(it is a link to a file that does not exist\)"):
        Encoded(tmp_path / "link.png", "link.png").open()


def test_an_empty_file_is_named():
    with pytest.raises(DataError, match=r"picture cannot be read as an image \(it is empty\): replace it"):
        Encoded(b"", "picture").open()


def test_postscript_is_not_run(monkeypatch):
    # Pillow would hand the file to Ghostscript.
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_: pytest.fail("started Ghostscript"))
    buffer = io.BytesIO()
    Image.new("RGB", (9, 6)).save(buffer, "EPS")
    with pytest.raises(DataError, match=r"z\.png cannot be read as an image \(its content is none of BMP, GIF"):
        Encoded(buffer.getvalue(), "z.png").open().load()


def test_an_image_beyond_the_limit_of_pillow_is_read_and_that_limit_stays(monkeypatch, encode, pixels):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9 * 6 // 2 - 1)
    assert Encoded(encode(pixels(6, 9, 3)), "picture").open().size == (9, 6)
    assert Image.MAX_IMAGE_PIXELS == 9 * 6 // 2 - 1


def test_an_image_beyond_our_limit_is_refused(monkeypatch, encode, pixels):
    monkeypatch.setattr(encoded, "MAX_PIXELS", 53)
    with pytest.raises(DataError, match="picture has 6×9 = 54 pixels, but at most 53 are read: scale it down"):
        Encoded(encode(pixels(6, 9, 3)), "picture").open()


def test_without_pillow_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(
        MissingPackageError, match=r"reading images needs the package 'pillow'.*pip install 'inverseflow\[train\]'"
    ):
        Encoded(b"", "picture").open()
