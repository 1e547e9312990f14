"""Every numeric argument of every layer is judged when the layer is built."""

import inspect
import math
from functools import partial

import numpy as np
import pytest

from inverseflow import bijections
from inverseflow.bijections import (
    ActNorm,
    AdditiveCoupling,
    Affine,
    AffineCoupling,
    Autoregressive,
    BatchNorm,
    Bernstein,
    Bijection,
    Butterfly,
    CausalConv1d,
    CausalConv2d,
    CausalConv3d,
    CDFTransform,
    Channels,
    Checkerboard,
    ContextAffine,
    Conv1x1,
    Coupling,
    Dequantize,
    DequantizeColumns,
    EmergingConv1d,
    EmergingConv2d,
    EmergingConv3d,
    ExactConv2d,
    ExponentialConv2d,
    FInCConv1d,
    FInCConv2d,
    FInCConv3d,
    Householder,
    InverseConv1d,
    InverseConv2d,
    InverseConv3d,
    Logit,
    LUConv1x1,
    MaCow,
    MaskedConvFlow,
    MemoryEfficientWoodbury,
    MintNet,
    MixtureCDF,
    MonotoneNetwork,
    Multiscale,
    PatchAutoregressive,
    PeriodicConv2d,
    Permute,
    Planar,
    QuadCoupling,
    Radial,
    RationalConv1d,
    RationalConv2d,
    RationalConv3d,
    RationalQuadratic,
    Residual,
    Rosenblatt,
    Scale,
    SelfNormalizingConv2d,
    SplineActivation,
    SplitPrior,
    Squeeze,
    Standardize,
    TwoBranch,
    VariationalDequantize,
    WaveletSqueeze,
    Whiten,
    Woodbury,
)
from inverseflow.densities import MADE, PixelRNN
from inverseflow.distributions import Categorical, GaussianMixture, LogisticMixture, StandardLogistic, StandardNormal
from inverseflow.nets import (
    MLP,
    CausalTransformer,
    ContextMaps,
    ConvNet,
    GatedResNet,
    LipschitzConv,
    LipschitzLinear,
    LipschitzNet,
    LipSwish,
    MaskedMLP,
    ResNet,
    TransformerBlock,
    ViT,
    ZeroConv,
)

CHANNELS, CONTEXT, IMAGE = {"channels": 4}, {"channels": 4, "context_channels": 2}, {"channels": 4, "size": (4, 4)}
NETWORK = {"in_channels": 2, "out_channels": 3, "spatial_axes": 2}
COUPLING = {"net": ConvNet(2 + 2, 4, 3), "num_conditioning": 2, **CONTEXT}

COMPLETE = {
    ActNorm: CHANNELS,
    AdditiveCoupling: COUPLING,
    AffineCoupling: {"max_log_scale": 2, **COUPLING},
    Autoregressive: {"conditioner": partial(MaskedMLP, width=4), **CONTEXT},
    BatchNorm: {"momentum": 0.5, "epsilon": 0.1, **CHANNELS},
    Butterfly: {"factors": (0, 1), **IMAGE},
    CausalConv2d: {"kernel_size": 3, "max_row_sum": 0.5, "groups": 2, **CHANNELS},
    CausalConv1d: {"kernel_size": 3, "max_row_sum": 0.5, "groups": 2, **CHANNELS},
    CausalConv3d: {"kernel_size": 3, "max_row_sum": 0.5, "groups": 2, **CHANNELS},
    ContextAffine: {"spatial_axes": 2, **CONTEXT},
    Conv1x1: CHANNELS,
    Coupling: {"conditioner": partial(ConvNet, width=3), **CONTEXT},
    Dequantize: {"levels": 256},
    DequantizeColumns: {"columns": (0, 2), **CHANNELS},
    EmergingConv2d: {"kernel_size": 3, "max_row_sum": 0.5, **CHANNELS},
    EmergingConv1d: {"kernel_size": 3, "max_row_sum": 0.5, **CHANNELS},
    EmergingConv3d: {"kernel_size": 3, "max_row_sum": 0.5, **CHANNELS},
    ExactConv2d: {"kernel_size": 3, **CHANNELS},
    ExponentialConv2d: {"kernel_size": 3, "max_spectral_norm": 0.5, "tolerance": 1e-3, **CHANNELS},
    FInCConv2d: {"kernel_size": 3, "max_row_sum": 0.5, **CHANNELS},
    FInCConv1d: {"kernel_size": 3, "max_row_sum": 0.5, **CHANNELS},
    FInCConv3d: {"kernel_size": 3, "max_row_sum": 0.5, "channels": 8},
    Householder: {"reflections": 3, **CHANNELS},
    InverseConv2d: {"kernel_size": 3, "max_row_sum": 0.5, "groups": 2, **CHANNELS},
    InverseConv1d: {"kernel_size": 3, "max_row_sum": 0.5, "groups": 2, **CHANNELS},
    InverseConv3d: {"kernel_size": 3, "max_row_sum": 0.5, "groups": 2, **CHANNELS},
    LUConv1x1: CHANNELS,
    CDFTransform: {"components": 3, "epsilon": 0.01, **CHANNELS},
    Rosenblatt: {},
    Logit: {"alpha": 0.25},
    MaCow: {"kernel_size": (2, 3), "width": 3, **CHANNELS},
    MaskedConvFlow: {"kernel_size": (2, 3), "width": 3, "max_raw_scale": 2, **CHANNELS},
    MemoryEfficientWoodbury: {"channel_rank": 2, "spatial_rank": 3, **IMAGE},
    MintNet: {"kernel_size": 3, "width": 8, "tolerance": 1e-3, "max_iterations": 9, **IMAGE},
    Multiscale: {"scales": [Scale(2)], "event_shape": (4, 4, 4)},
    PatchAutoregressive: {"patch_size": 2, **IMAGE, **CONTEXT},
    PeriodicConv2d: {"kernel_size": 3, **CHANNELS},
    Permute: {"permutation": (1, 0)},
    Planar: {"conditioner": partial(MLP, width=3), **CONTEXT},
    QuadCoupling: {"build_net": partial(ConvNet, width=3), "blocks": 2, "max_log_scale": 2, **CONTEXT},
    RationalConv2d: {"kernel_size": 3, "max_row_sum": 0.5, **CHANNELS},
    RationalConv1d: {"kernel_size": 3, "max_row_sum": 0.5, **CHANNELS},
    RationalConv3d: {"kernel_size": 3, "max_row_sum": 0.5, **CHANNELS},
    Residual: {
        **{"conditioner": partial(LipschitzNet, width=4), "terms": 200, "probes": 2, "tolerance": 1e-3},
        **{"max_exact": 4, "max_iterations": 9, **CONTEXT},
    },
    Radial: {"conditioner": partial(MLP, width=3), **CONTEXT},
    Scale: {"scale": 2, "shift": 1},
    SelfNormalizingConv2d: {"kernel_size": 3, "reconstruction_weight": 2, **CHANNELS},
    RationalQuadratic: {"bins": 3, "bound": 2, "gain": 3},
    SplineActivation: {"bins": 3, "bound": 2, **IMAGE},
    SplitPrior: {"spatial_axes": 2, **CONTEXT},
    Squeeze: {"factor": 2, "spatial_axes": 2},
    Standardize: {"event_shape": (4, 2), "min_deviation": 0.5},
    TwoBranch: {"build_net": partial(ConvNet, width=3), "num_first": 1, **CONTEXT},
    VariationalDequantize: {"levels": 5, "steps": 2, "conditioner": partial(ConvNet, width=3), **CHANNELS},
    WaveletSqueeze: {"moments": 2, "spatial_axes": 2},
    Whiten: {"min_deviation": 0.5, **CHANNELS},
    Woodbury: {"channel_rank": 2, "spatial_rank": 3, **IMAGE},
    ContextMaps: {"context_channels": 2, "maps": 3, "size": (4, 4)},
    ConvNet: {"width": 4, **NETWORK},
    LipschitzConv: {"kernel_size": 3, "max_lipschitz": 0.5, **NETWORK},
    LipschitzLinear: {"in_channels": 2, "out_channels": 3, "max_lipschitz": 0.5},
    LipschitzNet: {
        **{"width": 4, "depth": 1, "max_lipschitz": 0.5, "kernel_size": 3, "context_channels": 2},
        **NETWORK,
    },
    LipSwish: {"beta": 2},
    MLP: {"in_features": 2, "out_features": 3, "width": 4, "depth": 1},
    MaskedMLP: {"in_channels": 2, "out_channels": 4, "width": 4, "depth": 1, "degree_seed": 3, "context_channels": 2},
    CausalTransformer: {
        **{"in_channels": 4, "out_channels": 8, "width": 4, "depth": 1, "block": 2, "heads": 2},
        "context_channels": 6,
    },
    GatedResNet: {"width": 4, "depth": 1, "context_channels": 2, **NETWORK},
    TransformerBlock: {"width": 4, "heads": 2},
    ViT: {
        **{"in_channels": 2, "out_channels": 3, "width": 4, "depth": 1, "size": (4, 4), "patch_size": 2, "heads": 2},
    },
    ResNet: {"width": 4, "depth": 1, "context_channels": 2, **NETWORK},
    Affine: {"max_log_scale": 2},
    Bernstein: {"degree": 3, "bound": 2},
    MixtureCDF: {"components": 3},
    MonotoneNetwork: {"width": 3},
    Channels: {"conditioning": (0, 2)},
    Checkerboard: {"parity": 1},
    StandardLogistic: {"dims": 3},
    StandardNormal: {"dims": 3},
    Categorical: {"levels": 5},
    GaussianMixture: {"components": 2},
    LogisticMixture: {"levels": 5, "components": 2},
    MADE: {
        **{"event_shape": (3,), "levels": 3, "width": 4, "depth": 1, "components": 2, "orders": 2, "connectivities": 2},
        "context_channels": 2,
    },
    PixelRNN: {
        **{"event_shape": (1, 2, 2), "levels": 3, "width": 4, "depth": 1, "kernel_size": 3, "first_kernel_size": 3},
        **{"components": 2, "context_channels": 2},
    },
    ZeroConv: {"kernel_size": 3, **NETWORK},
}
"""A value for every numeric argument of every layer and network."""

REAL = {
    "alpha",
    "min_deviation",
    "bound",
    "gain",
    "epsilon",
    "max_log_scale",
    "max_raw_scale",
    "momentum",
    "max_row_sum",
    "max_spectral_norm",
}
REAL |= {"beta", "max_lipschitz", "reconstruction_weight", "scale", "shift", "tolerance"}
SEQUENCES = {"size", "factors", "permutation", "event_shape", "conditioning", "columns"}
NO_NUMBERS = {"net", "build_net", "scales", "swap", "shared", "corner", "inverse_corner", "diagonal", "conv1x1"}
NO_NUMBERS |= {"gradient", "order", "conditioner", "map", "solver", "split", "allow_constant", "direct", "log_det"}
NO_NUMBERS |= {"cell", "standardize", "zero_start"}
NO_NUMBERS |= {"kind", "weights", "means", "covariances"}
COMBINATORS = {"Bijection", "BijectionTransform", "CheckpointedCompose", "Compose", "Inverse", "ReversibleCompose"}
COMBINATORS |= {"Shape", "initialize_from_data"}
PARTS_OF_COUPLINGS = {"Additive", "Affine", "ElementwiseMap", "RationalQuadratic"}
PARTS_OF_COUPLINGS |= {"Bernstein", "ComposedMap", "MixtureCDF", "MonotoneNetwork"}
PARTS_OF_COUPLINGS |= {"Channels", "Checkerboard", "Halves", "Mask", "Split"}

ARGUMENTS = [(build, name) for build, options in COMPLETE.items() for name in options if name not in NO_NUMBERS]
WHOLE_ARGUMENTS = [(build, name) for build, name in ARGUMENTS if name not in REAL]
REAL_ARGUMENTS = [(build, name) for build, name in ARGUMENTS if name in REAL]


def each_argument(arguments):
    return pytest.mark.parametrize(
        ("build", "name"), arguments, ids=[f"{build.__name__}-{name}" for build, name in arguments]
    )


def replaced(value, number):
    """Replace a number, or the last of a sequence of numbers."""
    return (*value[:-1], number) if isinstance(value, tuple) else number


def as_numpy(value, kind):
    return tuple(map(kind, value)) if isinstance(value, tuple) else kind(value)


def test_the_table_holds_every_argument_of_every_layer():
    assert {build.__name__ for build in COMPLETE if issubclass(build, Bijection)} == (
        set(bijections.__all__) - COMBINATORS - PARTS_OF_COUPLINGS
    )
    for build, options in COMPLETE.items():
        assert set(inspect.signature(build).parameters) - NO_NUMBERS <= set(options), build


@each_argument(WHOLE_ARGUMENTS)
def test_a_number_that_is_not_whole_is_refused_by_name(build, name):
    options = COMPLETE[build]
    for number in (2.0, 2.5, True, "2", math.nan, 1j):
        with pytest.raises(TypeError, match=rf"{name} must be a whole number, got {number!r}"):
            build(**{**options, name: replaced(options[name], number)})


@each_argument(WHOLE_ARGUMENTS)
def test_a_negative_number_is_refused_by_name(build, name):
    options = COMPLETE[build]
    for number in (-1, -(2**40)):
        with pytest.raises(ValueError, match=name):
            build(**{**options, name: replaced(options[name], number)})


@each_argument(WHOLE_ARGUMENTS)
def test_whole_numbers_of_numpy_are_whole_numbers(build, name):
    options = COMPLETE[build]
    for kind in (np.int64, np.uint16):
        layer = build(**{**options, name: as_numpy(options[name], kind)})
        assert repr(layer) == repr(build(**options))


@each_argument(REAL_ARGUMENTS)
def test_a_number_that_is_not_finite_is_refused_by_name(build, name):
    for number in (math.inf, -math.inf, math.nan):
        with pytest.raises(ValueError, match=rf"{name} must .*, got {number}"):
            build(**{**COMPLETE[build], name: number})


@each_argument(REAL_ARGUMENTS)
def test_an_argument_that_is_no_number_is_refused_by_name(build, name):
    for number in ("1", True, (1.0,), 1j):
        with pytest.raises(TypeError, match=rf"{name} must be a number, got"):
            build(**{**COMPLETE[build], name: number})


@each_argument(REAL_ARGUMENTS)
def test_numbers_of_numpy_are_numbers(build, name):
    options = COMPLETE[build]
    for kind in (np.float64, np.float32):
        assert type(getattr(build(**{**options, name: kind(options[name])}), name, 0.0)) in (float, int)
