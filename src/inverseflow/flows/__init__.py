"""Flows: `Flow`, the ready-made flows of images, sequences, volumes and vectors, and their registry."""

from inverseflow.densities import register
from inverseflow.flows.distilled import Distilled
from inverseflow.flows.flow import Flow
from inverseflow.flows.image.flow import ImageFlow
from inverseflow.flows.image.iresnet import ImageIResNet
from inverseflow.flows.image.named import (
    ARMAFlow,
    ButterflyFlow,
    CInCFlow,
    EmergingFlow,
    ExponentialFlow,
    FInCFlow,
    Glow,
    InverseFlow,
    MaCowFlow,
    MintNetFlow,
    PeriodicFlow,
    SelfNormalizingFlow,
    WoodburyFlow,
)
from inverseflow.flows.image.options import StepOptions
from inverseflow.flows.image.planar import PlanarFlow
from inverseflow.flows.image.realnvp import ImageRealNVP
from inverseflow.flows.image.step import Step
from inverseflow.flows.manifold import ManifoldFlow
from inverseflow.flows.registry import create, flow_class, names
from inverseflow.flows.vector.autoregressive import IAF, MAF, AutoregressiveNSF
from inverseflow.flows.vector.coupling import NSF, RealNVP
from inverseflow.flows.vector.flow import VectorFlow, VectorOptions
from inverseflow.flows.vector.iresnet import IResNet
from inverseflow.flows.vector.nice import NICE
from inverseflow.flows.vector.planar import VectorPlanarFlow, VectorRadialFlow
from inverseflow.flows.vector.rosenblatt import RosenblattFlow

__all__ = [
    "IAF",
    "MAF",
    "NICE",
    "NSF",
    "ARMAFlow",
    "AutoregressiveNSF",
    "ButterflyFlow",
    "CInCFlow",
    "Distilled",
    "EmergingFlow",
    "ExponentialFlow",
    "FInCFlow",
    "Flow",
    "Glow",
    "IResNet",
    "ImageFlow",
    "ImageIResNet",
    "ImageRealNVP",
    "InverseFlow",
    "MaCowFlow",
    "ManifoldFlow",
    "MintNetFlow",
    "PeriodicFlow",
    "PlanarFlow",
    "RealNVP",
    "RosenblattFlow",
    "SelfNormalizingFlow",
    "Step",
    "StepOptions",
    "VectorFlow",
    "VectorOptions",
    "VectorPlanarFlow",
    "VectorRadialFlow",
    "WoodburyFlow",
    "create",
    "flow_class",
    "names",
    "register",
]
