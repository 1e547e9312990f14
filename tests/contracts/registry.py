"""Every layer, every flow and every density without an inverse once; the contract suites run over these lists.

A new layer is one line of `LAYERS`, a new flow one line of `FLOWS`, a new density without an inverse one of
`DENSITIES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import nn

from inverseflow import flows
from inverseflow.bijections import (
    ActNorm,
    Additive,
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
    CheckpointedCompose,
    Compose,
    ComposedMap,
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
    Inverse,
    InverseConv1d,
    InverseConv2d,
    InverseConv3d,
    Logit,
    LUConv1x1,
    MaCow,
    Mask,
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
    ReversibleCompose,
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
from inverseflow.densities import MADE, PixelCNN, PixelRNN, WaveNet
from inverseflow.flows import (
    IAF,
    MAF,
    NICE,
    NSF,
    AutoregressiveNSF,
    Glow,
    ImageFlow,
    ImageIResNet,
    ImageRealNVP,
    InverseFlow,
    IResNet,
    PlanarFlow,
    RealNVP,
    RosenblattFlow,
    VectorPlanarFlow,
    VectorRadialFlow,
)
from inverseflow.nets import MLP, CausalTransformer, ConvNet, GatedResNet, LipschitzNet, MaskedMLP, ResNet, ViT

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """One layer or flow as the suites see it."""

    name: str
    build: Callable[[], nn.Module]
    shape: Shape
    """Of an event. No two sides are equal where the layer allows it."""
    context: Shape | None = None
    """Shape of the context of one event, None for an unconditional layer."""
    unit: bool = False
    """Whether its data lie in (0, 1), not on the whole real line."""
    unit_latents: bool = False
    """Whether its latents lie in (0, 1)."""
    levels: int | None = None
    """Grey levels of integer data, None for floating-point data."""
    integer_columns: tuple[int, ...] = ()
    """Channels of floating-point data that hold whole numbers."""
    idle: tuple[str, ...] = ()
    """Parameters that have no effect at this size."""
    iterative: bool = False
    """Whether its inverse iterates to a tolerance, which compiled code does outside of its graph."""
    surrogate: bool = False
    """Whether its gradients differ from the gradients of its values by design; its own tests say how."""
    bounded: bool = False
    """Whether its elements may miss some of those before them."""

    @property
    def continuous(self):
        """Whether data are real numbers, that can be differentiated."""
        return self.levels is None and not self.integer_columns

    def perturbed(self, device, dtype):
        """Build it and move its parameters off their initial values."""
        return perturb(self.build().to(device, dtype))

    def data(self, batch, device, dtype):
        """Draw data that it takes."""
        if self.levels is not None:
            gray = torch.randint(self.levels, (batch, *self.shape), device=device)
            return gray.to(torch.uint8 if self.levels <= 256 else torch.int32)
        x = torch.randn(batch, *self.shape, device=device, dtype=dtype)
        x[:, self.integer_columns] = x[:, self.integer_columns].floor()
        return 0.02 + 0.96 * x.sigmoid() if self.unit else x

    def draw_context(self, batch, device, dtype):
        """Draw contexts, None for an unconditional layer."""
        return None if self.context is None else torch.randn(batch, *self.context, device=device, dtype=dtype)


@torch.no_grad()
def perturb(module: nn.Module) -> nn.Module:
    """Move every parameter off its initial value, so that zeros and identities can't hide an error."""
    for parameter in module.parameters():
        parameter.add_(0.2 * torch.randn_like(parameter))
    return module


def plainly(layer: ReversibleCompose) -> ReversibleCompose:
    layer.reversible = (
        False  # which has second derivatives and compiles; tests/bijections/test_combinators.py has the rest
    )
    return layer


def conv3d(in_channels: int, out_channels: int) -> nn.Module:
    """Build a small conditioner for volumes."""
    return nn.Sequential(nn.Conv3d(in_channels, 3, 1), nn.Tanh(), nn.Conv3d(3, out_channels, 1))


def gentle(in_channels: int, out_channels: int) -> nn.Module:
    """Build a conditioner with small outputs: noise that comes near 0 or 1 is lost in the rounding of a latent."""
    return nn.Sequential(nn.Conv2d(in_channels, 3, 3, padding=1), nn.Tanh(), nn.Conv2d(3, out_channels, 1))


def level(channels: int, corner: str, *, split: bool) -> Bijection:
    """Build one level of a multi-scale composition, every kind of layer in it."""
    layers = [
        Squeeze(),
        InverseConv2d(4 * channels, (2, 3), corner=corner, diagonal="free"),
        SplineActivation(bins=3, bound=2.0),
        ActNorm(4 * channels),
        LUConv1x1(4 * channels),
    ]
    return Compose(*layers, *([SplitPrior(4 * channels)] if split else []))


def two_levels() -> Bijection:
    """Build a multi-scale composition that factors out an uneven half."""
    return Multiscale([level(1, "top_right", split=True), level(2, "bottom_left", split=False)], (1, 4, 8))


def standardize() -> Bijection:
    """Build a standardization by statistics of data."""
    layer = Standardize(IMAGE)
    layer.mean.normal_()
    layer.deviation.uniform_(0.5, 2)
    return layer


def whiten() -> Bijection:
    """Build a whitening by the covariance of data."""
    layer = Whiten(4)
    layer.mean.normal_()
    layer.matrix.add_(0.2 * torch.ones(4, 4))
    return layer


def batch_norm() -> Bijection:
    """Build a batch normalization by averages of the past."""
    layer = BatchNorm(4).eval()
    layer.mean.normal_()
    layer.variance.uniform_(0.5, 2)
    return layer


def conditional_stack() -> Bijection:
    """Build a composition of conditional and unconditional layers."""
    net = partial(MLP, 2 + 3, width=4)
    return Compose(
        ActNorm(4),
        AffineCoupling(4, net(4), context_channels=3),
        Permute.reverse(4),
        AdditiveCoupling(4, net(2), context_channels=3),
    )


VECTOR, SEQUENCE, IMAGE, VOLUME = (4,), (3, 5), (4, 3, 5), (3, 2, 3, 2)
MASK = torch.arange(math.prod(VOLUME)).reshape(VOLUME) % 7 < 3

LAYERS = [
    Case("Dequantize-8-bit", partial(Dequantize, 256), (3, 2, 3), levels=256),
    Case("Dequantize-3-levels", partial(Dequantize, 3), VECTOR, levels=3),
    Case("Dequantize-16-bit", partial(Dequantize, 65536), SEQUENCE, levels=65536),
    Case("VariationalDequantize", partial(VariationalDequantize, 3, 2, gentle, steps=1), (2, 3, 4), levels=3),
    Case("DequantizeColumns", partial(DequantizeColumns, 4, [0, 2]), VECTOR, integer_columns=(0, 2)),
    Case("Standardize", standardize, IMAGE),
    Case("Logit", Logit, IMAGE, unit=True),
    Case("Logit-bare", partial(Logit, 0.0), VOLUME, unit=True),
    Case("Scale", partial(Scale, 2.0, shift=-0.5), IMAGE),
    Case("Scale-negative", partial(Scale, -0.3), VECTOR),
    Case("ActNorm", partial(ActNorm, 4), IMAGE),
    Case("ActNorm-vector", partial(ActNorm, 4), VECTOR),
    Case("ActNorm-volume", partial(ActNorm, 3), VOLUME),
    Case("BatchNorm", batch_norm, IMAGE),
    Case("Conv1x1", partial(Conv1x1, 4), IMAGE),
    Case("Conv1x1-vector", partial(Conv1x1, 4), VECTOR),
    Case("Conv1x1-sequence", partial(Conv1x1, 3), SEQUENCE),
    Case("LUConv1x1-volume", partial(LUConv1x1, 3), VOLUME),
    Case("Conv1x1-one-channel", partial(Conv1x1, 1), (1, 2, 3)),
    Case("LUConv1x1", partial(LUConv1x1, 4), IMAGE),
    Case("LUConv1x1-vector", partial(LUConv1x1, 4), VECTOR),
    Case("LUConv1x1-one-channel", partial(LUConv1x1, 1), (1, 2, 3), idle=("lower", "upper")),
    Case("Householder", partial(Householder, 4, reflections=3), IMAGE),
    Case("Householder-vector", partial(Householder, 4), VECTOR),
    Case("CausalConv2d", partial(CausalConv2d, 4), IMAGE),
    Case("CausalConv2d-top-right", partial(CausalConv2d, 3, (2, 3), corner="top_right"), (3, 4, 5)),
    Case("CausalConv2d-bottom-left", partial(CausalConv2d, 2, (1, 3), corner="bottom_left"), (2, 4, 5)),
    Case("CausalConv2d-bottom-right", partial(CausalConv2d, 2, (5, 2), corner="bottom_right"), (2, 3, 4)),
    Case("CausalConv2d-free-diagonal", partial(CausalConv2d, 3, 2, diagonal="free"), (3, 3, 4)),
    Case("CausalConv2d-bound", partial(CausalConv2d, 4, max_row_sum=0.9, groups=2), (4, 3, 4)),
    Case("CausalConv2d-pointwise", partial(CausalConv2d, 3, 1), (3, 2, 3)),
    Case("InverseConv2d", partial(InverseConv2d, 4), IMAGE),
    Case("InverseConv2d-bottom-right", partial(InverseConv2d, 2, (2, 6), corner="bottom_right"), (2, 3, 4)),
    Case("InverseConv2d-groups", partial(InverseConv2d, 4, 2, groups=2), (4, 3, 2)),
    Case("InverseConv2d-all", partial(InverseConv2d, 4, 2, diagonal="free", max_row_sum=0.5, groups=2), (4, 3, 4)),
    Case("FInCConv2d", partial(FInCConv2d, 4), IMAGE),
    Case("FInCConv2d-all", partial(FInCConv2d, 4, (3, 2), diagonal="free", max_row_sum=0.9), (4, 3, 4)),
    Case("EmergingConv2d", partial(EmergingConv2d, 4), IMAGE),
    Case("EmergingConv2d-plain", partial(EmergingConv2d, 3, (5, 3), conv1x1="none"), (3, 3, 4)),
    Case("EmergingConv2d-dense-bound", partial(EmergingConv2d, 2, conv1x1="dense", max_row_sum=0.9), (2, 3, 4)),
    Case("RationalConv2d", partial(RationalConv2d, 4), IMAGE),
    Case(
        "RationalConv2d-one-corner",
        partial(RationalConv2d, 3, (2, 3), corner="top_right", inverse_corner="top_right", diagonal="free"),
        (3, 4, 5),
    ),
    Case("RationalConv2d-bound", partial(RationalConv2d, 4, 2, diagonal="free", max_row_sum=0.5), (4, 3, 4)),
    Case("CausalConv1d", partial(CausalConv1d, 3, 4, corner="right", diagonal="free", max_row_sum=0.9), SEQUENCE),
    Case("CausalConv3d", partial(CausalConv3d, 2, 2, corner="back_top_right", diagonal="free"), (2, 2, 3, 4)),
    Case("InverseConv1d", partial(InverseConv1d, 4, groups=2), (4, 7)),
    Case("InverseConv1d-right", partial(InverseConv1d, 3, corner="right", diagonal="free"), SEQUENCE),
    Case("InverseConv3d", partial(InverseConv3d, 2, (3, 2, 2), corner="front_bottom_left"), (2, 5, 2, 3)),
    Case("InverseConv3d-all", partial(InverseConv3d, 4, 2, diagonal="free", max_row_sum=0.5, groups=2), (4, 2, 3, 2)),
    Case("FInCConv1d", partial(FInCConv1d, 4, diagonal="free"), (4, 5)),
    Case("FInCConv3d", partial(FInCConv3d, 8, 2), (8, 2, 3, 2)),
    Case("EmergingConv1d", partial(EmergingConv1d, 3), SEQUENCE),
    Case("EmergingConv3d", partial(EmergingConv3d, 2, conv1x1="none"), (2, 2, 3, 3)),
    Case("RationalConv1d", partial(RationalConv1d, 3, diagonal="free"), SEQUENCE),
    Case("RationalConv3d", partial(RationalConv3d, 2, 2), (2, 2, 3, 3)),
    Case("PeriodicConv2d", partial(PeriodicConv2d, 3), (3, 4, 5)),
    Case("PeriodicConv2d-even-kernel", partial(PeriodicConv2d, 2, (2, 3)), (2, 5, 4)),
    Case("PeriodicConv2d-pointwise", partial(PeriodicConv2d, 3, 1), (3, 1, 2)),
    Case("ExponentialConv2d", partial(ExponentialConv2d, 3), (3, 4, 5)),
    Case("ExponentialConv2d-strong", partial(ExponentialConv2d, 2, max_spectral_norm=3.0), (2, 4, 3)),
    Case("ExactConv2d", partial(ExactConv2d, 3), (3, 3, 4)),
    Case("ExactConv2d-even-kernel", partial(ExactConv2d, 2, (2, 3)), (2, 3, 4)),
    Case("ExactConv2d-pointwise", partial(ExactConv2d, 3, 1), (3, 2, 3)),
    Case("SelfNormalizingConv2d", partial(SelfNormalizingConv2d, 2), (2, 3, 4), surrogate=True),
    Case("SelfNormalizingConv2d-pointwise", partial(SelfNormalizingConv2d, 3, 1), (3, 2, 3), surrogate=True),
    Case(
        "SelfNormalizingConv2d-exact-gradient",
        partial(SelfNormalizingConv2d, 2, (1, 3), gradient="exact"),
        (2, 3, 4),
        idle=("inverse_weight",),
    ),
    Case("Woodbury", partial(Woodbury, 4, size=(3, 5), channel_rank=2, spatial_rank=3), IMAGE),
    Case(
        "MemoryEfficientWoodbury",
        partial(MemoryEfficientWoodbury, 4, size=(3, 5), channel_rank=2, spatial_rank=2),
        IMAGE,
    ),
    Case(
        "MemoryEfficientWoodbury-one-row",
        partial(MemoryEfficientWoodbury, 2, size=(1, 3), channel_rank=1, spatial_rank=2),
        (2, 1, 3),
    ),
    Case("MaskedConvFlow", partial(MaskedConvFlow, 4), IMAGE),
    Case("MaskedConvFlow-rows-below", partial(MaskedConvFlow, 1, order="B", kernel_size=(1, 5)), (1, 3, 2)),
    Case("MaskedConvFlow-columns-left", partial(MaskedConvFlow, 3, order="C", width=4), (3, 4, 5)),
    Case("MaskedConvFlow-columns-right", partial(MaskedConvFlow, 2, order="D", kernel_size=(3, 1)), (2, 2, 5)),
    Case("MaCow", partial(MaCow, 3, width=4), (3, 3, 4)),
    Case("Butterfly", partial(Butterfly, 4, size=(2, 6), factors=(0, 1, 3)), (4, 2, 6)),
    Case("Butterfly-shared", partial(Butterfly, 3, size=(4, 2), factors=(2, 0, 2), shared=True), (3, 4, 2)),
    Case("Butterfly-shared-of-any-size", partial(Butterfly, 2, factors=(1,), shared=True), (2, 2, 3)),
    Case("Butterfly-vector", partial(Butterfly, 4, size=(), factors=(0, 1)), VECTOR),
    Case("MintNet", partial(MintNet, 3, size=(3, 4), width=9), (3, 3, 4), iterative=True),
    Case("MintNet-mirrored", partial(MintNet, 2, size=(4, 3), width=4, order="B"), (2, 4, 3), iterative=True),
    Case("MintNet-one-channel", partial(MintNet, 1, size=(2, 3), width=1), (1, 2, 3), iterative=True),
    Case("AffineCoupling", lambda: AffineCoupling(4, ConvNet(2, 4, 3)), IMAGE),
    Case("AffineCoupling-odd-swap", lambda: AffineCoupling(3, ConvNet(2, 2, 3), swap=True), (3, 2, 4)),
    Case("AffineCoupling-vector", lambda: AffineCoupling(4, MLP(2, 4, 5), max_log_scale=0.3), VECTOR),
    Case("AffineCoupling-volume", lambda: AffineCoupling(3, conv3d(1, 4)), VOLUME),
    Case(
        "AffineCoupling-conditional",
        lambda: AffineCoupling(3, ConvNet(1 + 2, 4, 3), context_channels=2),
        (3, 2, 4),
        context=(2,),
    ),
    Case(
        "AffineCoupling-context-pyramid",
        lambda: AffineCoupling(2, ConvNet(1 + 1, 2, 3, spatial_axes=1), context_channels=1),
        (2, 3),
        context=(1, 6),
    ),
    Case(
        "AffineCoupling-context-image",
        lambda: AffineCoupling(3, ConvNet(2 + 2, 2, 3), swap=True, context_channels=2),
        (3, 2, 4),
        context=(2, 2, 4),
    ),
    Case("Coupling", partial(Coupling, 4, partial(ConvNet, width=3)), IMAGE),
    Case("Coupling-spline", lambda: Coupling(4, partial(MLP, width=5), map=RationalQuadratic(3, 2.0)), VECTOR),
    Case(
        "Coupling-channels-additive",
        lambda: Coupling(3, partial(ResNet, width=4, spatial_axes=1), map=Additive(), split=Channels([0, 2])),
        SEQUENCE,
    ),
    Case(
        "Coupling-checkerboard-spline-context-image",
        lambda: Coupling(
            4,
            partial(ResNet, width=2, depth=1),
            map=RationalQuadratic(bins=2, bound=3.0),
            split=Checkerboard(parity=1),
            context_channels=2,
        ),
        IMAGE,
        context=(2, 3, 5),
    ),
    Case(
        "Coupling-mask-conditional",
        lambda: Coupling(3, partial(ConvNet, width=3, spatial_axes=3), split=Mask(MASK), context_channels=1),
        VOLUME,
        context=(1,),
    ),
    Case(
        "Coupling-mixture",
        lambda: Coupling(4, partial(MLP, width=5), map=MixtureCDF(2, "gaussian"), context_channels=1),
        VECTOR,
        context=(1,),
        iterative=True,
    ),
    Case(
        "Coupling-mixture-gated",
        lambda: Coupling(
            3,
            partial(GatedResNet, width=3, depth=1),
            map=ComposedMap((MixtureCDF(2), Affine())),
            split=Checkerboard(),
            context_channels=2,
        ),
        (3, 2, 4),
        context=(2,),
        iterative=True,
    ),
    Case("Coupling-vit", partial(Coupling, 3, partial(ViT, width=4, depth=1, size=(4, 2), heads=2)), (3, 4, 2)),
    Case(
        "Coupling-monotone-network",
        lambda: Coupling(3, partial(ConvNet, width=3), map=MonotoneNetwork(2), split=Checkerboard()),
        (3, 2, 4),
        iterative=True,
    ),
    Case(
        "Autoregressive-mixture",
        partial(Autoregressive, 3, partial(MaskedMLP, width=5), map=MixtureCDF(3), order="reversed"),
        (3,),
        iterative=True,
    ),
    Case(
        "Autoregressive-bernstein",
        partial(Autoregressive, 3, partial(MaskedMLP, width=5), map=Bernstein(4, 2.0), solver="parallel"),
        (3,),
        iterative=True,
    ),
    Case("Autoregressive", partial(Autoregressive, 4, partial(MaskedMLP, width=5)), VECTOR, iterative=True),
    Case(
        "Autoregressive-parallel-spline-conditional",
        lambda: Autoregressive(
            4,
            partial(MaskedMLP, width=5, depth=1, degree_seed=3),
            map=RationalQuadratic(3, 2.0),
            order=[2, 0, 3, 1],
            context_channels=2,
            solver="parallel",
        ),
        VECTOR,
        context=(2,),
        iterative=True,
    ),
    Case(
        "Autoregressive-one-channel",
        lambda: Autoregressive(1, partial(MaskedMLP, width=3, depth=1), map=Additive()),
        (1,),
        idle=("net.layers.0.weight",),
        iterative=True,
    ),
    Case(
        "PatchAutoregressive",
        lambda: PatchAutoregressive(1, partial(CausalTransformer, width=4, depth=1, heads=2), size=(4, 6)),
        (1, 4, 6),
        iterative=True,
    ),
    Case(
        "PatchAutoregressive-volume-conditional",
        lambda: PatchAutoregressive(
            3,
            partial(CausalTransformer, width=4, depth=1, heads=1),
            size=(2, 1, 2),
            patch_size=1,
            order="reversed",
            map=RationalQuadratic(3, 2.0),
            context_channels=2,
        ),
        (3, 2, 1, 2),
        context=(2, 2, 1, 2),
        iterative=True,
    ),
    Case(
        "CDFTransform",
        partial(CDFTransform, 4, components=2, epsilon=1e-6),
        IMAGE,
        unit_latents=True,
        iterative=True,
    ),
    Case(
        "CDFTransform-logistic",
        partial(CDFTransform, 3, components=3, kind="logistic", epsilon=1e-6),
        (3,),
        unit_latents=True,
        iterative=True,
    ),
    Case(
        "Rosenblatt",
        lambda: Rosenblatt([0.4, 0.6], [[-0.5, 0, 1], [0.5, 1, 0]], torch.eye(3) + 0.3 * torch.ones(2, 3, 3)),
        (3,),
        iterative=True,
    ),
    Case("Residual", partial(Residual, 4, partial(LipschitzNet, width=5, depth=1)), VECTOR, iterative=True),
    Case(
        "Residual-conditional-image",
        lambda: Residual(2, partial(LipschitzNet, width=3, spatial_axes=2), context_channels=2),
        (2, 2, 3),
        context=(2, 4, 3),
        iterative=True,
    ),
    Case("Planar", partial(Planar, 4), VECTOR, iterative=True),
    Case("Planar-conditional", partial(Planar, 4, context_channels=2), VECTOR, context=(2,), iterative=True),
    Case("Radial", partial(Radial, 4), VECTOR),
    Case(
        "Radial-conditional",
        partial(Radial, 3, context_channels=2, conditioner=partial(MLP, width=4, depth=1)),
        (3,),
        context=(2,),
    ),
    Case("AdditiveCoupling", lambda: AdditiveCoupling(4, ConvNet(2, 2, 3)), IMAGE),
    Case(
        "AdditiveCoupling-conditional",
        lambda: AdditiveCoupling(4, MLP(2 + 3, 2, 4), context_channels=3),
        VECTOR,
        context=(3,),
    ),
    Case("TwoBranch", partial(TwoBranch, 4, partial(ConvNet, width=3), num_first=1), IMAGE),
    Case("TwoBranch-lifting", lambda: TwoBranch(3, partial(MLP, width=5), map=Additive(), swap=True), (3,)),
    Case("QuadCoupling", partial(QuadCoupling, 4, partial(ConvNet, width=3)), IMAGE),
    Case("QuadCoupling-two-blocks", partial(QuadCoupling, 6, partial(ConvNet, width=3), blocks=2), (6, 2, 3)),
    Case("QuadCoupling-vector", partial(QuadCoupling, 6, partial(MLP, width=5), blocks=3, max_log_scale=0.3), (6,)),
    Case(
        "QuadCoupling-conditional",
        partial(QuadCoupling, 4, partial(ConvNet, width=3), context_channels=2),
        (4, 2, 3),
        context=(2,),
    ),
    Case("ContextAffine", partial(ContextAffine, 3, 2), (3, 4, 2), context=(2,)),
    Case("ContextAffine-volume", partial(ContextAffine, 3, 2, spatial_axes=3), VOLUME, context=(2, 2, 3, 2)),
    Case("SplitPrior", partial(SplitPrior, 4), IMAGE),
    Case("SplitPrior-odd", partial(SplitPrior, 3), (3, 2, 4)),
    Case("SplitPrior-sequence", partial(SplitPrior, 3, spatial_axes=1), SEQUENCE),
    Case("SplitPrior-volume", partial(SplitPrior, 3, spatial_axes=3, context_channels=2), VOLUME, context=(2, 2, 3, 2)),
    Case("SplitPrior-conditional", partial(SplitPrior, 4, context_channels=2), (4, 3, 2), context=(2,)),
    Case("SplineActivation-shared", partial(SplineActivation, bins=4, bound=1.5), IMAGE),
    Case("SplineActivation-channels", partial(SplineActivation, 4, bins=4, bound=1.5), IMAGE),
    Case("SplineActivation-elements", partial(SplineActivation, 2, size=(2, 3), bins=3, bound=2.0), (2, 2, 3)),
    Case("SplineActivation-volume", partial(SplineActivation, 3, bins=3, bound=1.0), VOLUME),
    Case("Squeeze", Squeeze, (2, 4, 6)),
    Case("Squeeze-by-3", partial(Squeeze, 3), (1, 6, 3)),
    Case("Squeeze-sequence", partial(Squeeze, 3, spatial_axes=1), (2, 6)),
    Case("Squeeze-volume", partial(Squeeze, spatial_axes=3), (2, 2, 6, 4)),
    Case("WaveletSqueeze", WaveletSqueeze, (2, 4, 6)),
    Case("WaveletSqueeze-3-moments", partial(WaveletSqueeze, 3, spatial_axes=1), (2, 6)),
    Case("WaveletSqueeze-volume", partial(WaveletSqueeze, 2, spatial_axes=3), (1, 2, 2, 4)),
    Case("Whiten", whiten, IMAGE),
    Case("Permute-reverse", partial(Permute.reverse, 4), IMAGE),
    Case("Permute-vector", partial(Permute, [2, 0, 3, 1]), VECTOR),
    Case("Compose", lambda: Compose(Squeeze(), ActNorm(8), Conv1x1(8), CausalConv2d(8, 2)), (2, 4, 2)),
    Case("Compose-conditional", conditional_stack, VECTOR, context=(3,)),
    Case("Compose-nothing", Compose, IMAGE),
    Case("Compose-dequantize", lambda: Compose(Dequantize(5), Logit(), ActNorm(4)), IMAGE, levels=5),
    Case("ReversibleCompose", lambda: plainly(ReversibleCompose(ActNorm(2), InverseConv2d(2, 2))), (2, 4, 3)),
    Case("CheckpointedCompose", lambda: CheckpointedCompose(ActNorm(2), InverseConv2d(2, 2)), (2, 4, 3)),
    Case("Inverse", lambda: Inverse(Compose(ActNorm(4), LUConv1x1(4))), IMAGE),
    Case("Inverse-squeeze", lambda: Inverse(Squeeze()), (4, 2, 3)),
    Case("Multiscale", lambda: Multiscale([LUConv1x1(5), ActNorm(2), Permute([0])], (5, 3)), (5, 3)),
    Case("Multiscale-levels", two_levels, (1, 4, 8)),
]

LEAN = {"width": 3, "spline_bins": 3}

FLOWS = [
    Case(
        "inverse-flow",
        partial(InverseFlow, (1, 4, 8), levels=256, scales=2, steps=2, **LEAN),
        (1, 4, 8),
        levels=256,
    ),
    Case(
        "inverse-flow-continuous",
        partial(InverseFlow, (3, 4, 2), levels=None, scales=1, steps=2, **LEAN, spline_bound=2.0),
        (3, 4, 2),
    ),
    Case(
        "inverse-flow-conditional",
        partial(InverseFlow, (1, 4, 8), levels=None, scales=2, steps=1, **LEAN, context_channels=2),
        (1, 4, 8),
        context=(2,),
    ),
    Case(
        "glow-spatial-context",
        partial(Glow, (1, 4, 8), levels=None, scales=2, steps=1, width=3, context_channels=2),
        (1, 4, 8),
        context=(2, 4, 8),
    ),
    Case(
        "inverse-flow-discrete-conditional",
        partial(InverseFlow, (1, 4, 4), levels=5, scales=1, steps=2, **LEAN, context_channels=2, max_row_sum=0.9),
        (1, 4, 4),
        context=(2,),
        levels=5,
    ),
    Case(
        "inverse-flow-variant",
        partial(
            InverseFlow,
            (2, 2, 4),
            levels=1000,
            scales=1,
            steps=2,
            kernel_size=2,
            **LEAN,
            spline="element",
            conv1x1="dense",
            preprocessing="center",
        ),
        (2, 2, 4),
        levels=1000,
    ),
    Case(
        "inverse-flow-plain",
        partial(InverseFlow, (1, 4, 4), levels=None, scales=1, steps=4, spline="none", conv1x1="none", width=3),
        (1, 4, 4),
    ),
    Case(
        "inverse-flow-sequence",
        partial(InverseFlow, (1, 8), levels=256, scales=2, steps=2, **LEAN, spline="element"),
        (1, 8),
        levels=256,
    ),
    Case(
        "inverse-flow-volume",
        partial(InverseFlow, (1, 2, 4, 2), levels=None, scales=1, steps=2, **LEAN, context_channels=2),
        (1, 2, 4, 2),
        context=(2,),
    ),
    *(
        Case(f"{name}-sequence", partial(flows.create, name, (2, 8), levels=None, scales=2, steps=1, **LEAN), (2, 8))
        for name in ("cinc", "finc", "emerging", "arma", "planar")
    ),
    *(
        Case(
            f"{name}-volume",
            partial(flows.create, name, (1, 2, 2, 4), levels=None, scales=1, steps=1, **LEAN),
            (1, 2, 2, 4),
        )
        for name in ("cinc", "arma")
    ),
    Case("glow", partial(Glow, (1, 4, 8), levels=17, scales=2, steps=1, **LEAN), (1, 4, 8), levels=17),
    Case(
        "glow-continuous",
        partial(Glow, (3, 4, 2), levels=None, scales=1, steps=2, **LEAN, spline="shared", conv1x1="dense"),
        (3, 4, 2),
    ),
    *(
        Case(name, partial(flows.create, name, (1, 4, 4), levels=None, scales=1, steps=1, **LEAN), (1, 4, 4))
        for name in ("cinc", "finc", "emerging", "arma", "exponential", "woodbury", "macow", "butterfly")
    ),
    Case("periodic", partial(flows.create, "periodic", (1, 6, 8), levels=None, scales=1, steps=1, **LEAN), (1, 6, 8)),
    Case(
        "self-normalizing",
        partial(flows.create, "self-normalizing", (1, 4, 4), levels=None, scales=1, steps=1, **LEAN),
        (1, 4, 4),
        surrogate=True,
    ),
    Case(
        "mintnet",
        partial(flows.create, "mintnet", (1, 4, 4), levels=None, scales=1, steps=2, width=8),
        (1, 4, 4),
    ),
    Case(
        "image-quad",
        partial(ImageFlow, (1, 4, 8), layer="cinc", levels=17, scales=2, steps=1, coupling="quad", **LEAN),
        (1, 4, 8),
        levels=17,
    ),
    Case(
        "image-mixture-gated",
        partial(
            ImageFlow,
            (1, 4, 4),
            layer="none",
            levels=None,
            scales=1,
            steps=1,
            coupling="mixture",
            components=2,
            conditioner="gated",
            depth=1,
            **LEAN,
        ),
        (1, 4, 4),
    ),
    Case(
        "image-vit-conditional",
        partial(
            ImageFlow,
            (1, 4, 8),
            levels=17,
            scales=1,
            steps=1,
            conv1x1="permutation",
            conditioner="vit",
            heads=1,
            depth=1,
            context_channels=2,
            **LEAN,
        ),
        (1, 4, 8),
        levels=17,
        context=(2,),
    ),
    Case(
        "image-autoregressive-conditional",
        partial(
            ImageFlow,
            (1, 4, 4),
            layer="none",
            levels=None,
            scales=1,
            steps=2,
            coupling="autoregressive",
            patch_size=1,
            heads=1,
            depth=1,
            context_channels=2,
            **LEAN,
        ),
        (1, 4, 4),
        context=(2,),
    ),
    Case(
        "image-variational",
        partial(
            ImageFlow,
            (1, 4, 4),
            layer="none",
            levels=5,
            scales=1,
            steps=1,
            spline="none",
            dequantization="variational",
            width=6,
        ),
        (1, 4, 4),
        levels=5,
    ),
    Case(
        "image-memory-efficient-woodbury",
        partial(ImageFlow, (1, 4, 2), layer="memory-efficient-woodbury", levels=None, scales=1, steps=1, **LEAN),
        (1, 4, 2),
    ),
    Case("nsf", partial(NSF, (3,), steps=2, width=4, spline_bins=3), (3,)),
    Case(
        "nsf-conditional",
        partial(NSF, (2,), steps=2, width=4, spline_bins=3, context_channels=2),
        (2,),
        context=(2,),
    ),
    Case("nsf-integer-columns", partial(NSF, (3,), steps=1, width=4, integer_columns=(1,)), (3,), integer_columns=(1,)),
    Case("realnvp", partial(RealNVP, (3,), steps=2, width=4), (3,)),
    Case("realnvp-householder", partial(RealNVP, (3,), steps=2, width=4, linear="householder"), (3,)),
    Case("nice", partial(NICE, (3,), width=16), (3,)),
    Case("nice-conditional", partial(NICE, (2,), steps=2, width=4, context_channels=2), (2,), context=(2,)),
    Case("maf", partial(MAF, (3,), steps=2, width=4), (3,)),
    Case("maf-conditional", partial(MAF, (2,), steps=2, width=8, context_channels=2), (2,), context=(2,)),
    Case("iaf", partial(IAF, (3,), steps=2, width=4), (3,)),
    Case(
        "nsf-ar-integer-columns",
        partial(AutoregressiveNSF, (3,), steps=2, width=4, spline_bins=3, integer_columns=(1,)),
        (3,),
        integer_columns=(1,),
    ),
    Case("realnvp-image", partial(ImageRealNVP, (1, 4, 6), levels=17, width=3, depth=1), (1, 4, 6), levels=17),
    Case(
        "realnvp-image-conditional",
        partial(ImageRealNVP, (2, 4, 2), levels=None, steps=1, width=3, depth=1, context_channels=2),
        (2, 4, 2),
        context=(2, 4, 2),
    ),
    Case(
        "realnvp-image-sequence",
        partial(ImageRealNVP, (1, 8), levels=None, scales=3, steps=1, width=3, depth=1),
        (1, 8),
    ),
    Case("rosenblatt", partial(RosenblattFlow, (3,), width=4, components=2), (3,)),
    Case(
        "rosenblatt-conditional",
        partial(RosenblattFlow, (2,), width=8, components=2, context_channels=2),
        (2,),
        context=(2,),
    ),
    Case("iresnet", partial(IResNet, (3,), steps=2, width=4), (3,)),
    Case("iresnet-conditional", partial(IResNet, (1,), steps=2, width=4, context_channels=2), (1,), context=(2,)),
    Case("iresnet-image", partial(ImageIResNet, (1, 4, 8), levels=17, steps=1, width=4), (1, 4, 8), levels=17),
    Case(
        "iresnet-image-conditional",
        partial(ImageIResNet, (1, 4, 2), levels=None, scales=1, steps=2, width=4, depth=1, context_channels=2),
        (1, 4, 2),
        context=(2,),
    ),
    Case(
        "iresnet-image-sequence",
        partial(ImageIResNet, (1, 8), levels=None, scales=2, steps=1, width=4, depth=1),
        (1, 8),
    ),
    Case("planar-flow", partial(VectorPlanarFlow, (3,), steps=2), (3,)),
    Case("planar-flow-of-samples", partial(VectorPlanarFlow, (3,), steps=2, explicit="sample"), (3,)),
    Case("radial-flow-conditional", partial(VectorRadialFlow, (2,), steps=2, context_channels=2), (2,), context=(2,)),
    Case("planar", partial(PlanarFlow, (1, 4, 8), levels=17), (1, 4, 8), levels=17),
    Case(
        "planar-exact",
        partial(PlanarFlow, (2, 2, 4), layer="exact", levels=None, scales=1, steps=2, spline="channel", spline_bins=3),
        (2, 2, 4),
    ),
    Case(
        "planar-emerging",
        partial(PlanarFlow, (2, 2, 4), layer="emerging", levels=None, scales=1, steps=2, kernel_size=3, spline_bins=3),
        (2, 2, 4),
    ),
]


DENSITIES = [
    Case("made-binary", partial(MADE, (8,), levels=2, width=16), (8,), levels=2),
    Case("made-image", partial(MADE, (2, 1, 3), levels=3, width=16, depth=2), (2, 1, 3), levels=3),
    Case("made-logistic", partial(MADE, (4,), levels=5, components=2, width=8, order="reversed"), (4,), levels=5),
    Case("made-one-element", partial(MADE, (1,), levels=7, width=4), (1,), levels=7),
    Case(
        "made-conditional",
        partial(MADE, (3,), levels=4, width=16, context_channels=2),
        (3,),
        context=(2,),
        levels=4,
    ),
    Case("made-mixture", partial(MADE, (5,), levels=2, width=16, orders=3, connectivities=2), (5,), levels=2),
    Case("made-continuous", partial(MADE, (2,), width=8), (2,)),
    Case(
        "made-continuous-conditional",
        partial(MADE, (1, 2), components=3, width=8, context_channels=2),
        (1, 2),
        context=(2,),
    ),
    Case("pixelcnn", partial(PixelCNN, (1, 3, 4), levels=2, width=6, depth=2), (1, 3, 4), levels=2),
    Case("pixelcnn-color", partial(PixelCNN, (2, 2, 3), levels=2, width=6, depth=2), (2, 2, 3), levels=2),
    Case(
        "pixelcnn-conditional",
        partial(PixelCNN, (1, 2, 3), levels=3, width=6, depth=2, context_channels=2),
        (1, 2, 3),
        context=(2,),
        levels=3,
    ),
    Case(
        "pixelrnn-conditional",
        partial(PixelRNN, (1, 2, 3), levels=3, width=3, depth=1, context_channels=2),
        (1, 2, 3),
        context=(2,),
        levels=3,
    ),
    Case(
        "pixelrnn", partial(PixelRNN, (1, 2, 4), levels=2, width=3, depth=2, first_kernel_size=3), (1, 2, 4), levels=2
    ),
    Case("pixelrnn-color", partial(PixelRNN, (2, 2, 2), levels=2, width=4, depth=1), (2, 2, 2), levels=2),
    Case(
        "pixelrnn-row",
        partial(PixelRNN, (1, 2, 4), levels=2, cell="row", width=3, depth=1, first_kernel_size=3),
        (1, 2, 4),
        levels=2,
        bounded=True,
    ),
    Case(
        "pixelcnn-plain",
        partial(PixelCNN, (1, 2, 4), levels=3, width=6, depth=1, first_kernel_size=3, gated=False),
        (1, 2, 4),
        levels=3,
        bounded=True,
    ),
    Case("wavenet", partial(WaveNet, (1, 6), levels=3, width=4, depth=3), (1, 6), levels=3),
    Case(
        "wavenet-logistic",
        partial(WaveNet, (1, 5), levels=5, components=2, width=4, depth=2),
        (1, 5),
        levels=5,
        bounded=True,
    ),
    Case(
        "wavenet-conditional",
        partial(WaveNet, (1, 4), levels=3, width=4, depth=2, context_channels=2),
        (1, 4),
        context=(2,),
        levels=3,
    ),
]


def each(cases: list[Case]):
    """Run a test once for each case."""
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


ONE_OF_EACH_CLASS = list({type(case.build()): case for case in reversed(LAYERS)}.values())[::-1]
"""The first layer of each class, for properties of the class."""

KINDS_OF_FLOWS = [
    case
    for case in FLOWS
    if case.name
    in (
        "inverse-flow",
        "inverse-flow-continuous",
        "inverse-flow-discrete-conditional",
        "glow",
        "image-quad",
        "planar",
        "nsf-conditional",
    )
]
"""Flows that differ in more than one layer: data, context, scales, coupling, or the image wing at all."""

each_layer = each(LAYERS)
each_layer_class = each(ONE_OF_EACH_CLASS)
each_continuous_layer = each([case for case in LAYERS if case.continuous])
each_flow = each(FLOWS)
each_continuous_flow = each([case for case in FLOWS if case.continuous])
each_discrete_flow = each([case for case in FLOWS if case.levels is not None])

each_density = each(DENSITIES)
each_discrete_density = each([case for case in DENSITIES if case.levels is not None])
