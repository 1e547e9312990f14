"""What is put in place of faces and plates, behind one protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from scipy.ndimage import gaussian_filter
from skimage.data import lfw_subset
from skimage.restoration import inpaint_biharmonic
from sklearn.decomposition import PCA
from torch import Tensor
from torch.nn import functional as F

from applications.anonymisation.boxes import Box, mask_of
from inverseflow import fit, flows
from inverseflow.errors import OptionError
from inverseflow.utils.arguments import finite_number
from inverseflow.utils.seeding import seeded

SIDE, HOLE = 25, 19
"""Sides of the faces that the flow learns, and of the hole in their middle, in pixels."""

_CELLS = 8
_COARSE = 40
_MARGIN = 0.8
_COMPONENTS, _SEEN = 24, 8
_DARK = 0.02
_RIM = 0.2


class Inpainter(Protocol):
    """Fills a hole."""

    def fill(self, crop: Tensor, mask: Tensor) -> Tensor:
        """Return a crop ``(3, h, w)`` with other pixels where the mask ``(h, w)`` is true: a rectangle."""


def replace(picture: Tensor, boxes: Sequence[Box], inpainter: Inpainter) -> Tensor:
    """Fill boxes one after the other; pixels outside of them are the same numbers as before.

    Args:
        picture: ``(3, H, W)``, values from 0 to 1.
        boxes: what is filled, within the picture.
        inpainter: sees the surroundings of one box at a time.

    Raises:
        OptionError: if a box does not lie within the picture.
    """
    size = (picture.shape[1], picture.shape[2])
    filled = picture.clone()
    for box in boxes:
        mask, around = mask_of([box], size), box.grown(_MARGIN, size)
        window = (slice(around.top, around.bottom), slice(around.left, around.right))
        crop, hole = filled[:, window[0], window[1]], mask[window]
        made = inpainter.fill(crop.clone(), hole).clamp(0, 1).to(crop)
        filled[:, window[0], window[1]] = torch.where(hole, made, crop)
    return filled


class Black:
    """Nothing is left."""

    def fill(self, crop: Tensor, mask: Tensor) -> Tensor:
        """Return black."""
        return torch.zeros_like(crop)


class Blur:
    """Gaussian blur of a deviation that is a share of the width of the hole.

    Args:
        strength: deviation by width.
    """

    def __init__(self, strength: float = 0.25) -> None:
        self.strength = finite_number("strength", strength, above=0)

    def fill(self, crop: Tensor, mask: Tensor) -> Tensor:
        """Return the blurred crop."""
        sigma = self.strength * int(mask.any(0).sum())
        return torch.from_numpy(gaussian_filter(crop.numpy(), (0, sigma, sigma), mode="nearest"))


class Pixelate:
    """Squares of one color.

    Args:
        cells: squares in a row.
    """

    def __init__(self, cells: int = _CELLS) -> None:
        self.cells = cells

    def fill(self, crop: Tensor, mask: Tensor) -> Tensor:
        """Return the squares."""
        rows, columns = _window(mask)
        inside = crop[:, rows, columns]
        small = F.adaptive_avg_pool2d(inside, self.cells)
        made = crop.clone()
        made[:, rows, columns] = F.interpolate(small[None], inside.shape[1:])[0]
        return made


class Biharmonic:
    """The smoothest surface that continues what is around: of faces nothing is left, but also no face.

    Reference:
        Damelin and Hoang, On surface completion and image inpainting by biharmonic functions, 2018.
    """

    def fill(self, crop: Tensor, mask: Tensor) -> Tensor:
        """Return the surface, computed at a coarse scale."""
        scale = min(1.0, _COARSE / max(mask.shape))
        size = tuple(max(4, round(side * scale)) for side in mask.shape)
        hole = F.interpolate(mask[None, None].float(), size, mode="area")[0, 0] > 0
        known = F.interpolate((crop * ~mask)[None], size, mode="area")
        share = F.interpolate((~mask).float()[None, None], size, mode="area").clamp(min=1e-6)
        if hole.all():
            return crop.new_full(crop.shape, float(crop[:, ~mask].mean()) if (~mask).any() else 0.0)
        small = inpaint_biharmonic((known / share)[0].numpy(), hole.numpy(), channel_axis=0)
        made = torch.from_numpy(small).float()
        return F.interpolate(made[None], mask.shape, mode="bilinear", align_corners=False)[0]


class FlowInpainter:
    r"""A face that was drawn by a conditional flow :math:`p(\text{hole} \mid \text{ring})` of small gray faces.

    Principal components of the hole are drawn given those of the ring around it, both divided by the brightness of the
    ring, so that a dark picture gets a dark face. The face is scaled to the hole and takes the color of the ring, and
    its rim passes over into `Biharmonic`, which hides the seam. What was in the hole is never looked at.

    Args:
        faces: to learn from, ``(N, 25, 25)`` with values from 0 to 1; those that come with scikit-image if None.
        steps: training steps.
        seed: of training and of the faces that are drawn.
    """

    def __init__(self, faces: Tensor | None = None, *, steps: int = 200, seed: int = 0) -> None:
        if faces is None:
            faces = bundled_faces()
        if faces.ndim != 3 or faces.shape[1:] != (SIDE, SIDE):
            raise OptionError(f"faces must be (N, {SIDE}, {SIDE}), got {tuple(faces.shape)}")
        both = torch.cat([faces, faces.flip(-1)])
        hole, ring = _split(both)
        light = ring.mean(1, keepdim=True) + _DARK
        hole, ring = (hole - light) / light, (ring - light) / light
        count = min(_COMPONENTS, len(both) - 1)
        self._hole = PCA(count, svd_solver="full").fit(hole.numpy())
        self._ring = PCA(min(_SEEN, len(both) - 1), svd_solver="full").fit(ring.numpy())
        self._scale = torch.from_numpy(self._hole.explained_variance_**0.5).float()
        scores = torch.from_numpy(self._hole.transform(hole.numpy())).float() / self._scale
        with seeded(seed, "inpainter"):
            self._flow = flows.create(
                "realnvp", (count,), context_channels=self._ring.n_components_, width=32, zero_start=True
            )
            fit(
                self._flow,
                scores,
                self._context(ring),
                max_steps=steps,
                batch_size=min(64, len(both) // 2),
                weight_decay=1e-2,
                seed=seed,
                progress=False,
            )
        self._generator = torch.Generator().manual_seed(seed)

    def fill(self, crop: Tensor, mask: Tensor) -> Tensor:
        """Return the crop with a drawn face in the hole."""
        rows, columns = _window(mask)
        box = Box(columns.start, rows.start, columns.stop, rows.stop)
        margin = [round(side * (SIDE / HOLE - 1) / 2) for side in (box.width, box.height)]
        outside = (margin[0], margin[0], margin[1], margin[1])
        known = torch.where(mask, crop.new_tensor(torch.nan), crop)
        padded = F.pad(known[None], outside, value=torch.nan)[0]
        around = padded[:, rows.start : rows.stop + 2 * margin[1], columns.start : columns.stop + 2 * margin[0]]
        color = _mean(around)
        gray = F.interpolate(
            torch.where(around.isnan(), color[:, None, None], around).mean(0)[None, None], (SIDE, SIDE), mode="area"
        )
        face = self.draw(gray[0])[0, 0]
        scaled = F.interpolate(face[None, None], (box.height, box.width), mode="bilinear", align_corners=False)[0]
        made = Biharmonic().fill(crop, mask)
        tinted = scaled * (color / color.mean().clamp(min=_DARK))[:, None, None]
        made[:, rows, columns] = torch.lerp(made[:, rows, columns].clamp(0, 1), tinted, _inward(box.height, box.width))
        return made

    @torch.no_grad()
    def draw(self, faces: Tensor) -> Tensor:
        """Return holes ``(N, 1, 19, 19)`` that were drawn given the rings of crops ``(N, 25, 25)``."""
        _, ring = _split(faces)
        light = ring.mean(1, keepdim=True) + _DARK
        context = self._context((ring - light) / light)
        scores = self._flow.sample(len(faces), context, generator=self._generator) * self._scale
        hole = torch.from_numpy(self._hole.inverse_transform(scores.numpy())).float()
        return ((1 + hole) * light).clamp(0, 1).reshape(-1, 1, HOLE, HOLE)

    def _context(self, ring: Tensor) -> Tensor:
        scale = torch.from_numpy(self._ring.explained_variance_**0.5).float()
        return (torch.from_numpy(self._ring.transform(ring.numpy())).float() / scale).clamp(-3, 3)


def bundled_faces() -> Tensor:
    """Return the 100 gray faces that come with scikit-image, ``(100, 25, 25)``: a part of LFW, without names.

    Example:
        >>> bundled_faces().shape
        torch.Size([100, 25, 25])
    """
    return torch.from_numpy(lfw_subset()[:100]).float()


def inpainter(name: str, seed: int = 0) -> Inpainter:
    """Return an inpainter by its name.

    Raises:
        OptionError: if there is none of that name.
    """
    if name not in INPAINTERS:
        raise OptionError(f"there is no inpainter {name!r}; there are {', '.join(INPAINTERS)}")
    return INPAINTERS[name](seed)


INPAINTERS: dict[str, Callable[[int], Inpainter]] = {
    "blur": lambda seed: Blur(),
    "pixelate": lambda seed: Pixelate(),
    "black": lambda seed: Black(),
    "biharmonic": lambda seed: Biharmonic(),
    "flow": lambda seed: FlowInpainter(seed=seed),
}
"""Inpainters by name."""


def _inward(height: int, width: int) -> Tensor:
    """Return weights that rise from 0 at the border of a box to 1 within."""
    ramps = [(torch.arange(side) + 0.5) / (_RIM * side) for side in (height, width)]
    down, across = (torch.minimum(ramp, ramp.flip(0)).clamp(max=1) for ramp in ramps)
    return down[:, None] * across


def _window(mask: Tensor) -> tuple[slice, slice]:
    rows, columns = (mask.any(axis).nonzero()[:, 0].tolist() for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _split(faces: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pixels of the holes, and of the rings around them."""
    hole = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    rim = (SIDE - HOLE) // 2
    hole[rim:-rim, rim:-rim] = True
    return faces[:, hole], faces[:, ~hole]


def _mean(around: Tensor) -> Tensor:
    known = ~around.isnan().any(0)
    return around[:, known].mean(1) if known.any() else around.new_full((3,), 0.5)
