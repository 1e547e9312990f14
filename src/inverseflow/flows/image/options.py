"""The options of an image flow's step, and of the flows that are made of such steps."""

from dataclasses import dataclass
from typing import Literal, TypedDict, get_args

from inverseflow.names import LayerName
from inverseflow.utils.arguments import finite_number, one_of, whole_number

SplineSharing = Literal["none", "shared", "channel", "element"]
ChannelMixing = Literal["lu", "dense", "permutation", "none"]
CouplingForm = Literal["affine", "additive", "spline", "mixture", "autoregressive", "quad", "none"]
ConditionerForm = Literal["conv", "resnet", "gated", "vit"]
Preprocessing = Literal["logit", "center"]
Dequantization = Literal["uniform", "variational"]


@dataclass(frozen=True)
class StepOptions:
    """What one step consists of: k×k layer → spline → ActNorm → 1×1 convolution → coupling.

    Args:
        actnorm: whether there is an ActNorm. `ImageFlow` explains the other options.

    Raises:
        TypeError: if a number is not of its type.
        ValueError: if an option is out of its range.
    """

    layer: LayerName = "inverse"
    kernel_size: int | None = None
    max_row_sum: float | None = None
    max_spectral_norm: float | None = None
    spline: SplineSharing = "channel"
    spline_bins: int = 8
    spline_bound: float = 10.0
    actnorm: bool = True
    conv1x1: ChannelMixing = "lu"
    coupling: CouplingForm = "affine"
    components: int = 8
    conditioner: ConditionerForm = "conv"
    width: int = 64
    depth: int = 2
    patch_size: int = 2
    heads: int = 4
    context_channels: int | None = None

    def __post_init__(self) -> None:
        one_of("layer", self.layer, get_args(LayerName))
        one_of("spline", self.spline, get_args(SplineSharing))
        one_of("conv1x1", self.conv1x1, get_args(ChannelMixing))
        one_of("coupling", self.coupling, get_args(CouplingForm))
        one_of("conditioner", self.conditioner, get_args(ConditionerForm))
        for name in (
            *("spline_bins", "components", "width", "depth", "patch_size", "heads"),
            *("kernel_size", "context_channels"),
        ):
            if getattr(self, name) is not None:
                whole_number(name, getattr(self, name), at_least=1)
        for name in ("spline_bound", "max_row_sum", "max_spectral_norm"):
            if getattr(self, name) is not None:
                finite_number(name, getattr(self, name), above=0)


LAYER_OPTIONS = ("kernel_size", "max_row_sum", "max_spectral_norm")
"""The options that some layers have and others don't; None stands for the layer's own default."""


class PlanarKwargs(TypedDict, total=False):
    """The options of a step without 1×1 convolution and coupling."""

    spline: SplineSharing
    spline_bins: int
    spline_bound: float
    width: int
    kernel_size: int | None
    max_row_sum: float | None
    max_spectral_norm: float | None


class StepKwargs(PlanarKwargs, total=False):
    """The options of a step with any layer."""

    conv1x1: ChannelMixing
    coupling: CouplingForm
    components: int
    conditioner: ConditionerForm
    depth: int
    patch_size: int
    heads: int
    context_channels: int | None


class FlowKwargs(TypedDict, total=False):
    """The options of an image flow whose layer has no options of its own."""

    levels: int | None
    scales: int
    steps: int
    preprocessing: Preprocessing
    alpha: float
    dequantization: Dequantization
    spline: SplineSharing
    spline_bins: int
    spline_bound: float
    conv1x1: ChannelMixing
    coupling: CouplingForm
    components: int
    conditioner: ConditionerForm
    width: int
    depth: int
    patch_size: int
    heads: int
    context_channels: int | None


class KernelFlowKwargs(FlowKwargs, total=False):
    """The options of an image flow whose layer has a kernel."""

    kernel_size: int | None


class OneSidedFlowKwargs(KernelFlowKwargs, total=False):
    """The options of an image flow whose layer is made of one-sided convolutions."""

    max_row_sum: float | None


class SpectralFlowKwargs(KernelFlowKwargs, total=False):
    """The options of an image flow whose layer has a bounded spectral norm."""

    max_spectral_norm: float | None
