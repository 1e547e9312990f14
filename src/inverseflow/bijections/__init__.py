"""Every invertible layer, and the combinators that make one bijection of several."""

from inverseflow.bijections.actnorm import ActNorm, initialize_from_data
from inverseflow.bijections.autoregressive import Autoregressive
from inverseflow.bijections.base import Bijection, Shape
from inverseflow.bijections.batchnorm import BatchNorm
from inverseflow.bijections.cdf import CDFTransform
from inverseflow.bijections.combinators import CheckpointedCompose, Compose, Inverse, ReversibleCompose
from inverseflow.bijections.context_affine import ContextAffine
from inverseflow.bijections.convolution.butterfly import Butterfly
from inverseflow.bijections.convolution.causal import (
    CausalConv1d,
    CausalConv2d,
    CausalConv3d,
    InverseConv1d,
    InverseConv2d,
    InverseConv3d,
)
from inverseflow.bijections.convolution.emerging import EmergingConv1d, EmergingConv2d, EmergingConv3d
from inverseflow.bijections.convolution.exact import ExactConv2d
from inverseflow.bijections.convolution.exponential import ExponentialConv2d
from inverseflow.bijections.convolution.finc import FInCConv1d, FInCConv2d, FInCConv3d
from inverseflow.bijections.convolution.macow import MaCow, MaskedConvFlow
from inverseflow.bijections.convolution.mintnet import MintNet
from inverseflow.bijections.convolution.periodic import PeriodicConv2d
from inverseflow.bijections.convolution.rational import RationalConv1d, RationalConv2d, RationalConv3d
from inverseflow.bijections.convolution.self_normalizing import SelfNormalizingConv2d
from inverseflow.bijections.convolution.woodbury import MemoryEfficientWoodbury, Woodbury
from inverseflow.bijections.coupling import AdditiveCoupling, AffineCoupling, Coupling, SplitPrior, TwoBranch
from inverseflow.bijections.linear import Conv1x1, Householder, LUConv1x1
from inverseflow.bijections.maps import (
    Additive,
    Affine,
    Bernstein,
    ComposedMap,
    ElementwiseMap,
    MixtureCDF,
    MonotoneNetwork,
    RationalQuadratic,
)
from inverseflow.bijections.multiscale import Multiscale
from inverseflow.bijections.patch_autoregressive import PatchAutoregressive
from inverseflow.bijections.planar import Planar, Radial
from inverseflow.bijections.preprocessing import Dequantize, Logit, Scale
from inverseflow.bijections.quad_coupling import QuadCoupling
from inverseflow.bijections.reshape import Permute, Squeeze
from inverseflow.bijections.residual import Residual
from inverseflow.bijections.rosenblatt import Rosenblatt
from inverseflow.bijections.spline_activation import SplineActivation
from inverseflow.bijections.splits import Channels, Checkerboard, Halves, Mask, Split
from inverseflow.bijections.tables import DequantizeColumns, Standardize
from inverseflow.bijections.transform import BijectionTransform
from inverseflow.bijections.variational import VariationalDequantize
from inverseflow.bijections.wavelet import WaveletSqueeze
from inverseflow.bijections.whiten import Whiten

__all__ = [
    "ActNorm",
    "Additive",
    "AdditiveCoupling",
    "Affine",
    "AffineCoupling",
    "Autoregressive",
    "BatchNorm",
    "Bernstein",
    "Bijection",
    "BijectionTransform",
    "Butterfly",
    "CDFTransform",
    "CausalConv1d",
    "CausalConv2d",
    "CausalConv3d",
    "Channels",
    "Checkerboard",
    "CheckpointedCompose",
    "Compose",
    "ComposedMap",
    "ContextAffine",
    "Conv1x1",
    "Coupling",
    "Dequantize",
    "DequantizeColumns",
    "ElementwiseMap",
    "EmergingConv1d",
    "EmergingConv2d",
    "EmergingConv3d",
    "ExactConv2d",
    "ExponentialConv2d",
    "FInCConv1d",
    "FInCConv2d",
    "FInCConv3d",
    "Halves",
    "Householder",
    "Inverse",
    "InverseConv1d",
    "InverseConv2d",
    "InverseConv3d",
    "LUConv1x1",
    "Logit",
    "MaCow",
    "Mask",
    "MaskedConvFlow",
    "MemoryEfficientWoodbury",
    "MintNet",
    "MixtureCDF",
    "MonotoneNetwork",
    "Multiscale",
    "PatchAutoregressive",
    "PeriodicConv2d",
    "Permute",
    "Planar",
    "QuadCoupling",
    "Radial",
    "RationalConv1d",
    "RationalConv2d",
    "RationalConv3d",
    "RationalQuadratic",
    "Residual",
    "ReversibleCompose",
    "Rosenblatt",
    "Scale",
    "SelfNormalizingConv2d",
    "Shape",
    "SplineActivation",
    "Split",
    "SplitPrior",
    "Squeeze",
    "Standardize",
    "TwoBranch",
    "VariationalDequantize",
    "WaveletSqueeze",
    "Whiten",
    "Woodbury",
    "initialize_from_data",
]
