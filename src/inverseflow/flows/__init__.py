"""Density models: `Flow`, the ready-made image flows, and their registry."""

from inverseflow.flows.distribution import FlowDistribution
from inverseflow.flows.flow import Flow
from inverseflow.flows.image.flow import ImageFlow
from inverseflow.flows.image.planar import PlanarFlow
from inverseflow.flows.image.presets import (
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
from inverseflow.flows.image.step import Step
from inverseflow.flows.registry import create, flow_class, names, register

__all__ = [
    "ARMAFlow",
    "ButterflyFlow",
    "CInCFlow",
    "EmergingFlow",
    "ExponentialFlow",
    "FInCFlow",
    "Flow",
    "FlowDistribution",
    "Glow",
    "ImageFlow",
    "InverseFlow",
    "MaCowFlow",
    "MintNetFlow",
    "PeriodicFlow",
    "PlanarFlow",
    "SelfNormalizingFlow",
    "Step",
    "WoodburyFlow",
    "create",
    "flow_class",
    "names",
    "register",
]
