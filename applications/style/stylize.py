"""Stylized pictures, and the content recovered from them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from PIL import Image, PngImagePlugin
from torch import Tensor

from applications.pictures import LEVELS, read_picture, to_bytes
from applications.style.projection import FACTOR, decode, encode, filled
from applications.style.statistics import Kind, Statistics, transfer
from inverseflow.bijections import Bijection
from inverseflow.errors import DataError, OptionError
from inverseflow.utils.files import atomic_write, errors_naming

CHUNK = b"stYL"
"""The chunk of a PNG file that holds the `Origin`. Its letters mean: private, and void once pixels change."""
MIN_SIDE = 16
_FARTHEST = 30_000
_LARGEST_ORIGIN = 200_000
"""More bytes than statistics and names take."""


@dataclass(frozen=True)
class Origin:
    """What leads from a stylized picture back to its content."""

    content: Statistics
    """Of the content's features."""
    current: Statistics
    """Of the features of the stylized picture, before they were rounded."""
    size: tuple[int, int]
    """Height and width of the content."""


@torch.no_grad()
def stylize(
    flow: Bijection,
    content: Tensor,
    style: Tensor,
    *,
    strength: float = 1.0,
    kind: Kind = "wct",
    origin: Origin | None = None,
) -> tuple[Tensor, Origin]:
    """Give a picture the style of another.

    Args:
        flow: the projection to features.
        content: ``(3, H, W)`` from 0 to 1.
        style: the same, of any size.
        strength: 0 leaves the content, 1 gives all of the style.
        kind: ``"wct"`` gives mean and covariance of the features, ``"adain"`` mean and deviations.
        origin: that of a content that is a stylized picture itself, so that the first content can be recovered.

    Returns:
        The stylized picture, with sides that are filled up to multiples of 4 and values that can lie outside of 0 to 1,
        and what `recover` needs.

    Raises:
        OptionError: if the strength is not from 0 to 1, there is no such kind, or a side is shorter than 16 pixels.
    """
    for name, picture in (("content", content), ("style", style)):
        if min(picture.shape[1:]) < MIN_SIDE:
            height, width = picture.shape[1:]
            raise OptionError(
                f"the {name} has {width}×{height} pixels: give a picture of at least {MIN_SIDE}×{MIN_SIDE}"
            )
    z = encode(flow, filled(content))
    source = Statistics.of(z, kind)
    target = source.towards(Statistics.of(encode(flow, filled(style)), kind), strength)
    stylized = decode(flow, transfer(z, source, target))
    height, width = content.shape[1:]
    first = Origin(source, target, (height, width)) if origin is None else origin
    return stylized, Origin(first.content, target, first.size)


@torch.no_grad()
def recover(flow: Bijection, stylized: Tensor, origin: Origin) -> Tensor:
    """Return the content of a stylized picture, by the transfer back to the statistics of the content.

    Args:
        flow: the projection that stylized.
        stylized: ``(3, H, W)``.
        origin: as `stylize` returned it.

    Raises:
        DataError: if the picture has another size than the one that was written.
    """
    if tuple(stylized.shape[1:]) != tuple(side + -side % FACTOR for side in origin.size):
        height, width = stylized.shape[1:]
        raise DataError(f"the picture has {width}×{height} pixels, not those that stylize wrote: it was changed")
    z = transfer(encode(flow, stylized), origin.current, origin.content)
    height, width = origin.size
    return decode(flow, z)[:, :height, :width].clamp(0, 1)


def write_stylized(path: Path, picture: Tensor, origin: Origin) -> Tensor:
    """Write a stylized picture as a PNG file of 8 bits, with its origin in it.

    Values outside of 0 to 1 are clipped in the picture; how far they lie outside is kept beside the origin, in whole
    levels. So rounding to whole levels is all that is lost.

    Returns:
        The picture as `read_stylized` will return it.

    Raises:
        OptionError: if the name does not end in ``.png``.
    """
    if path.suffix.lower() != ".png":
        raise OptionError(f"{path} must end in .png: the content can't be recovered from another format")
    pixels = to_bytes(picture)
    levels = (picture * LEVELS).round().clamp(-_FARTHEST, _FARTHEST).to(torch.int16)
    tensors = {"outside": levels - pixels, "size": torch.tensor(origin.size)}
    for name, statistics in {"content": origin.content, "current": origin.current}.items():
        tensors |= {f"{name}.mean": statistics.mean, f"{name}.root": statistics.root.contiguous()}
    chunks = PngImagePlugin.PngInfo()
    chunks.add(CHUNK, zlib.compress(safetensors.torch.save(tensors)))
    with atomic_write(path) as temporary, errors_naming(path, temporary):
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(temporary, "PNG", pnginfo=chunks)
    return levels.float() / LEVELS


def read_stylized(path: Path) -> tuple[Tensor, Origin | None]:
    """Read a picture and, if `write_stylized` wrote it, its origin and its values outside of 0 to 1.

    Raises:
        DataError: if the file is missing, is no picture, or holds a damaged origin.
    """
    picture = read_picture(path)
    with Image.open(path) as file:
        file.load()
        found = dict(chunk[:2] for chunk in getattr(file, "private_chunks", ()))
    if CHUNK not in found:
        return picture, None
    try:
        largest = 2 * picture.numel() + _LARGEST_ORIGIN
        tensors = safetensors.torch.load(zlib.decompressobj().decompress(found[CHUNK], largest))
        content, current = (Statistics(tensors[f"{n}.mean"], tensors[f"{n}.root"]) for n in ("content", "current"))
        height, width = tensors["size"].tolist()
        return picture + tensors["outside"] / LEVELS, Origin(content, current, (height, width))
    except (zlib.error, safetensors.SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise DataError(f"{path} holds damaged statistics of its content: {error!r}") from error
