"""Every layer, for the measurement of bijectivity at any image size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from inverseflow.bijections import (
    ActNorm,
    AdditiveCoupling,
    AffineCoupling,
    BatchNorm,
    Bijection,
    Butterfly,
    CausalConv2d,
    Compose,
    Conv1x1,
    EmergingConv2d,
    ExactConv2d,
    ExponentialConv2d,
    FInCConv2d,
    Householder,
    Inverse,
    InverseConv2d,
    Logit,
    LUConv1x1,
    MaCow,
    MaskedConvFlow,
    MemoryEfficientWoodbury,
    MintNet,
    Multiscale,
    PeriodicConv2d,
    Permute,
    QuadCoupling,
    RationalConv2d,
    Residual,
    Scale,
    SelfNormalizingConv2d,
    SplineActivation,
    SplitPrior,
    Squeeze,
    TwoBranch,
    WaveletSqueeze,
    Whiten,
    Woodbury,
)
from inverseflow.nets import ConvNet, LipschitzNet

ImageShape = tuple[int, int, int]


@dataclass(frozen=True)
class Measured:
    """A layer as a function of the image size."""

    name: str
    """Its class and distinguishing options."""
    build: Callable[[ImageShape], Bijection]
    """Builds it from (C, H, W), where C is a multiple of 4 and H and W are even."""
    unit: bool = False
    """Whether its inputs lie in (0, 1)."""


def _two_levels(shape: ImageShape) -> Bijection:
    channels = shape[0]
    fine = Compose(Squeeze(), InverseConv2d(4 * channels), SplitPrior(4 * channels))
    return Multiscale([fine, LUConv1x1(2 * channels)], shape)


def _residual(shape: ImageShape) -> Bijection:
    return Residual(shape[0], partial(LipschitzNet, width=8, spatial_axes=2), log_det="exact", max_exact=1024)


MEASURED_LAYERS = (
    Measured("InverseConv2d", lambda shape: InverseConv2d(shape[0])),
    Measured(
        "InverseConv2d, free diagonal", lambda shape: InverseConv2d(shape[0], diagonal="free", corner="top_right")
    ),
    Measured("InverseConv2d, bound 0.9", lambda shape: InverseConv2d(shape[0], max_row_sum=0.9, corner="bottom_left")),
    Measured("CausalConv2d", lambda shape: CausalConv2d(shape[0])),
    Measured("CausalConv2d, free diagonal", lambda shape: CausalConv2d(shape[0], diagonal="free")),
    Measured("FInCConv2d", lambda shape: FInCConv2d(shape[0])),
    Measured("EmergingConv2d", lambda shape: EmergingConv2d(shape[0])),
    Measured("RationalConv2d", lambda shape: RationalConv2d(shape[0])),
    Measured("PeriodicConv2d", lambda shape: PeriodicConv2d(shape[0])),
    Measured("ExponentialConv2d", lambda shape: ExponentialConv2d(shape[0])),
    Measured("ExactConv2d", lambda shape: ExactConv2d(shape[0])),
    Measured("SelfNormalizingConv2d", lambda shape: SelfNormalizingConv2d(shape[0])),
    Measured("Woodbury", lambda shape: Woodbury(shape[0], size=shape[1:], channel_rank=2, spatial_rank=3)),
    Measured(
        "MemoryEfficientWoodbury",
        lambda shape: MemoryEfficientWoodbury(shape[0], size=shape[1:], channel_rank=2, spatial_rank=2),
    ),
    Measured("MaskedConvFlow", lambda shape: MaskedConvFlow(shape[0], width=8)),
    Measured("MaCow", lambda shape: MaCow(shape[0], width=8)),
    Measured("Butterfly", lambda shape: Butterfly(shape[0], size=shape[1:], factors=(0, 1, 2))),
    Measured("MintNet", lambda shape: MintNet(shape[0], size=shape[1:], width=4 * shape[0])),
    Measured("MintNet, order B", lambda shape: MintNet(shape[0], size=shape[1:], width=4 * shape[0], order="B")),
    Measured("Residual", _residual),
    Measured("Conv1x1", lambda shape: Conv1x1(shape[0])),
    Measured("LUConv1x1", lambda shape: LUConv1x1(shape[0])),
    Measured("Householder", lambda shape: Householder(shape[0])),
    Measured("ActNorm", lambda shape: ActNorm(shape[0])),
    Measured("BatchNorm", lambda shape: BatchNorm(shape[0]).eval()),
    Measured("AffineCoupling", lambda shape: AffineCoupling(shape[0], ConvNet(shape[0] // 2, shape[0], 8))),
    Measured("AdditiveCoupling", lambda shape: AdditiveCoupling(shape[0], ConvNet(shape[0] // 2, shape[0] // 2, 8))),
    Measured("TwoBranch", lambda shape: TwoBranch(shape[0], partial(ConvNet, width=8), num_first=1)),
    Measured("QuadCoupling", lambda shape: QuadCoupling(shape[0], partial(ConvNet, width=8))),
    Measured("SplitPrior", lambda shape: SplitPrior(shape[0])),
    Measured("SplineActivation", lambda shape: SplineActivation(shape[0], bins=5, bound=3.0)),
    Measured("Logit", lambda shape: Logit(), unit=True),
    Measured("Scale", lambda shape: Scale(2.0, shift=-0.5)),
    Measured("Squeeze", lambda shape: Squeeze()),
    Measured("WaveletSqueeze", lambda shape: WaveletSqueeze(2)),
    Measured("Whiten", lambda shape: Whiten.of(torch.randn(16, *shape))),
    Measured("Permute", lambda shape: Permute.reverse(shape[0])),
    Measured("Inverse", lambda shape: Inverse(Compose(CausalConv2d(shape[0]), LUConv1x1(shape[0])))),
    Measured("Compose", lambda shape: Compose(Squeeze(), InverseConv2d(4 * shape[0]), LUConv1x1(4 * shape[0]))),
    Measured("Multiscale", _two_levels),
)
"""All layers except `Dequantize`, which draws noise and is inverted by rounding."""
