"""Ordinary networks that parameterize bijections."""

from inverseflow.nets.context_maps import ContextMaps
from inverseflow.nets.conv import ConvNet, ZeroConv, ZeroConv2d
from inverseflow.nets.gated_resnet import GatedResNet
from inverseflow.nets.invauto import InvAuto
from inverseflow.nets.lipschitz import LipschitzConv, LipschitzLinear, LipschitzNet, LipSwish
from inverseflow.nets.masked import MaskedMLP
from inverseflow.nets.masked_conv import MaskedConv
from inverseflow.nets.mlp import MLP
from inverseflow.nets.resnet import ResNet
from inverseflow.nets.summary import GraphSummary, ImageSummary, SeriesSummary, SetSummary, Summary, create_summary
from inverseflow.nets.transformer import CausalTransformer, TransformerBlock, ViT

__all__ = [
    "MLP",
    "CausalTransformer",
    "ContextMaps",
    "ConvNet",
    "GatedResNet",
    "GraphSummary",
    "ImageSummary",
    "InvAuto",
    "LipSwish",
    "LipschitzConv",
    "LipschitzLinear",
    "LipschitzNet",
    "MaskedConv",
    "MaskedMLP",
    "ResNet",
    "SeriesSummary",
    "SetSummary",
    "Summary",
    "TransformerBlock",
    "ViT",
    "ZeroConv",
    "ZeroConv2d",
    "create_summary",
]
