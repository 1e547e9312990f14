"""Images inside results: PNG files in base64, small enough for JSON."""

from __future__ import annotations

from base64 import b64decode, b64encode
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor


def embedded(pixels: Tensor) -> str:
    """Return an image as text.

    Args:
        pixels: uint8, ``(H, W)`` in gray or ``(H, W, 3)``.

    Example:
        >>> pixels_of(embedded(torch.full((2, 3), 7, dtype=torch.uint8))).tolist()
        [[7, 7, 7], [7, 7, 7]]
    """
    file = BytesIO()
    Image.fromarray(pixels.cpu().numpy()).save(file, format="PNG")
    return b64encode(file.getvalue()).decode("ascii")


def pixels_of(text: str) -> NDArray[np.uint8]:
    """Return the pixels of a text from `embedded`."""
    return np.asarray(Image.open(BytesIO(b64decode(text))))
