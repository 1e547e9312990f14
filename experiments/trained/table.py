"""Definition of a table of trained flows, and the training options of its lines."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from experiments.experiment import Budget, Settings
from experiments.result import Values
from experiments.trained.published import Published
from experiments.trained.training import fixed
from inverseflow.training.options import ModelOptions, OptimizerOptions, TrainOptions


@dataclass(frozen=True)
class Line:
    """One flow of a table."""

    name: str
    """Printed name."""
    model: Mapping[str, Any]
    """Its differences from the other lines: fields of `ModelOptions`."""
    published: Published | None = None
    """The row of the paper, None for our own lines."""


@dataclass(frozen=True)
class TrainedTable:
    """A table of flows that are trained and measured in the same way."""

    name: str
    title: str
    about: str
    data: Literal["mnist", "cifar10"]
    model: Mapping[str, Any]
    """Common fields of `ModelOptions`."""
    lines: tuple[Line, ...]
    quick_steps: int
    """Training steps of the quick budget."""
    quick_batch: int = 100
    """Batch size of the quick budget."""
    quick_learning_rate: float = 2e-3
    """Learning rate of the quick budget after its warm-up."""
    quick_test_images: int = 2000
    """Test images of the quick budget."""
    quick_validation_images: int = 500
    """Validation images of the quick budget, which validates once."""
    quick_seeds: int = 1
    full_seeds: int = 1

    def options(self, line: Line, seed: int, settings: Settings) -> TrainOptions:
        """Return the training options of one line. Lines differ only in `line.model`.

        Args:
            line: the line.
            seed: determines weights, images and noise.
            settings: settings of the experiment.
        """
        options = {"smoke": self._smoke, "quick": self._quick, "full": self._full}[settings.budget]()
        model = asdict(options.model) | dict(line.model)
        planar = model["name"] == "planar"
        model = {key: value for key, value in model.items() if not (planar and key in ("width", "conv1x1"))}
        options = replace(
            options,
            data_dir=None if options.data == "digits" else settings.data_dir,
            seed=seed,
            model=ModelOptions(**model),
            accelerator="gpu" if settings.device.startswith("cuda") else "cpu",
            devices="1",
            quiet=True,
        )
        out = settings.out / "runs" / f"{self.name}-{slug(line.name)}-{seed}-{_digest(fixed(options))}"
        return replace(options, out=out, resume=not settings.overwrite, overwrite=settings.overwrite)

    def test_images(self, budget: Budget) -> int | None:
        """Return the number of test images to measure on, None for all."""
        return {"smoke": 32, "quick": self.quick_test_images, "full": None}[budget]

    def _smoke(self) -> TrainOptions:
        small = {"scales": min(2, int(self.model["scales"])), "steps": 1, "width": 8, "spline_bins": 4}
        return TrainOptions(
            data="digits",
            max_steps=2,
            batch_size=16,
            validation_images=32,
            initialization_images=64,
            evaluation_draws=1,
            model=ModelOptions(**{**self.model, **small}),
            optimizer=OptimizerOptions(learning_rate=1e-3, warmup_steps=1),
        )

    def _quick(self) -> TrainOptions:
        return TrainOptions(
            data=self.data,
            max_steps=self.quick_steps,
            batch_size=self.quick_batch,
            validate_every=self.quick_steps,
            validation_images=self.quick_validation_images,
            checkpoint_every=100,
            evaluation_draws=1,
            model=ModelOptions(**self.model),
            optimizer=OptimizerOptions(
                learning_rate=self.quick_learning_rate,
                schedule="cosine",
                warmup_steps=min(20, self.quick_steps // 3),
            ),
        )

    def _full(self) -> TrainOptions:
        per_epoch, fall = {"mnist": (500, 50), "cifar10": (400, 25)}[self.data]
        return TrainOptions(
            data=self.data,
            max_steps=100 * per_epoch,
            batch_size=100,
            validate_every=5 * per_epoch,
            checkpoint_every=per_epoch,
            evaluation_draws=3,
            horizontal_flip=self.data == "cifar10",
            model=ModelOptions(**{**self.model, "width": 512}),
            optimizer=OptimizerOptions(
                learning_rate=1e-3, schedule="step", step_every=fall * per_epoch, step_factor=0.1, warmup_steps=500
            ),
        )


def slug(name: str) -> str:
    """Return a name as a part of the name of a folder."""
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower())


def _digest(settings: Values) -> str:
    return hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=4).hexdigest()
