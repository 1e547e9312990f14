"""What a fill gives away, how visible it is, and light."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from torch import Tensor

from applications.anonymisation.boxes import Box
from inverseflow.utils.arguments import finite_number

_EIGENFACES = 30
_SHIFT = 4
_RING = 4
_ELECTRONS, _READ_NOISE = 1000, 5


def ranks(probes: Tensor, gallery: Tensor, truth: Tensor) -> Tensor:
    """Return the rank of the true face of each probe among all, from 1, by the distance of eigenfaces.

    Args:
        probes: ``(N, H, W)``.
        gallery: ``(M, H, W)``.
        truth: place of each probe's face in the gallery, ``(N,)``.

    Reference:
        Turk and Pentland, Eigenfaces for recognition, 1991.
    """
    rows = gallery.flatten(1).double().numpy()
    if (rows == rows[0]).all():  # nothing tells one from the other
        return torch.full((len(probes),), (len(rows) + 1) / 2, dtype=torch.float64)
    faces = PCA(min(_EIGENFACES, len(rows) - 1), svd_solver="full").fit(rows)
    places = [torch.from_numpy(faces.transform(part.flatten(1).double().numpy())) for part in (probes, gallery)]
    distances = torch.cdist(places[0], places[1])
    own = distances.gather(1, truth[:, None])
    # of faces at one distance, a guess finds the true one in the middle
    return 1 + (distances < own - 1e-9).sum(1) + ((distances - own).abs() <= 1e-9).sum(1).sub(1) / 2


def leak(filled: Tensor, original: Tensor) -> float:
    """Return the largest normalized cross-correlation of two gray pictures ``(H, W)`` over shifts up to 4 pixels.

    Example:
        >>> picture = torch.rand(19, 19)
        >>> round(leak(picture, picture), 4), leak(torch.zeros(19, 19), picture)
        (1.0, 0.0)
    """
    inner = original[_SHIFT:-_SHIFT, _SHIFT:-_SHIFT]
    height, width = inner.shape
    best = 0.0
    for down in range(2 * _SHIFT + 1):
        for right in range(2 * _SHIFT + 1):
            pair = torch.stack([inner.flatten(), filled[down : down + height, right : right + width].flatten()])
            pair = pair - pair.mean(1, keepdim=True)
            norm = float(pair.norm(dim=1).prod())
            best = max(best, float(pair.prod(0).sum()) / norm if norm > 1e-9 else 0.0)
    return best


def seam(picture: Tensor, box: Box) -> float | None:
    """Return the mean step across the border of a box, by the mean step in a ring of 4 pixels outside.

    About 1 where the border can't be seen. None if a part of the ring lies outside of the picture, or has no steps.
    """
    gray = picture.mean(0)
    if min(box.left, box.top, gray.shape[1] - box.right, gray.shape[0] - box.bottom) < _RING + 1:
        return None
    rows, columns = slice(box.top, box.bottom), slice(box.left, box.right)
    across = torch.cat(
        [
            gray[box.top, columns] - gray[box.top - 1, columns],
            gray[box.bottom, columns] - gray[box.bottom - 1, columns],
            gray[rows, box.left] - gray[rows, box.left - 1],
            gray[rows, box.right] - gray[rows, box.right - 1],
        ]
    )
    ring = [
        gray[box.top - _RING : box.top, columns].diff(dim=0),
        gray[box.bottom : box.bottom + _RING, columns].diff(dim=0),
        gray[rows, box.left - _RING : box.left].diff(dim=1),
        gray[rows, box.right : box.right + _RING].diff(dim=1),
    ]
    usual = float(torch.cat([steps.flatten() for steps in ring]).abs().mean())
    return float(across.abs().mean()) / usual if usual > 1e-6 else None


def exposed(
    picture: Tensor,
    exposure: float,
    seed: int = 0,
    *,
    electrons: float = _ELECTRONS,
    read_noise: float = _READ_NOISE,
) -> Tensor:
    """Return a picture as a camera would take it with less light, brightened again to the same mean.

    Light is linear sRGB, electrons are Poisson, reading adds Gaussian noise, and 8 bits are kept. The picture has noise
    of its own already.

    Args:
        picture: values from 0 to 1.
        exposure: share of the light.
        seed: of the noise.
        electrons: of white at full light.
        read_noise: deviation, in electrons.

    Reference:
        Foi et al., Practical Poissonian-Gaussian noise modeling, 2008.
    """
    exposure = finite_number("exposure", exposure, above=0)
    generator = np.random.default_rng(seed)
    values: NDArray[np.floating] = picture.double().numpy()
    light = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    taken = generator.poisson(electrons * light * exposure) + read_noise * generator.normal(size=light.shape)
    linear = np.clip(taken / (electrons * exposure), 0, 1)
    values = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return torch.from_numpy(np.round(255 * values) / 255).float()
