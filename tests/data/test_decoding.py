import hashlib
import io
import pickle
import struct
import sys
import zlib

import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, Image

from inverseflow.data import FileImages, decoding
from inverseflow.data.decoding import Decoder, Encoded, decode_all, read_header
from inverseflow.errors import DataError, MissingPackageError

GRAY, COLOR = (1, 6, 9), (3, 6, 9)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> Encoded:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return Encoded(buffer.getvalue(), "picture")


def turned(image: Image.Image, kind: str = "JPEG") -> Encoded:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: to be turned by a quarter when it is shown
    return encoded(image, kind, exif=exif)


# What is told without decoding


@pytest.mark.parametrize(
    ("mode", "gray"),
    [("1", True), ("L", True), ("LA", True), ("I;16", True), ("P", False), ("RGB", False), ("RGBA", False)],
)
def test_a_header_tells_size_and_kind(mode, gray):
    header = read_header(encoded(Image.new(mode, (9, 6))))
    assert (header.gray, header.height, header.width) == (gray, 6, 9)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_header_tells_the_size_that_is_shown(kind):
    header = read_header(turned(Image.new("RGB", (9, 6)), kind))
    assert (header.gray, header.height, header.width) == (False, 9, 6)


def test_a_header_has_a_digest_of_the_file(tmp_path, encode, pixels):
    path = tmp_path / "picture"
    path.write_bytes(encode(pixels(6, 9, 3)))
    assert read_header(Encoded(path, "picture")).digest == hashlib.sha256(path.read_bytes()).digest()


# Pixels


def test_pixels_come_back_exactly(pixels):
    colors, grays = pixels(6, 9, 3), pixels(6, 9)
    assert np.array_equal(Decoder(COLOR)(encoded(Image.fromarray(colors))), colors)
    assert np.array_equal(Decoder(GRAY)(encoded(Image.fromarray(grays))), grays[..., None])
    assert np.array_equal(Decoder(COLOR)(encoded(Image.fromarray(grays))), grays[..., None].repeat(3, axis=-1))


def test_gray_colors_become_grays_exactly():
    array = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.fromarray(array[..., None].repeat(3, axis=-1))
    assert np.array_equal(Decoder((1, 16, 16))(encoded(image))[..., 0], array)


def test_palettes_become_colors(pixels):
    image = Image.fromarray(pixels(6, 9, 3)).quantize(7)
    assert np.array_equal(Decoder(COLOR)(encoded(image)), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_grays_of_16_bits_keep_their_upper_8(kind):
    array = np.arange(0, 54 * 1200, 1200, dtype=np.uint16).reshape(6, 9)
    assert np.array_equal(Decoder(GRAY)(encoded(Image.fromarray(array), kind))[..., 0], array >> 8)


def test_colors_of_16_bits_keep_their_upper_8():
    # A PNG by hand: Pillow writes no such file.
    array = np.arange(0, 162 * 400, 400, dtype=">u2").reshape(6, 9, 3)
    rows = b"".join(b"\0" + row.tobytes() for row in array)
    chunks = [(b"IHDR", struct.pack(">2I5B", 9, 6, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    content = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    assert np.array_equal(Decoder(COLOR)(Encoded(b"\x89PNG\r\n\x1a\n" + content, "picture")), array >> 8)


def test_bits_become_black_and_white():
    array = np.arange(54).reshape(6, 9) % 2 == 0
    assert np.array_equal(Decoder(GRAY)(encoded(Image.fromarray(array)))[..., 0], array * np.uint8(255))


def test_inks_become_colors():
    # Full cyan lets no red through; no ink is white.
    image = Image.new("CMYK", (9, 6), (255, 0, 0, 0))
    image.putpixel((0, 0), (0, 0, 0, 0))
    result = Decoder(COLOR)(encoded(image, "TIFF"))
    assert result[0, 0].tolist() == [255, 255, 255]
    assert result[3, 3].tolist() == [0, 255, 255]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_frames_the_first_is_taken(kind):
    frames = [Image.new("RGB", (9, 6), color) for color in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    image = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert (Decoder(COLOR)(image) == (255, 0, 0)).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_over_white(mode):
    clear, solid = ((0, 0, 0, 0), (0, 0, 0, 255)) if mode == "RGBA" else ((0, 0), (0, 255))
    image = Image.new(mode, (9, 6), clear)
    image.putpixel((0, 0), solid)
    result = Decoder(GRAY)(encoded(image))[..., 0]
    assert result[0, 0] == 0
    assert (result.flatten()[1:] == 255).all()


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_a_transparent_color_is_laid_over_white(mode):
    image = Image.new(mode, (9, 6), 0)
    content = encoded(image, transparency=(0, 0, 0) if mode == "RGB" else 0)
    assert (Decoder(COLOR)(content) == 255).all()


def test_orientation_is_obeyed(pixels):
    image = Image.fromarray(pixels(9, 6, 3))
    result = Decoder(COLOR)(turned(image, "PNG"))
    assert np.array_equal(result, np.rot90(np.asarray(image), -1))


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_of_32_bits_are_refused(mode):
    with pytest.raises(
        DataError, match=r"picture cannot .* \(its gray levels have an unknown range.*\): repair it, convert it"
    ):
        Decoder(GRAY)(encoded(Image.new(mode, (9, 6)), "TIFF"))


def test_colors_that_cannot_be_converted_are_refused():
    with pytest.raises(
        DataError, match=r"picture cannot be read as an image \(conversion from LAB to RGB not supported\)"
    ):
        Decoder(GRAY)(encoded(Image.new("LAB", (9, 6)), "TIFF"))


# Size


def test_without_a_crop_another_size_is_refused():
    with pytest.raises(DataError, match=r"picture is 6×8, but the others are 6×9.*image_size"):
        Decoder(COLOR)(encoded(Image.new("RGB", (8, 6))))


@pytest.mark.parametrize(("height", "width"), [(3, 8), (8, 3)])
@pytest.mark.parametrize("crop", ["resize", "center"])
def test_an_image_smaller_than_wanted_is_refused(height, width, crop):
    with pytest.raises(DataError, match=rf"picture is {height}×{width}, smaller than the wanted 4×4: .* 3 or less"):
        Decoder((3, 4, 4), crop)(encoded(Image.new("RGB", (width, height))))


@pytest.mark.parametrize("crop", ["resize", "center", None])
def test_an_image_of_the_right_size_is_not_changed(pixels, crop):
    array = pixels(6, 9, 3)
    assert np.array_equal(Decoder(COLOR, crop)(encoded(Image.fromarray(array))), array)


def test_crop_center_cuts_out_original_pixels(pixels):
    array = pixels(7, 10, 3)
    result = Decoder((3, 3, 4), "center")(encoded(Image.fromarray(array)))
    assert np.array_equal(result, array[2:5, 3:7])


def test_crop_resize_keeps_the_whole_shorter_side():
    # Three bands from left to right, of which the center band is as wide as the image is high.
    array = np.repeat(np.array([0] * 30 + [100] * 60 + [200] * 30, dtype=np.uint8)[None], 60, axis=0)
    result = Decoder((1, 6, 6), "resize")(encoded(Image.fromarray(array)))
    assert np.abs(result.astype(int) - 100).max() < 25
    top_to_bottom = np.repeat(np.linspace(0, 255, 60).astype(np.uint8)[:, None], 120, axis=1)
    result = Decoder((1, 6, 6), "resize")(encoded(Image.fromarray(top_to_bottom)))[:, 3, 0].astype(int)
    assert result[0] < 30
    assert result[-1] > 225


# Damage


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_a_truncated_image_is_named(tmp_path, encode, pixels, kind):
    content = encode(pixels(64, 64, 3), kind)
    path = tmp_path / "cut.img"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"cut\.img cannot be read as an image .*: repair it"):
        Decoder((3, 64, 64))(Encoded(path, str(path)))


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"])
@pytest.mark.parametrize("reader", [read_header, Decoder(COLOR)], ids=["header", "pixels"])
def test_rubbish_is_named(content, reader):
    with pytest.raises(DataError, match=r"row 3 of x cannot be read as an image \(it is damaged, or none of BMP, "):
        reader(Encoded(content, "row 3 of x"))


def test_a_missing_file_is_named(tmp_path):
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(DataError, match=r"link\.png cannot be read as an image \(No such file or directory\)"):
        read_header(Encoded(tmp_path / "link.png", "link.png"))


def test_postscript_is_not_run(monkeypatch):
    # Pillow would hand the file to Ghostscript.
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_: pytest.fail("started Ghostscript"))
    with pytest.raises(DataError, match=r"picture cannot be read as an image \(it is damaged, or none of BMP, "):
        Decoder(COLOR)(encoded(Image.new("RGB", (9, 6)), "EPS"))


def test_an_image_beyond_the_limit_of_pillow_is_read_and_that_limit_stays(monkeypatch, encode, pixels):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9 * 6 // 2 - 1)
    assert Decoder(COLOR)(Encoded(encode(pixels(6, 9, 3)), "picture")).shape == (6, 9, 3)
    assert Image.MAX_IMAGE_PIXELS == 9 * 6 // 2 - 1


def test_an_image_beyond_our_limit_is_refused(monkeypatch, encode, pixels):
    monkeypatch.setattr(decoding, "MAX_PIXELS", 53)
    with pytest.raises(DataError, match=r"picture cannot .* \(it has 6×9 pixels, but at most 53 are read\)"):
        read_header(Encoded(encode(pixels(6, 9, 3)), "picture"))


def test_without_pillow_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingPackageError, match="reading images needs the package 'pillow'"):
        read_header(Encoded(b"", "picture"))


def test_damaged_metadata_is_no_warning(pixels):
    image = encoded(Image.fromarray(pixels(6, 9, 3)), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\5")
    with pytest.warns(UserWarning, match="Corrupt EXIF"), image.open() as opened:
        opened.getexif()
    assert decode_all([image], Decoder(COLOR)).shape == (1, 3, 6, 9)


def test_every_cut_of_a_file_gives_the_typed_error(encode, pixels):
    content = encode(pixels(6, 9, 3), "PNG")
    for length in range(0, len(content) - 20, 7):  # the 20 bytes after the pixels are checksums and an end mark
        with pytest.raises(DataError, match="cannot be read as an image"):
            Decoder(COLOR)(Encoded(content[:length], "picture"))


# Many images


@pytest.mark.parametrize("in_files", [True, False])
@pytest.mark.parametrize("count", [0, 1, 100])
def test_all_images_are_decoded_in_order(tmp_path, encode, pixels, count, in_files):
    arrays = pixels(count, 6, 9, 3)
    images = []
    for number, array in enumerate(arrays):
        path = tmp_path / f"{number}.png"
        path.write_bytes(encode(array))
        images.append(Encoded(path if in_files else path.read_bytes(), path.name))
    result = decode_all(images, Decoder(COLOR))
    assert result.dtype == torch.uint8
    assert result.is_contiguous()
    assert np.array_equal(result.permute(0, 2, 3, 1).numpy(), arrays)


def test_large_images_are_decoded_one_at_a_time(monkeypatch, pixels):
    monkeypatch.setattr(decoding, "_LARGE_PIXELS", 9 * 6 - 1)
    array = pixels(6, 9, 3)
    assert np.array_equal(Decoder(COLOR)(encoded(Image.fromarray(array))), array)


def test_the_first_bad_image_among_many_is_named(encode, pixels):
    images = [Encoded(encode(pixels(6, 9, 3)), f"row {row}") for row in range(100)]
    images[41] = Encoded(b"rubbish", "row 41")
    images[77] = Encoded(b"rubbish", "row 77")
    with pytest.raises(DataError, match="row 41"):
        decode_all(images, Decoder(COLOR))


@pytest.fixture
def files(tmp_path, encode, pixels) -> FileImages:
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for path in paths:
        path.write_bytes(encode(pixels(6, 9, 3)))
    return FileImages([Encoded(path, str(path)) for path in paths], Decoder(COLOR))


def test_images_in_files_are_those_held_in_memory(files):
    whole = files.tensor()
    assert whole.shape == (5, *files.shape)
    assert torch.equal(files[3], whole[3])
    assert torch.equal(files.__getitems__(torch.tensor([4, 0])), whole[[4, 0]])
    assert torch.equal(files.select([2, 1]).tensor(), whole[[2, 1]])
    assert torch.equal(torch.stack(list(files)), whole)


def test_no_images_in_files_make_an_empty_batch(files):
    assert files.__getitems__([]).shape == (0, *files.shape)


def test_images_in_files_survive_pickling(files):
    assert torch.equal(pickle.loads(pickle.dumps(files)).tensor(), files.tensor())


def test_a_file_that_vanished_is_named_when_it_is_asked_for(files, tmp_path):
    (tmp_path / "3.png").unlink()
    assert files[2].shape == files.shape
    with pytest.raises(DataError, match=r"3\.png cannot be read as an image \(No such file"):
        files[3]
