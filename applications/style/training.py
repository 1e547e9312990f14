"""Training by the features of a network: what a picture shows, and what it looks like."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from skimage import data
from sklearn.datasets import load_sample_image
from torch import Tensor
from torch.nn import functional as F

from applications.backbone import EfficientNetLite0, pretrained
from applications.pictures import LEVELS, read_picture
from applications.style.projection import projection_flow, save_projection
from applications.style.statistics import Statistics, transfer
from experiments.folders import data_folder
from inverseflow.bijections import Bijection
from inverseflow.data import Batch
from inverseflow.densities import Density
from inverseflow.flows import Flow
from inverseflow.training import Loss, fit
from inverseflow.utils.seeding import seeded

STYLE_PLACES, CONTENT_PLACES = (-1, 0, 2, 4), (4,)

BUNDLED = ("brick", "coffee", "grass", "immunohistochemistry", "retina", "rocket")
PHOTOS = ("baboon", "board", "building", "butterfly", "fruits", "graf1", "home", "squirrel")
"""Pictures to train with, of scikit-image and of the folder photos/; the others are for tests."""
_SIDE, _CROPS, _HELD_OUT = 64, 600, 8


def train(path: Path, data_dir: Path | None, *, steps: int = 1500, seed: int = 0, progress: bool = True) -> None:
    """Train the flow of this application and write its weights.

    Args:
        path: the file to write.
        data_dir: folder with backbone/ and photos/ in it; None for ``$INVERSEFLOW_DATA``.
        steps: training steps.
        seed: of weights, crops and training.
        progress: whether to show a progress bar.

    Raises:
        DataError: if weights or pictures are missing.
    """
    perceptual = Perceptual(pretrained(data_dir, 1 + max(CONTENT_PLACES + STYLE_PLACES)))
    pictures = training_pictures(data_dir)
    with seeded(seed, "weights"):
        flow = Flow(projection_flow(), (3, _SIDE, _SIDE))
    fit(
        flow,
        crops(pictures, _CROPS, _SIDE, torch.Generator().manual_seed(seed)),
        objective=StyleLoss(perceptual),
        max_steps=steps,
        batch_size=2,
        learning_rate=1e-3,
        warmup_steps=min(50, steps),
        clip_norm=1.0,
        validation=_HELD_OUT / _CROPS,
        seed=seed,
        progress=progress,
    )
    save_projection(flow.bijection, path)


def training_pictures(data_dir: Path | None) -> list[Tensor]:
    """Return pictures ``(3, H, W)`` of many kinds, those of `BUNDLED`, of scikit-learn and of `PHOTOS`."""
    arrays = [getattr(data, name)() for name in BUNDLED]
    arrays += [data.stereo_motorcycle()[0], *(load_sample_image(name) for name in ("china.jpg", "flower.jpg"))]
    tensors = [torch.from_numpy(array.copy()).float() / 255 for array in arrays]
    pictures = [t.permute(2, 0, 1) if t.ndim == 3 else t.expand(3, *t.shape) for t in tensors]
    folder = data_folder("photos", data_dir)
    return pictures + [read_picture(next(folder.glob(f"{name}.*"))) for name in PHOTOS]


def crops(pictures: list[Tensor], count: int, side: int, generator: torch.Generator) -> Tensor:
    """Return random square parts of pictures ``(count, 3, side, side)``, at random sizes and in random colors."""
    found = []
    for number in range(count):
        picture = pictures[number % len(pictures)]
        random = torch.rand(6, generator=generator).tolist()
        length = int(side * (1 + random[0] * (min(picture.shape[1:]) / side - 1)))
        top, left = (int(r * (n - length + 1)) for r, n in zip(random[1:3], picture.shape[1:], strict=True))
        part = picture[None, :, top : top + length, left : left + length]
        part = F.interpolate(part, (side, side), mode="bilinear", antialias=True)[0]
        part = part.flip(2) if random[3] < 0.5 else part
        if random[4] < 0.3:
            low, high = torch.rand(2, 3, 1, 1, generator=generator)
            part = low + (high - low) * part.mean(0, keepdim=True)
        elif random[4] < 0.6:
            part = part[torch.randperm(3, generator=generator)]
        found.append(1 - part if random[5] < 0.1 else part)
    return torch.stack(found)


@dataclass(frozen=True)
class Perceptual:
    """Distances between pictures in the features of EfficientNet-Lite0."""

    network: EfficientNetLite0

    def content(self, pictures: Tensor, wanted: Tensor) -> Tensor:
        """Return the mean squared difference of late features, relative to those that are wanted."""
        found = self.network.pyramid(pictures, CONTENT_PLACES)
        with torch.no_grad():
            aims = self.network.pyramid(wanted, CONTENT_PLACES)
        return torch.stack([_relative(f, aim) for f, aim in zip(found, aims, strict=True)]).mean()

    def style(self, pictures: Tensor, wanted: Tensor) -> Tensor:
        """Return the difference of means and second moments of early features, relative to those that are wanted."""
        found = self.network.pyramid(pictures, STYLE_PLACES)
        with torch.no_grad():
            aims = self.network.pyramid(wanted, STYLE_PLACES)
        return torch.stack([_relative(_moments(f), _moments(aim)) for f, aim in zip(found, aims, strict=True)]).mean()


@dataclass(frozen=True)
class StyleLoss:
    """Give each picture of a batch the style of the next one, and compare features.

    Args:
        perceptual: the distances.
        content_weight: of what the picture shows.
        range_weight: of values outside of 0 to 1, which a file can't hold.
        recovery_weight: of the error of the content that is recovered from rounded values.
    """

    perceptual: Perceptual
    content_weight: float = 0.03
    style_weight: float = 1.0
    range_weight: float = 1.0
    recovery_weight: float = 5.0

    def __call__(self, model: Density, batch: Batch, /) -> Loss:
        """Return the mean over a batch."""
        flow = model.bijection
        assert isinstance(flow, Bijection)
        z, _ = flow(batch.x)
        statistics = [Statistics.of(features) for features in z]
        styles = statistics[1:] + statistics[:1]
        moved = [transfer(*each) for each in zip(z, statistics, styles, strict=True)]
        pictures, _ = flow.inverse(torch.stack(moved))
        outside = (pictures - pictures.clamp(0, 1)).square().mean()
        rounded = pictures[:1] + (torch.rand_like(pictures[:1]) - 0.5) / LEVELS
        back, _ = flow(rounded)
        recovered, _ = flow.inverse(transfer(back[0], styles[0], statistics[0])[None])
        terms = {
            "content": self.perceptual.content(pictures, batch.x),
            "style": self.perceptual.style(pictures, batch.x.roll(-1, 0)),
            "outside": outside,
            "recovery": (recovered - batch.x[:1]).square().mean(),
        }
        weights = (self.content_weight, self.style_weight, self.range_weight, self.recovery_weight)
        return Loss(sum((w * t for w, t in zip(weights, terms.values(), strict=True)), outside * 0), terms)


def _relative(found: Tensor, wanted: Tensor) -> Tensor:
    return ((found - wanted).flatten(1).square().sum(1) / wanted.flatten(1).square().sum(1)).mean()


def _moments(features: Tensor) -> Tensor:
    """Return the second moments of the channels and a constant, so that they hold the means."""
    rows = F.pad(features.flatten(2), (0, 0, 0, 1), value=1.0)
    return rows @ rows.transpose(1, 2) / rows.shape[2]
