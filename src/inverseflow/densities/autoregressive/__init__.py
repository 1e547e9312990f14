"""Densities without an inverse: one element after another, each given those before it."""

from inverseflow.densities.autoregressive.base import AutoregressiveDensity, Choose
from inverseflow.densities.autoregressive.made import MADE
from inverseflow.densities.autoregressive.pixelcnn import PixelCNN
from inverseflow.densities.autoregressive.pixelrnn import PixelRNN
from inverseflow.densities.autoregressive.wavenet import WaveNet

__all__ = ["MADE", "AutoregressiveDensity", "Choose", "PixelCNN", "PixelRNN", "WaveNet"]
