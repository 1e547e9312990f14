"""The detector: trained, saved, and applied to pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from applications.models import load, save
from applications.traffic.detector import MOST, DetectionLoss, Detector, Found, Stem, decode
from applications.traffic.scenes import CONDITIONS, Scene, backgrounds, in_condition, read_designs, render
from inverseflow import fit
from inverseflow.utils.seeding import seeded

WEIGHTS = Path(__file__).parent / "detector.safetensors"
MILD = (0.2, 0.7)
"""Severities of the conditions in training; those of tests are worse."""
LEARNED = CONDITIONS[:5]
"""Conditions in training: all but fog."""


def training_scenes(
    count: int, data_dir: Path | None, *, conditions: Sequence[str] = LEARNED, seed: int = 0
) -> list[Scene]:
    """Render scenes to train with, in the conditions in turn.

    Raises:
        DataError: if the folders photos or traffic-signs are missing.
    """
    generator = torch.Generator().manual_seed(seed)
    designs, _ = read_designs(data_dir).split()
    scenes = render(designs, backgrounds(False, data_dir), count, generator)
    severities = MILD[0] + (MILD[1] - MILD[0]) * torch.rand(count, generator=generator)
    # The pictures come in turn too, so the conditions are drawn.
    drawn = torch.randint(len(conditions), (count,), generator=generator).tolist()
    return [
        in_condition(scene, conditions[which], float(severity), generator)
        for scene, which, severity in zip(scenes, drawn, severities, strict=True)
    ]


def test_scenes(count: int, data_dir: Path | None, *, seed: int = 1) -> list[Scene]:
    """Render scenes in good conditions from the pictures and the designs that training does not see."""
    _, designs = read_designs(data_dir).split()
    return render(designs, backgrounds(True, data_dir), count, torch.Generator().manual_seed(seed))


test_scenes.__test__ = False  # type: ignore[attr-defined]


def train_detector(
    scenes: Sequence[Scene], *, stem: Stem = "convolutional", steps: int, seed: int = 0, progress: bool = False
) -> Detector:
    """Train a detector on scenes of one size."""
    with seeded(seed, "weights"):
        height, width = scenes[0].picture.shape[-2:]
        model = Detector(stem, width=32 if stem == "convolutional" else 64, size=(height, width))
    fit(
        model,
        torch.stack([scene.picture for scene in scenes]),
        torch.stack([_truth(scene) for scene in scenes]),
        objective=DetectionLoss(),
        validation=0.05,
        max_steps=steps,
        batch_size=16,
        learning_rate=3e-3 if stem == "convolutional" else 1e-3,
        warmup_steps=min(50, steps // 4),
        clip_norm=10.0,
        validate_every=max(1, steps // 4),
        seed=seed,
        progress=progress,
    )
    return model.eval()


@torch.no_grad()
def detect(model: Detector, pictures: Sequence[Tensor], *, batch: int = 32) -> list[Found]:
    """Find signs on pictures of one size."""
    found = []
    for start in range(0, len(pictures), batch):
        found += decode(model(torch.stack(list(pictures[start : start + batch]))))
    return found


def save_detector(model: Detector, path: Path) -> None:
    """Write the weights of a convolutional detector in half precision."""
    save(model, path, torch.float16)


def load_detector(path: Path = WEIGHTS) -> Detector:
    """Return the trained detector of a file.

    Raises:
        DataError: if the file is missing, or holds another network.
    """
    model = Detector()
    load(model, path, "python -m applications.traffic train")
    return model.eval()


def _truth(scene: Scene) -> Tensor:
    rows = torch.full((MOST, 5), -1.0)
    rows[: len(scene.boxes)] = torch.cat([scene.boxes, scene.classes[:, None].float()], 1)
    return rows.flatten()
