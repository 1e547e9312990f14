"""The options of an image flow's step, and of the flows that are made of such steps."""

from dataclasses import dataclass
from typing import Literal, TypedDict, get_args

from inverseflow.bijections.convolution.emerging import Conv1x1Form
from inverseflow.names import LayerName
from inverseflow.utils.arguments import finite_number, one_of, whole_number

SplineSharing = Literal["none", "shared", "channel", "element"]
CouplingForm = Literal["affine", "quad", "none"]
Preprocessing = Literal["logit", "center"]


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
    conv1x1: Conv1x1Form = "lu"
    coupling: CouplingForm = "affine"
    width: int = 64
    context_channels: int | None = None

    def __post_init__(self) -> None:
        one_of("layer", self.layer, get_args(LayerName))
        one_of("spline", self.spline, get_args(SplineSharing))
        one_of("conv1x1", self.conv1x1, get_args(Conv1x1Form))
        one_of("coupling", self.coupling, get_args(CouplingForm))
        for name in ("spline_bins", "width", "kernel_size", "context_channels"):
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

    conv1x1: Conv1x1Form
    coupling: CouplingForm
    context_channels: int | None


class FlowKwargs(TypedDict, total=False):
    """The options of an image flow whose layer has no options of its own."""

    levels: int | None
    scales: int
    steps: int
    preprocessing: Preprocessing
    alpha: float
    spline: SplineSharing
    spline_bins: int
    spline_bound: float
    conv1x1: Conv1x1Form
    coupling: CouplingForm
    width: int
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
