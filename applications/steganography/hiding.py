"""Hide pictures of any size in a picture of 8 bits, and take them out again."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from applications.pictures import LEVELS, to_bytes
from applications.steganography.marker import Marker, read_marker, write_marker
from applications.steganography.network import BLOCK, COLORS, HidingFlow, with_room
from inverseflow.errors import DataError


@torch.no_grad()
def hide_pictures(flow: HidingFlow, cover: Tensor, secrets: Sequence[Tensor]) -> Tensor:
    """Return a picture that looks like the cover and holds the secrets.

    The network works on the largest part of the cover, from the top left, whose sides are divisible by 4. Up to three
    rows and columns at the end stay as they are, and those of a secret are lost: `reveal_pictures` repeats the last one
    that it has.

    Args:
        flow: the network.
        cover: ``(3, H, W)``, values from 0 to 1.
        secrets: as many as the network hides, all of one size that is no larger than the cover.

    Returns:
        Bytes, ``(3, H, W)``, with a marker in them.

    Raises:
        DataError: if the number or the size of the secrets does not fit, or the cover is too small.
    """
    if len(secrets) != flow.options.secrets:
        raise DataError(f"this model hides {flow.options.secrets} pictures, got {len(secrets)}: use the other model")
    height, width = cover.shape[1:]
    size = secrets[0].shape[1:]
    for secret in secrets:
        if secret.shape[1] > height or secret.shape[2] > width:
            raise DataError(
                f"the cover has {_size(cover)} pixels and is smaller than the secret with {_size(secret)}: take a "
                "larger cover, or scale the secret down"
            )
        if secret.shape[1:] != size:
            raise DataError(f"the secrets have {_size(secrets[0])} and {_size(secret)} pixels: bring them to one size")
    core = _core(cover)
    hidden = [_fitted(secret, core) for secret in secrets]
    changed, _ = flow.hide(with_room(cover[None, :, : core[0], : core[1]]), torch.cat(hidden)[None])
    container = cover.clone()
    container[:, : core[0], : core[1]] = changed[0]
    marker = Marker(len(secrets), size[0], size[1], fingerprint(flow))
    pixels = write_marker(LEVELS * container.permute(1, 2, 0).double().numpy(), marker)
    return torch.from_numpy(pixels).permute(2, 0, 1)


@torch.no_grad()
def reveal_pictures(flow: HidingFlow, container: Tensor) -> list[Tensor]:
    """Return the pictures that `hide_pictures` has hidden, with values from 0 to 1.

    Args:
        flow: the same network.
        container: bytes, ``(3, H, W)``.

    Raises:
        DataError: if the picture holds none, was changed since, or was made by another model.
    """
    marker = read_marker(np.ascontiguousarray(container.permute(1, 2, 0).numpy()))
    if marker.model != fingerprint(flow):
        raise DataError("it was hidden by another model than this one: give that model by --model")
    height, width = _core(container)
    revealed = flow.reveal(container[None, :, :height, :width].float() / LEVELS)[0].clamp(0, 1)
    return [_fitted(secret, (marker.height, marker.width)) for secret in revealed.split(COLORS)]


@torch.no_grad()
def hide_robustly(flow: HidingFlow, cover: Tensor, secret: Tensor, quality: int = 90) -> Tensor:
    """Return a picture that holds a secret also as a JPEG file, and no marker, which would not survive.

    Args:
        flow: a robust network.
        cover: ``(3, H, W)``, values from 0 to 1.
        secret: of the same size.
        quality: of the JPEG files that are expected.

    Returns:
        Bytes, ``(3, H, W)``.

    Raises:
        DataError: if the sizes differ, or are below 4.
    """
    if secret.shape != cover.shape:
        raise DataError(
            f"the cover has {_size(cover)} pixels and the secret {_size(secret)}: a robust secret has the size of its "
            "cover, because no marker says another"
        )
    container = cover.clone()
    height, width = _core(cover)
    changed, _ = flow.hide(
        with_room(cover[None, :, :height, :width]), secret[None, :, :height, :width], _level(quality)
    )
    container[:, :height, :width] = changed[0]
    return to_bytes(container)


@torch.no_grad()
def reveal_robustly(flow: HidingFlow, container: Tensor, quality: int) -> Tensor:
    """Return what a picture holds, with values from 0 to 1, or noise if it holds nothing: no marker tells.

    Args:
        flow: the same network.
        container: bytes, ``(3, H, W)``.
        quality: of the JPEG file that it was, 100 for a PNG file.
    """
    height, width = _core(container)
    revealed = flow.reveal(container[None, :, :height, :width].float() / LEVELS, _level(quality))[0].clamp(0, 1)
    return _fitted(revealed, (container.shape[1], container.shape[2]))


def _level(quality: int) -> Tensor:
    return torch.tensor([[1 - quality / 100]])


def _core(picture: Tensor) -> tuple[int, int]:
    """Return the sides of the part that the network takes."""
    height, width = (side // BLOCK * BLOCK for side in picture.shape[1:])
    if not height or not width:
        raise DataError(f"the cover has {_size(picture)} pixels: it needs {BLOCK}×{BLOCK} at least")
    return height, width


def fingerprint(flow: HidingFlow) -> int:
    """Return a checksum of the weights, which both sides must share."""
    checksum = 0
    for tensor in flow.state_dict().values():
        checksum = zlib.crc32(tensor.float().contiguous().numpy().tobytes(), checksum)
    return checksum


def _fitted(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut a picture at the bottom and the right, or repeat its last row and column, until it has a size."""
    picture = picture[:, : size[0], : size[1]]
    margin = (0, size[1] - picture.shape[2], 0, size[0] - picture.shape[1])
    return F.pad(picture[None], margin, mode="replicate")[0]


def _size(picture: Tensor) -> str:
    return f"{picture.shape[1]}×{picture.shape[2]}"
