"""Inputs of a trained network for which it returns a target."""

from inverseflow.inference.inversion.invert import INVERSION_METHODS, Inversion, InversionMethod, invert
from inverseflow.inference.inversion.reconstruct import Reconstruction, reconstruct

__all__ = ["INVERSION_METHODS", "Inversion", "InversionMethod", "Reconstruction", "invert", "reconstruct"]
