"""Everything that a training run can be told, as frozen dataclasses.

Imports nothing heavy: the command line makes its help from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from inverseflow.errors import OptionError

DataName = Literal["digits", "mnist", "cifar10", "folder"]
FlowName = Literal[
    "inverse-flow",
    "glow",
    "cinc",
    "finc",
    "emerging",
    "periodic",
    "exponential",
    "self-normalizing",
    "woodbury",
    "macow",
    "butterfly",
    "mintnet",
    "arma",
    "planar",
    "image",
]
LayerName = Literal[
    "none",
    "inverse",
    "cinc",
    "finc",
    "emerging",
    "arma",
    "arma-adjacent",
    "arma-same",
    "periodic",
    "exponential",
    "exact",
    "self-normalizing",
    "woodbury",
    "memory-efficient-woodbury",
    "butterfly",
    "macow",
    "mintnet",
]


@dataclass(frozen=True)
class ModelOptions:
    """Which flow to build. Whatever is left out keeps the default of the flow.

    Args:
        name: Which flow; --model NAME says the same. They differ in the k×k layer of their steps: "glow" has none,
            "image" takes any. "mintnet" is its layers and nothing else, "planar" any layers and splines, without
            couplings.
        layer: The k×k layer of "image" and "planar".
        paper_architecture: Make the steps those of the flow's publication, as far as these options can.
        scales: How many times the image is squeezed; after each but the last, half of the channels are done. In
            "planar" there is a squeeze between two scales, and no channel is done early.
        steps: Flow steps at each scale.
        kernel_size: Height and width of the layer's kernel (not for glow, woodbury and butterfly, which have none).
        width: Hidden channels of the coupling networks, and of the layers of mintnet.
        spline: Which entries share one spline activation.
        spline_bins: Pieces of each spline.
        spline_bound: Half the interval on which a spline acts; outside it is the identity.
        conv1x1: The invertible 1×1 convolution that mixes channels: none, one matrix, or its LU factors (not for
            planar).
        coupling: The coupling: affine in two halves of the channels, in four blocks, or none (not for planar).
        bound: Bound in (0, 1) on the row sums of one-sided convolutions, which keeps their solve well conditioned
            (inverse-flow, cinc, finc, emerging, arma); of exponential the largest spectral norm.
        preprocessing: How grey levels become real numbers: "logit" spreads the ends of the range to infinity,
            "centre" only scales.
        alpha: How far the logit first squeezes the range, between 0 and 0.5.
    """

    name: FlowName = "inverse-flow"
    layer: LayerName | None = None
    paper_architecture: bool = False
    scales: int | None = None
    steps: int | None = None
    kernel_size: int | None = None
    width: int | None = None
    spline: Literal["none", "shared", "channel", "element"] | None = None
    spline_bins: int | None = None
    spline_bound: float | None = None
    conv1x1: Literal["none", "dense", "lu"] | None = None
    coupling: Literal["affine", "quad", "none"] | None = None
    bound: float | None = None
    preprocessing: Literal["logit", "centre"] | None = None
    alpha: float | None = None

    def given(self) -> dict[str, Any]:
        """The flow's own options that were given.

        >>> ModelOptions(name="glow", steps=4).given()
        {'steps': 4}
        """
        about = ("name", "paper_architecture")
        return {key: value for key, value in asdict(self).items() if key not in about and value is not None}


@dataclass(frozen=True)
class OptimizerOptions:
    """How the weights are changed: Adam, its learning rate over time, and clipping.

    Args:
        learning_rate: Learning rate after the warm-up.
        schedule: What the learning rate does after the warm-up: stay, fall to zero along a cosine, or fall by a
            factor every so often.
        step_every: Steps between two falls of the "step" schedule.
        step_factor: What each fall of the "step" schedule multiplies the learning rate by.
        warmup_steps: Steps over which the learning rate rises linearly to its value.
        weight_decay: Decoupled weight decay (AdamW). With 0 this is Adam.
        clip_norm: Largest norm of the whole gradient; a longer one is shortened to it. Null leaves it as it is.
        ema: Decay of the exponential moving average of the weights, for instance 0.999. With it, everything but the
            training step uses the averaged weights. Null keeps no average.
    """

    learning_rate: float = 1e-3
    schedule: Literal["constant", "cosine", "step"] = "constant"
    step_every: int = 10_000
    step_factor: float = 0.5
    warmup_steps: int = 100
    weight_decay: float = 0.0
    clip_norm: float | None = 50.0
    ema: float | None = None

    def __post_init__(self) -> None:
        _require(self.learning_rate > 0, f"optimizer.learning_rate must be above 0, not {self.learning_rate}")
        _require(self.step_every >= 1, f"optimizer.step_every must be at least 1, not {self.step_every}")
        _require(0 < self.step_factor <= 1, f"optimizer.step_factor must be in (0, 1], not {self.step_factor}")
        _require(self.warmup_steps >= 0, f"optimizer.warmup_steps must not be negative, got {self.warmup_steps}")
        _require(self.weight_decay >= 0, f"optimizer.weight_decay must not be negative, got {self.weight_decay}")
        clip_norm = self.clip_norm
        _require(clip_norm is None or clip_norm > 0, f"optimizer.clip_norm must be above 0, not {clip_norm}")
        _require(self.ema is None or 0 < self.ema < 1, f"optimizer.ema must be between 0 and 1, not {self.ema}")


@dataclass(frozen=True)
class TrainOptions:
    """A whole training run.

    Args:
        data: The images: "digits" (8×8, comes with scikit-learn), "mnist", "cifar10", or "folder" (any images).
        data_dir: Folder that holds the data. Without it, mnist and cifar10 are looked for in $INVERSEFLOW_DATA and then
            fetched from the Hugging Face hub.
        image_size: Height and width to which the images of a "folder" are brought.
        crop: How the images of a "folder" are brought to that size: "resize" scales the shorter side and cuts out the
            centre, "center" cuts the centre out of the original pixels.
        channels: Channels of the images of a "folder": 1 for grey, 3 for colour. By default what the files store.
        out: The run folder. By default runs/PRESET.
        resume: Continue the run in the run folder from its last checkpoint, with its own settings; start it if there is
            none. Another number of devices, or another max_steps under the cosine schedule, changes the trajectory.
        overwrite: Delete the run that is in the run folder and start anew.
        max_steps: Training steps. A run that is resumed can be made longer, not shorter than it is.
        batch_size: Images in a training step on each device.
        seed: Decides the initial weights, the order of the images and all noise.
        horizontal_flip: Mirror each training image left to right with probability one half.
        validate_every: Steps between two validations. The last step is always validated.
        validation_images: Validate on that many of the validation images. By default on all.
        checkpoint_every: Steps between two checkpoints. Validation and the last step save one, too.
        log_every: Steps between two rows of metrics.
        initialization_images: Training images for the data-dependent initialisation.
        evaluation_draws: Dequantisation draws for each test image after training.
        model: Which flow to build.
        optimizer: How the weights are changed.
        accelerator: Where to train, as Lightning names it: auto, cpu, gpu, mps ...
        devices: How many devices of a node, "auto", or which ones, for instance "0,1".
        num_nodes: How many nodes.
        strategy: How several devices share the work, as Lightning names it: auto, ddp, fsdp ...
        precision: Arithmetic of the training steps. What is measured after training is measured in float32.
        gradient_checkpointing: Compute activations twice instead of keeping them: less memory, more time.
        quiet: Show no progress.
    """

    data: DataName
    data_dir: Path | None = None
    image_size: int | None = None
    crop: Literal["resize", "center"] = "resize"
    channels: Literal[1, 3] | None = None
    out: Path | None = None
    resume: bool = False
    overwrite: bool = False
    max_steps: int = 1000
    batch_size: int = 64
    seed: int = 0
    horizontal_flip: bool = False
    validate_every: int = 500
    validation_images: int | None = None
    checkpoint_every: int = 500
    log_every: int = 10
    initialization_images: int = 512
    evaluation_draws: int = 3
    model: ModelOptions = field(default_factory=ModelOptions)
    optimizer: OptimizerOptions = field(default_factory=OptimizerOptions)
    accelerator: str = "auto"
    devices: str = "auto"
    num_nodes: int = 1
    strategy: str = "auto"
    precision: Literal["32-true", "bf16-mixed", "64-true"] = "32-true"
    gradient_checkpointing: bool = False
    quiet: bool = False

    def __post_init__(self) -> None:
        for name in ("max_steps", "batch_size", "validate_every", "checkpoint_every", "log_every", "num_nodes"):
            _require(getattr(self, name) >= 1, f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("initialization_images", "evaluation_draws", "validation_images"):
            value = getattr(self, name)
            _require(value is None or value >= 1, f"{name} must be at least 1, not {value}")
        _require(0 <= self.seed < 2**63, f"seed must be in [0, 2^63), not {self.seed}")
        _require(not (self.resume and self.overwrite), "resume and overwrite exclude each other")

    def to_mapping(self) -> dict[str, Any]:
        """What config.yaml holds: every setting in plain types, without those that concern one call only."""
        mapping = asdict(self)
        for name in ("out", "resume", "overwrite"):
            del mapping[name]
        mapping["data_dir"] = None if self.data_dir is None else str(self.data_dir.resolve())
        return mapping

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> TrainOptions:
        """The options that `to_mapping` came from.

        Raises:
            OptionError: If a setting is missing or has a name that is not known.
        """
        values = dict(mapping)
        try:
            values["model"] = ModelOptions(**values.get("model", {}))
            values["optimizer"] = OptimizerOptions(**values.get("optimizer", {}))
            values["data_dir"] = None if values.get("data_dir") is None else Path(values["data_dir"])
            return cls(**values)
        except TypeError as error:
            raise OptionError(f"not the settings of a training run: {error}") from error

    def resumed_with(self, new: TrainOptions) -> TrainOptions:
        """The options of a run that was started with these and is continued with `new` ones.

        Raises:
            OptionError: If `new` changes what the trajectory of the run depends on.
        """
        for item in fields(self):
            before, after = getattr(self, item.name), getattr(new, item.name)
            if before != after and item.name not in _CHANGEABLE_ON_RESUME:
                name, before, after = _first_difference(item.name, before, after)
                raise OptionError(
                    f"{name} is {before} in the run and {after} here; a run resumes with its own settings"
                )
        return replace(new, resume=True)


_CHANGEABLE_ON_RESUME = frozenset(
    [
        *("data_dir", "out", "resume", "overwrite", "quiet"),
        *("max_steps", "validate_every", "checkpoint_every", "log_every", "evaluation_draws"),
        *("accelerator", "devices", "num_nodes", "strategy", "precision", "gradient_checkpointing"),
    ]
)


def _first_difference(name: str, before: Any, after: Any) -> tuple[str, Any, Any]:
    if isinstance(before, (ModelOptions, OptimizerOptions)):
        for item in fields(before):
            inner = getattr(before, item.name), getattr(after, item.name)
            if inner[0] != inner[1]:
                return f"{name}.{item.name}", *inner
    return name, before, after


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise OptionError(message)
