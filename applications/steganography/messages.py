"""Hide messages as bits in the colors of a picture, and read them back."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from applications.pictures import to_bytes
from applications.steganography.color_flow import BLOCK, CARRIERS, MARGIN, ColorFlow, signed, to_lightness, to_pixels
from applications.steganography.lsb import scattered_places
from applications.steganography.network import with_room
from inverseflow.errors import DataError
from inverseflow.utils.packages import packages_for

if TYPE_CHECKING:
    from reedsolo import RSCodec

_MAGIC = b"\xa5\x7f"
_HEADER = struct.Struct(">2sII")  # and the length and the checksum of the message
_WORD = 255
_PARITY = 32
_MARGINS = (MARGIN, 2 * MARGIN, 3 * MARGIN)
_LOST = (
    "it holds no message, was hidden by another model, or was re-encoded since: JPEG, resizing and filters destroy "
    "what is hidden; use the PNG file that hide-message has written"
)


def capacity(height: int, width: int) -> int:
    """Return how many bytes the longest message in a picture has.

    Example:
        >>> capacity(512, 512)
        14272
    """
    room = len(CARRIERS) * (height // BLOCK) * (width // BLOCK) // 8 - _coded(_HEADER.size)
    words, rest = divmod(room, _WORD)
    return max(0, words * (_WORD - _PARITY) + max(0, rest - _PARITY))


def hide_message(flow: ColorFlow, cover: Tensor, message: bytes) -> Tensor:
    """Return a picture that looks like the cover and holds a message.

    The message is a header with its length and checksum and the content, both in words of a Reed–Solomon code, which
    mend 16 wrong bytes of 255. Its bits lie at places that are scattered over the picture. The picture is read before
    it is returned; where bits are lost, it is made again with larger latents.

    Args:
        flow: the network.
        cover: ``(3, H, W)``, values from 0 to 1.
        message: at most `capacity` bytes.

    Returns:
        Bytes, ``(3, H, W)``.

    Raises:
        DataError: if the message is empty or too long, or the cover is black, white or glaring nearly everywhere.
        MissingPackageError: if reedsolo is not installed.

    Reference:
        Reed and Solomon, Polynomial codes over certain finite fields, 1960, https://doi.org/10.1137/0108018; computed
        by https://github.com/tomerfiliba-org/reedsolomon.
    """
    if not message:
        raise DataError("the message is empty: there is nothing to hide")
    room = capacity(cover.shape[1], cover.shape[2])
    if len(message) > room:
        raise DataError(
            f"the message has {len(message)} bytes, and a cover of {cover.shape[1]}×{cover.shape[2]} pixels holds "
            f"{room}: take a larger cover, or compress the message"
        )
    bits = coded_bits(message)
    for margin in _MARGINS:
        pixels = hide_bits(flow, cover, bits, margin)
        try:
            if reveal_message(flow, pixels) == message:
                return pixels
        except DataError:
            continue
    raise DataError("the cover loses the message: it is black, white or glaring nearly everywhere; take another one")


def reveal_message(flow: ColorFlow, container: Tensor) -> bytes:
    """Return the message that `hide_message` has hidden.

    Args:
        flow: the same network.
        container: bytes, ``(3, H, W)``.

    Raises:
        DataError: if the picture holds none, or was changed so much that the code can't mend it.
        MissingPackageError: if reedsolo is not installed.
    """
    if not capacity(container.shape[1], container.shape[2]):
        raise DataError("it holds no message: it is too small for one")
    code = _code()
    bits = read_bits(flow, container).numpy()
    content = np.packbits(bits ^ _mask(len(bits))).tobytes()
    header, rest = content[: _coded(_HEADER.size)], content[_coded(_HEADER.size) :]
    magic, length, checksum = _HEADER.unpack(_mended(code, header))
    if magic != _MAGIC or not 0 < length <= capacity(container.shape[1], container.shape[2]):
        raise DataError(_LOST)
    message = _mended(code, rest[: _coded(length)])
    if zlib.crc32(message) != checksum:
        raise DataError(_LOST)
    return message


def coded_bits(message: bytes) -> Tensor:
    """Return header and message in their code as bits that look random, booleans ``(n,)``."""
    code, header = _code(), _HEADER.pack(_MAGIC, len(message), zlib.crc32(message))
    bits = np.unpackbits(np.frombuffer(bytes(code.encode(header)) + bytes(code.encode(message)), np.uint8))
    return torch.from_numpy(bits.astype(bool) ^ _mask(len(bits)))


@torch.no_grad()
def hide_bits(flow: ColorFlow, cover: Tensor, bits: Tensor, margin: float = MARGIN) -> Tensor:
    """Return a picture that holds bits, with no code around them.

    Black and white give way by four levels at most, and colors are dithered before the network sees them, so that
    rounding the container adds noise that does not depend on it. Lightness stays, except where a color is clipped.

    Args:
        flow: the network.
        cover: ``(3, H, W)``, values from 0 to 1.
        bits: booleans ``(n,)``, at most as many as `read_bits` returns.
        margin: least size of the latents that carry them.

    Returns:
        Bytes, ``(3, H, W)``.
    """
    pixels = to_bytes(cover)
    height, width = (side // BLOCK * BLOCK for side in cover.shape[1:])
    lightness, colors = to_lightness(to_bytes(with_room(cover[:, :height, :width]))[None])
    noise = torch.rand(colors.shape, generator=torch.Generator().manual_seed(0)) - 0.5
    z = flow.latents(colors + noise, lightness.float())
    carriers = z[:, CARRIERS].flatten()
    places = scattered_places(len(carriers))[: len(bits)]
    carriers[places] = signed(bits.bool(), carriers[places], margin)
    z[:, CARRIERS] = carriers.view_as(z[:, CARRIERS])
    changed = to_pixels(lightness, flow.colors(z, lightness.float()).round())
    pixels[:, :height, :width] = changed[0].clamp(0, 255).byte()
    return pixels


@torch.no_grad()
def read_bits(flow: ColorFlow, container: Tensor) -> Tensor:
    """Return all bits of a picture in the order of `hide_bits`, ``(n,)``: one for every two pixels.

    Args:
        flow: the network.
        container: bytes, ``(3, H, W)``.
    """
    height, width = (side // BLOCK * BLOCK for side in container.shape[1:])
    lightness, colors = to_lightness(container[None, :, :height, :width])
    carriers = flow.latents(colors.float(), lightness.float())[:, CARRIERS].flatten()
    return carriers[scattered_places(len(carriers))] > 0


def _coded(length: int) -> int:
    """Return the number of bytes of a message in its code."""
    return length + _PARITY * -(-length // (_WORD - _PARITY))


def _code() -> RSCodec:
    with packages_for("hiding messages"):
        from reedsolo import RSCodec
    return RSCodec(_PARITY, nsize=_WORD)


def _mended(code: RSCodec, words: bytes) -> bytes:
    from reedsolo import ReedSolomonError

    try:
        return bytes(code.decode(words)[0])
    except ReedSolomonError:
        raise DataError(_LOST) from None


def _mask(length: int) -> npt.NDArray[np.bool_]:
    """Return bits that make any message look random; see `scattered_places`."""
    noise = np.frombuffer(np.random.RandomState(1).bytes(-(-length // 8)), np.uint8)
    return np.unpackbits(noise)[:length].astype(bool)
