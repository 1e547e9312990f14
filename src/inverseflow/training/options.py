"""Settings of a training run, as frozen dataclasses.

Imports nothing heavy: the command line makes its help from them.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from inverseflow.errors import OptionError
from inverseflow.names import LayerName
from inverseflow.utils.arguments import convert_fields, finite_number, listed, whole_number

ToyName = Literal["two-moons", "pinwheel", "eight-gaussians", "swiss-roll", "checkerboard", "two-spirals", "rings"]
DataName = Literal["digits", "mnist", "fashion-mnist", "cifar10", "folder", "table", "audio", ToyName]
_MOST = 2**31 - 1


def _from_1_to(most: int) -> partial[int]:
    return partial(whole_number, at_least=1, at_most=most)


def _names(name: str, value: Any) -> tuple[str, ...]:
    names = tuple(listed(value) if isinstance(value, str) else value or ())
    if not all(isinstance(each, str) and each for each in names):
        raise TypeError(f"{name} must be names separated by commas, got {value!r}")
    return names


Names = Annotated[tuple[str, ...], _names]
Steps = Annotated[int, _from_1_to(_MOST)]
Positive = Annotated[float, partial(finite_number, above=0)]

# Metadata of a field whose option stands in a panel of its own in `train --help`.
_TABLE, _FOLDER = {"panel": "Table options"}, {"panel": "Folder options"}
_AUDIO = {"panel": "Audio options"}
_IMAGES = {"panel": "Model options: flows of images"}
_VECTORS = {"panel": "Model options: flows of vectors"}
_NO_INVERSE = {"panel": "Model options: densities without an inverse"}


@dataclass(frozen=True)
class ModelOptions:
    """Options of the model. An option that is left out keeps the default of the model.

    Args:
        name: which model; --model NAME is short for it. Flows of images: inverse-flow, glow, cinc, finc, emerging,
            periodic, exponential, self-normalizing, woodbury, macow, butterfly and arma, which differ in the k×k layer
            of their steps; image, which takes any layer; planar, layers and splines without couplings; mintnet, its
            layers alone; realnvp-image, couplings of a checkerboard's colors and of channels; iresnet-image, residual
            layers. Flows of vectors, which are points and rows of a table: nice, nsf, realnvp, maf, iaf, nsf-ar,
            iresnet, planar-flow, radial-flow, rosenblatt. Densities without an inverse: made, pixelcnn and pixelrnn of
            images, wavenet of audio. A model of your own is found by the name that it was registered with.
        steps: flow steps, of images at each scale.
        width: hidden channels of the networks, and of the layers of mintnet.
        depth: hidden layers of the networks (flows of vectors, realnvp-image and iresnet-image, densities without an
            inverse); blocks of a conditioner other than conv; layers of a stack of wavenet.
        kernel_size: height and width of a kernel (flows of images but glow, woodbury, butterfly and realnvp-image;
            pixelcnn, pixelrnn), taps of a convolution (wavenet).
        spline_bins: number of pieces of each spline (flows of images but mintnet, realnvp-image and
            iresnet-image; nsf, nsf-ar).
        spline_bound: half the interval on which a spline acts; it is the identity outside (as spline_bins).
        max_lipschitz: bound, below 1, of the Lipschitz constant of each network of iresnet and iresnet-image.
        log_det: how iresnet and iresnet-image compute log-determinants in training: exact, as a series, by an unbiased
            estimate (roulette), or auto: exact up to 64 elements, else roulette.
        layer: k×k layer of image and planar.
        paper_options: make the steps as in the flow's publication, as far as these options can.
        scales: number of scales. At the end of each scale but the last, half of the channels are factored out. planar
            squeezes between scales and factors nothing out.
        spline: which entries share one spline activation.
        conv1x1: the invertible 1×1 convolution that mixes channels: none, a dense matrix, LU factors, or a random
            permutation in its place (not planar, realnvp-image, iresnet-image).
        coupling: coupling of two halves of the channels: affine, additive, spline, or mixture, the distribution
            function of a mixture of logistics (Flow++); quad, an affine coupling of four blocks; autoregressive, an
            affine map of each patch given those before it by a transformer (TarFlow); or none
            (not planar, realnvp-image, iresnet-image).
        conditioner: network of the couplings: conv (that of Glow), resnet, gated (residual blocks of Flow++) or vit, a
            vision transformer (not planar, realnvp-image, iresnet-image).
        patch_size: side of the patches of a transformer (conditioner vit, coupling autoregressive), after the squeeze.
        heads: heads of the attention of a transformer (as patch_size). They divide its width.
        norm: normalization behind each coupling of realnvp-image: set once from data, or of the batch as published.
        max_row_sum: bound in (0, 1) on the row sums of one-sided convolutions, which keeps their solve well conditioned
            (inverse-flow, cinc, finc, emerging, arma).
        max_spectral_norm: largest spectral norm of the kernels of exponential.
        preprocessing: how gray levels become real numbers: logit maps the ends of the range to infinity, center only
            shifts and scales.
        dequantization: noise that makes gray levels continuous: uniform, or variational, a flow that is trained too
            (not planar, realnvp-image, iresnet-image).
        alpha: how far logit first shrinks the range towards its middle, in [0, 0.5).
        mask: which columns condition a coupling of nice, nsf and realnvp: the first or last half, or every other.
        linear: the map that mixes columns between the steps of a flow of vectors: LU factors, orthogonal, or none.
        base: density of the latent of nice.
        components: components of a mixture, for each element: of logistics if the data are levels, else of normals. By
            default one logit for each level, or one normal; of wavenet with over 256 levels 10 components; of
            rosenblatt 8 normals; of a mixture coupling 8 logistics.
        orders: number of orders of made, whose mixture it is.
        connectivities: number of random connectivities of made, whose mixture it is.
        gated: whether pixelcnn has two gated stacks, or (--model.gated=false) one plain stack, which has a blind spot.
        cell: how the LSTM cells of pixelrnn scan the image.
        stacks: number of stacks of wavenet. The dilations of a stack are 1, 2, 4 …, one for each of its layers.
    """

    name: str = "inverse-flow"
    steps: Annotated[int, _from_1_to(10_000)] | None = None
    width: Annotated[int, _from_1_to(100_000)] | None = None
    depth: Annotated[int, _from_1_to(1_000)] | None = None
    kernel_size: Annotated[int, _from_1_to(1_000)] | None = None
    spline_bins: Annotated[int, _from_1_to(10_000)] | None = None
    spline_bound: Positive | None = None
    max_lipschitz: Annotated[float, partial(finite_number, above=0, below=1)] | None = None
    log_det: Literal["auto", "exact", "series", "roulette"] | None = None

    layer: LayerName | None = field(default=None, metadata=_IMAGES)
    paper_options: bool = field(default=False, metadata=_IMAGES)
    scales: Annotated[int, _from_1_to(64)] | None = field(default=None, metadata=_IMAGES)
    spline: Literal["none", "shared", "channel", "element"] | None = field(default=None, metadata=_IMAGES)
    conv1x1: Literal["none", "dense", "lu", "permutation"] | None = field(default=None, metadata=_IMAGES)
    coupling: Literal["affine", "additive", "spline", "mixture", "autoregressive", "quad", "none"] | None = field(
        default=None, metadata=_IMAGES
    )
    conditioner: Literal["conv", "resnet", "gated", "vit"] | None = field(default=None, metadata=_IMAGES)
    patch_size: Annotated[int, _from_1_to(1_000)] | None = field(default=None, metadata=_IMAGES)
    heads: Annotated[int, _from_1_to(1_000)] | None = field(default=None, metadata=_IMAGES)
    norm: Literal["actnorm", "batchnorm"] | None = field(default=None, metadata=_IMAGES)
    max_row_sum: Positive | None = field(default=None, metadata=_IMAGES)
    max_spectral_norm: Positive | None = field(default=None, metadata=_IMAGES)
    preprocessing: Literal["logit", "center"] | None = field(default=None, metadata=_IMAGES)
    alpha: Annotated[float, partial(finite_number, at_least=0, below=0.5)] | None = field(
        default=None, metadata=_IMAGES
    )
    dequantization: Literal["uniform", "variational"] | None = field(default=None, metadata=_IMAGES)

    mask: Literal["halves", "alternating"] | None = field(default=None, metadata=_VECTORS)
    linear: Literal["lu", "householder", "none"] | None = field(default=None, metadata=_VECTORS)
    base: Literal["logistic", "normal"] | None = field(default=None, metadata=_VECTORS)

    components: Annotated[int, _from_1_to(1_000)] | None = field(default=None, metadata=_NO_INVERSE)
    orders: Annotated[int, _from_1_to(1_000)] | None = field(default=None, metadata=_NO_INVERSE)
    connectivities: Annotated[int, _from_1_to(1_000)] | None = field(default=None, metadata=_NO_INVERSE)
    gated: bool | None = field(default=None, metadata=_NO_INVERSE)
    cell: Literal["diagonal", "row"] | None = field(default=None, metadata=_NO_INVERSE)
    stacks: Annotated[int, _from_1_to(1_000)] | None = field(default=None, metadata=_NO_INVERSE)

    def __post_init__(self) -> None:
        convert_fields(self, "model.")

    def given(self) -> dict[str, Any]:
        """Return the options that were given and are the model's own."""
        about = ("name", "paper_options")
        return {key: value for key, value in asdict(self).items() if key not in about and value is not None}


@dataclass(frozen=True)
class OptimizerOptions:
    """Options of the optimizer: Adam, its learning rate over time, and clipping.

    Args:
        learning_rate: learning rate after the warm-up.
        schedule: learning rate after the warm-up: constant, falling to zero along a cosine, or falling by a factor at
            regular steps.
        step_every: training steps between two falls of the step schedule.
        step_factor: factor of each fall of the step schedule.
        warmup_steps: training steps over which the learning rate rises linearly to its value.
        weight_decay: decoupled weight decay (AdamW). With 0 this is Adam.
        clip_norm: largest norm of the whole gradient; a longer gradient is scaled down to it. Null clips nothing.
        ema: decay of the exponential moving average of the weights, for instance 0.999. With it, validation and the
            exported model use the averaged weights. Null averages nothing.
    """

    learning_rate: Positive = 1e-3
    schedule: Literal["constant", "cosine", "step"] = "constant"
    step_every: Steps = 10_000
    step_factor: Annotated[float, partial(finite_number, above=0, at_most=1)] = 0.5
    warmup_steps: Annotated[int, partial(whole_number, at_least=0, at_most=_MOST)] = 100
    weight_decay: Annotated[float, partial(finite_number, at_least=0)] = 0.0
    clip_norm: Annotated[float, partial(finite_number, above=0, remedy="; null clips nothing")] | None = 50.0
    ema: Annotated[float, partial(finite_number, above=0, below=1, remedy="; null averages nothing")] | None = None

    def __post_init__(self) -> None:
        convert_fields(self, "optimizer.")


@dataclass(frozen=True)
class TrainOptions:
    """Settings of a whole training run.

    Args:
        data: the examples: images, which are digits (8×8, comes with scikit-learn), mnist, fashion-mnist, cifar10, or
            folder (any images); the rows of a table; audio (WAV files); or points in the plane, which are two-moons,
            pinwheel, eight-gaussians, swiss-roll, checkerboard, two-spirals and rings.
        data_dir: folder that holds the images or the recordings, or file that holds the table; --data is short for it.
            Without it, mnist, fashion-mnist and cifar10 are looked for in $INVERSEFLOW_DATA and then fetched from the
            Hugging Face hub.
        condition: train the density of an example given its label. The labels of a folder are its subfolders.
        binarized: draw each pixel of digits, mnist, fashion-mnist or cifar10 once as 0 or 1, with the probability of
            its gray level, by a fixed seed. Of mnist that is not the binarization of Larochelle and Murray.
        columns: columns to model, separated by commas; a name that holds a comma stands in double quotes. By default
            all but those of the context.
        context_columns: columns that are the context: train the density of the others given these.
        categorical_columns: columns of numbers that stand for categories.
        lattice: what becomes of columns of whole numbers or equal steps, where a density of continuous data has no
            bound: dequantize models the probability of their values, refuse ends with an error, ignore models a
            density nevertheless, also of columns that hold one value too often or depend on others.
        image_size: height and width to which the images are brought.
        crop: how the images are brought to that size: resize scales the shorter side and cuts out the center, center
            cuts the center out of the original pixels.
        channels: 1 for gray, 3 for color. By default what the files store.
        segment_length: samples of a segment, 4000 by default: recordings are cut into segments, and shorter ones are
            left out.
        encoding: how 16-bit samples become levels: mu-law makes 256 of them, pcm leaves them as they are.
        out: the run folder. By default runs/PRESET.
        resume: continue the run in the run folder from its last checkpoint, with its own settings; start it if there is
            none. Another number of devices, or another max_steps under the cosine schedule, changes the trajectory.
        overwrite: delete the run in the run folder and start anew.
        init_from: start from the trained weights of this run (or exported model), with a new optimizer and step 0.
        max_steps: training steps. A resumed run can be made longer, not shorter than it is.
        patience: stop early after that many validations in a row without a new best one. Null never does.
        batch_size: examples in a training step on each device.
        seed: seed of the initial weights, the order of the examples and all noise.
        horizontal_flip: mirror each training image left to right with probability one half.
        validate_every: training steps between two validations. The last step is always validated.
        validation_images: validate on that many of the validation examples. By default on all.
        checkpoint_every: training steps between two checkpoints. Validation and the last step save one, too.
        log_every: training steps between two rows of metrics.
        initialization_images: training examples for the data-dependent initialization.
        evaluation_draws: dequantization draws for each test example after training, of flows that dequantize.
        model: options of the model.
        optimizer: options of the optimizer.
        accelerator: where to train, as Lightning names it: auto, cpu, gpu, mps ...
        devices: how many devices of a node, "auto", or which ones, for instance "0,1".
        num_nodes: number of nodes.
        strategy: how several devices share the work, as Lightning names it: auto, ddp, fsdp ...
        precision: arithmetic of the training steps. Measurements after training are made in float32.
        gradient_checkpointing: let a flow recompute activations in the backward pass: less memory, more time.
        quiet: show no progress.
    """

    data: Literal[DataName, "memory"]
    data_dir: Path | None = None
    condition: Literal["label"] | None = None
    binarized: bool = False
    columns: Names = field(default=(), metadata=_TABLE)
    context_columns: Names = field(default=(), metadata=_TABLE)
    categorical_columns: Names = field(default=(), metadata=_TABLE)
    lattice: Literal["dequantize", "refuse", "ignore"] = field(default="dequantize", metadata=_TABLE)
    image_size: Annotated[int, _from_1_to(2**16)] | None = field(default=None, metadata=_FOLDER)
    crop: Literal["resize", "center"] = field(default="resize", metadata=_FOLDER)
    channels: Literal[1, 3] | None = field(default=None, metadata=_FOLDER)
    segment_length: Annotated[int, _from_1_to(2**24)] | None = field(default=None, metadata=_AUDIO)
    encoding: Literal["mu-law", "pcm"] = field(default="mu-law", metadata=_AUDIO)
    out: Path | None = None
    resume: bool = False
    overwrite: bool = False
    init_from: Path | None = None
    max_steps: Steps = 1000
    patience: Steps | None = None
    batch_size: Annotated[int, _from_1_to(2**20)] = 64
    seed: Annotated[int, partial(whole_number, at_least=0, at_most=2**63 - 1)] = 0
    horizontal_flip: bool = False
    validate_every: Steps = 500
    validation_images: Steps | None = None
    checkpoint_every: Steps = 500
    log_every: Steps = 10
    initialization_images: Steps = 512
    evaluation_draws: Annotated[int, _from_1_to(10_000)] = 3
    model: ModelOptions = field(default_factory=ModelOptions)
    optimizer: OptimizerOptions = field(default_factory=OptimizerOptions)
    accelerator: str = "auto"
    devices: str = "auto"
    num_nodes: Annotated[int, _from_1_to(2**16)] = 1
    strategy: str = "auto"
    precision: Literal["32-true", "bf16-mixed", "64-true"] = "32-true"
    gradient_checkpointing: bool = False
    quiet: bool = False

    def __post_init__(self) -> None:
        devices: Any = self.devices
        if type(devices) is int:
            object.__setattr__(self, "devices", str(devices))
        convert_fields(self)
        if self.resume and self.overwrite:
            raise OptionError("resume and overwrite exclude each other")

    def to_mapping(self) -> dict[str, Any]:
        """Return the content of config.yaml: every setting in plain types, but not `out`, `resume` and `overwrite`."""
        mapping = asdict(self)
        for name in ("out", "resume", "overwrite"):
            del mapping[name]
        for name in ("data_dir", "init_from"):
            mapping[name] = None if mapping[name] is None else str(mapping[name].resolve())
        for name in ("columns", "context_columns", "categorical_columns"):
            mapping[name] = list(mapping[name])
        return mapping

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> "TrainOptions":
        """Return the options that `to_mapping` came from.

        Raises:
            OptionError: if a setting is missing, unknown, or has a value that cannot work.
        """
        values = dict(mapping)
        values["model"] = _from_mapping(ModelOptions, values.get("model", {}), "model.")
        values["optimizer"] = _from_mapping(OptimizerOptions, values.get("optimizer", {}), "optimizer.")
        return _from_mapping(cls, values, "")

    def resumed_with(self, new: "TrainOptions") -> "TrainOptions":
        """Return the options of a run that was started with these and is continued with `new` ones.

        Raises:
            OptionError: if `new` changes what the trajectory of the run depends on.
        """
        if new.init_from is None:
            new = replace(new, init_from=self.init_from)
        before, after = (_flat(options.to_mapping()) for options in (self, new))
        for name in before:
            if before[name] != after[name] and name not in _CHANGEABLE_ON_RESUME:
                raise OptionError(
                    f"{name} is {before[name]} in the run and {after[name]} here, and a run resumes with its own "
                    "settings; to train its weights further with other settings, start another run with --init-from"
                )
        return replace(new, resume=True)


_CHANGEABLE_ON_RESUME = frozenset(
    [
        *(
            "data_dir",
            "quiet",
            "max_steps",
            "patience",
            "validate_every",
            "checkpoint_every",
            "log_every",
            "evaluation_draws",
        ),
        *("accelerator", "devices", "num_nodes", "strategy", "precision", "gradient_checkpointing"),
    ]
)
_Options = TypeVar("_Options", ModelOptions, OptimizerOptions, TrainOptions)


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in mapping.items():
        flat |= _flat(value, f"{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def _from_mapping(cls: type[_Options], mapping: Any, prefix: str) -> _Options:
    if not isinstance(mapping, Mapping):
        raise OptionError(f"{prefix.rstrip('.')} must be a group of settings, got {type(mapping).__name__}")
    known = {item.name for item in fields(cls)}
    for name in mapping:
        if name not in known:
            raise OptionError(f"there is no setting {prefix}{name}")
    if cls is TrainOptions and "data" not in mapping:
        raise OptionError("the setting data is missing")
    return cls(**mapping)
