"""What happens to a picture on its way: JPEG as a differentiable surrogate and as the real codec."""

from __future__ import annotations

import io
from functools import lru_cache
from math import cos, pi, sqrt
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from applications.pictures import LEVELS, picture_header, to_bytes
from inverseflow.utils.arguments import whole_number

_SIDE = 8
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def jpeg(pictures: Tensor, quality: int) -> Tensor:
    """Return pictures as the real codec, Pillow's, returns them.

    Args:
        pictures: ``(B, 3, H, W)``, values from 0 to 1.
        quality: from 1 to 95; colors are stored at half the resolution.
    """
    return torch.stack([_decoded(_encoded(picture, quality)) for picture in pictures])


def jpeg_surrogate(pictures: Tensor, quality: int) -> Tensor:
    """Return what JPEG makes of pictures, with the gradient of JPEG without its rounding.

    The steps of the standard: YCbCr, colors at half the resolution, the cosine transform of 8×8 blocks, quantization by
    the tables that Pillow uses at this quality, and back.

    Args:
        pictures: ``(B, 3, H, W)``, values from 0 to 1, sides divisible by 16.
        quality: from 1 to 95.

    Reference:
        ITU-T T.81, 1992, https://www.w3.org/Graphics/JPEG/itu-t81.pdf; the straight-through gradient of rounding:
        Bengio et al., 2013, https://arxiv.org/abs/1308.3432.
    """
    rotation = torch.tensor(_TO_YCC, dtype=pictures.dtype)
    planes = torch.einsum("ij,bjhw->bihw", rotation, LEVELS * pictures)
    light, colors = planes[:, :1] - 128, F.avg_pool2d(planes[:, 1:], 2)
    for_light, for_colors = quantization_tables(quality)
    light, colors = _quantized(light, for_light), _quantized(colors, for_colors)
    colors = F.interpolate(colors, scale_factor=2, mode="bilinear")
    planes = torch.cat([light + 128, colors], 1)
    return (torch.einsum("ij,bjhw->bihw", rotation.inverse(), planes) / LEVELS).clamp(0, 1)


@lru_cache
def quantization_tables(quality: int) -> tuple[Tensor, Tensor]:
    """Return the steps of lightness and of colors, each ``(8, 8)``, that Pillow writes at a quality.

    Example:
        >>> quantization_tables(50)[0][0, :4]
        tensor([16., 11., 10., 16.])
    """
    with Image.open(io.BytesIO(_encoded(torch.zeros(3, 16, 16), quality))) as image:
        tables = image.quantization
    light, colors = (torch.tensor(tables[number], dtype=torch.float32).view(_SIDE, _SIDE) for number in (0, 1))
    return light, colors


def quality_of_file(path: Path) -> int:
    """Return the quality that a JPEG file was written at, by its tables, or 100 for a file of another format.

    Raises:
        DataError: if the file is missing or is no picture.
    """
    picture_header(path)
    with Image.open(path) as image:
        tables = getattr(image, "quantization", None)
        if not tables:
            return 100
        light = torch.tensor(tables[0], dtype=torch.float32).view(_SIDE, _SIDE)
    return min(range(1, 96), key=lambda quality: float((quantization_tables(quality)[0] - light).abs().sum()))


def _quantized(planes: Tensor, steps: Tensor) -> Tensor:
    transform = _cosines().to(planes.dtype)
    blocks = planes.unflatten(2, (-1, _SIDE)).unflatten(4, (-1, _SIDE))  # (B, C, H/8, 8, W/8, 8)
    coefficients = torch.einsum("ik,bcykxl,jl->bcyixj", transform, blocks, transform)
    scaled = coefficients / steps[:, None]
    rounded = scaled + (scaled.round() - scaled).detach()
    blocks = torch.einsum("ik,bcyixj,jl->bcykxl", transform, rounded * steps[:, None], transform)
    return blocks.flatten(4, 5).flatten(2, 3)


@lru_cache
def _cosines() -> Tensor:
    rows = [
        [sqrt((1 if k == 0 else 2) / _SIDE) * cos(pi * (2 * n + 1) * k / (2 * _SIDE)) for n in range(_SIDE)]
        for k in range(_SIDE)
    ]
    return torch.tensor(rows)


def _encoded(picture: Tensor, quality: int) -> bytes:
    quality = whole_number("quality", quality, at_least=1, at_most=95)
    file = io.BytesIO()
    Image.fromarray(to_bytes(picture).permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality)
    return file.getvalue()


def _decoded(content: bytes) -> Tensor:
    with Image.open(io.BytesIO(content)) as image:
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float() / LEVELS
