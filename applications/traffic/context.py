"""Roads whose sign is gone: which one is missing shows from the road alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from skimage.restoration import inpaint_biharmonic
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from applications.art.data import crops
from applications.models import Network
from applications.traffic.scenes import Designs, put_sign, read_design
from experiments.folders import data_folder
from inverseflow import fit
from inverseflow.data import Batch
from inverseflow.densities import Density
from inverseflow.training import Loss
from inverseflow.utils.seeding import seeded

MISSING = ("gap in the median", "curve to the left", "curve to the right", "side road on the left", "none")
_FILES = (
    "warning--two-way-traffic--g1.png",
    "warning--curve-left--g1.png",
    "warning--curve-right--g1.png",
    "warning--junction-with-a-side-road-perpendicular-left--g1.png",
)
"""The signs of the first four; there is no design for a gap in the median, and that of two-way traffic stands in."""
SIDE = 64
_SIGN = 11


@dataclass(frozen=True)
class Roads:
    """How roads are rendered."""

    cues: bool = True
    """Whether the road shows why there is a sign; otherwise all are straight."""
    scars: str = "everywhere"
    """Where something was removed by inpainting: "everywhere" (the sign, or nothing at such a place), "signs" (only
    where there was a sign), or "nowhere" (scenes rendered without a sign)."""


def roadside_designs(data_dir: Path | None) -> Designs:
    """Return one sign for each of the first four of `MISSING`."""
    folder = data_folder("traffic-signs", data_dir) / "png"
    return Designs(tuple((read_design(folder / name),) for name in _FILES))


def render_roads(
    designs: Designs, pictures: Sequence[Tensor], count: int, roads: Roads, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Render roads below real pictures, with the sign at the right removed.

    Returns:
        The pictures ``(count, 3, 64, 64)`` and the classes ``(count,)``, indices of `MISSING` in equal shares.
    """
    found = []
    classes = torch.arange(count) % len(MISSING)
    for place, kind in zip(crops(list(pictures), count, SIDE, generator), classes.tolist(), strict=True):
        picture, corner = _road(place, kind if roads.cues else len(MISSING) - 1, generator)
        box = torch.tensor([*corner, corner[0] + _SIGN, corner[1] + _SIGN]).round()
        has_sign = kind < len(designs.drawings)
        if has_sign and roads.scars != "nowhere":
            left, top, right, bottom = box.tolist()
            corners = torch.tensor([[left, top], [right, top], [right, bottom], [left, bottom]])
            light = 0.7 + 0.3 * float(torch.rand((), generator=generator))
            picture, _ = put_sign(picture, designs.drawings[kind][0], corners, light)
        if roads.scars == "everywhere" or (roads.scars == "signs" and has_sign):
            picture = _removed(picture, box)
        found.append((picture + 0.01 * torch.randn(picture.shape, generator=generator)).clamp(0, 1))
    return torch.stack(found), classes


class Classifier(Network):
    """A small convolutional network that tells which sign is missing.

    Shape:
        x: ``(B, 3, 64, 64)``; y: logits ``(B, 5)``.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__((3, SIDE, SIDE))
        channels = [3, width, 2 * width, 4 * width, 4 * width]
        layers: list[nn.Module] = []
        for fewer, more in pairwise(channels):
            layers += [nn.Conv2d(fewer, more, 3, 2, 1), nn.BatchNorm2d(more), nn.SiLU()]
        self.net = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * width, len(MISSING)))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return logits; the context, the truth of the loss, is not looked at."""
        y: Tensor = self.net(x - 0.5)
        return y


@dataclass(frozen=True)
class CrossEntropy:
    """Minimize the cross-entropy of classes, which the context of a batch holds, ``(B, 1)``."""

    def __call__(self, model: Density, batch: Batch, /) -> Loss:
        """Return the mean over a batch."""
        assert batch.context is not None
        cost = F.cross_entropy(model(batch.x, batch.context), batch.context[:, 0].long())
        return Loss(cost, {"cross_entropy": cost})


def train_classifier(pictures: Tensor, classes: Tensor, *, steps: int, seed: int = 0) -> Classifier:
    """Train a classifier. Pictures are not flipped, which would turn left into right."""
    with seeded(seed, "classifier"):
        model = Classifier()
    fit(
        model,
        pictures,
        classes[:, None].float(),
        objective=CrossEntropy(),
        validation=0.1,
        max_steps=steps,
        batch_size=32,
        learning_rate=2e-3,
        weight_decay=1e-3,
        validate_every=max(1, steps // 8),
        seed=seed,
        progress=False,
    )
    return model.eval()


@torch.no_grad()
def accuracy(model: Classifier, pictures: Tensor, classes: Tensor) -> tuple[int, int]:
    """Return how many pictures are classified rightly, and of how many."""
    return int((model(pictures).argmax(1) == classes).sum()), len(classes)


def _road(picture: Tensor, kind: int, generator: Generator) -> tuple[Tensor, tuple[float, float]]:
    """Draw a road with a median up to a horizon; return it, and the left upper corner of a place for a sign."""
    random = torch.rand(8, generator=generator).tolist()
    horizon = SIDE * (0.3 + 0.15 * random[0])
    rows, columns = torch.arange(SIDE)[:, None] + 0.5, torch.arange(SIDE) + 0.5
    near = ((rows - horizon) / (SIDE - horizon)).clamp(min=0)
    bend = {1: -1.0, 2: 1.0}.get(kind, 0.0) * (0.35 + 0.25 * random[1])
    center = SIDE * (0.35 + 0.1 * random[2] + bend * (1 - near) ** 2)
    half = SIDE * (0.02 + 0.33 * near)
    below = rows > horizon
    ground = torch.tensor([0.3, 0.4, 0.2])[:, None, None] * (0.6 + 0.6 * random[3])
    road = torch.tensor([0.4, 0.4, 0.42])[:, None, None] * (0.6 + 0.6 * random[4])
    grain = 0.05 * torch.randn(1, SIDE, SIDE, generator=generator)
    drawn = torch.where(below, ground + grain, picture)
    on_road = below & ((columns - center).abs() < half)
    if kind == 3:
        start = 0.35 + 0.2 * random[5]
        on_road |= below & (columns < center) & (near > start) & (near < start + 0.25)
    drawn = torch.where(on_road, road + grain, drawn)
    edge = on_road & ((columns - center).abs() > 0.88 * half)
    if kind == 3:
        edge &= ~((columns < center) & (near > start) & (near < start + 0.25))
    median = below & ((columns - center).abs() < 0.14 * half)
    if kind == 0:
        start = 0.3 + 0.25 * random[5]
        median &= ~((near > start) & (near < start + 0.3))
    drawn = torch.where(edge, 0.85, drawn)
    drawn = torch.where(median, torch.tensor([0.25, 0.45, 0.2])[:, None, None] + grain, drawn)
    down = horizon + (SIDE - horizon) * (0.2 + 0.4 * random[6]) - _SIGN
    across = min(SIDE - _SIGN - 2.0, SIDE * (0.7 + 0.15 * random[7]))
    light = 0.7 + 0.4 * float(torch.rand((), generator=generator))
    return (drawn * light).clamp(0, 1), (across, max(1.0, down))


def _removed(picture: Tensor, box: Tensor) -> Tensor:
    """Fill a box with a margin of two pixels smoothly from what is around it."""
    left, top, right, bottom = (box + torch.tensor([-2, -2, 2, 2])).clamp(0, SIDE).int().tolist()
    mask = np.zeros(picture.shape[1:], dtype=bool)
    mask[top:bottom, left:right] = True
    filled = inpaint_biharmonic(picture.numpy(), mask, channel_axis=0)
    return torch.from_numpy(filled.astype(np.float32)).clamp(0, 1)
