"""Density models: `Flow`, the ready-made image flows, and their registry."""

from inverseflow.flows.distribution import FlowDistribution
from inverseflow.flows.flow import Flow
from inverseflow.flows.glow import Glow
from inverseflow.flows.inverse_flow import InverseFlow
from inverseflow.flows.registry import create, flow_class, names, register
from inverseflow.flows.steps import Step

__all__ = ["Flow", "FlowDistribution", "Glow", "InverseFlow", "Step", "create", "flow_class", "names", "register"]
