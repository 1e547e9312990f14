"""Density models: the contract `Density`, autoregressive ones, the registry, saving, export, and the view of torch."""

from inverseflow.densities.autoencoder import Autoencoder
from inverseflow.densities.autoregressive import MADE, AutoregressiveDensity, PixelCNN, PixelRNN, WaveNet
from inverseflow.densities.density import BITS_PER_DIM, BITS_PER_SAMPLE, NATS, Density, Likelihood, Metric
from inverseflow.densities.distribution import DensityDistribution
from inverseflow.densities.export import export_onnx, exportable
from inverseflow.densities.gaussian_mixture import GaussianMixture
from inverseflow.densities.imputation import Imputation, impute
from inverseflow.densities.pretrained import load, save
from inverseflow.densities.registry import create, density_class, names, option_names, register
from inverseflow.densities.vae import VAE

__all__ = [
    "BITS_PER_DIM",
    "BITS_PER_SAMPLE",
    "MADE",
    "NATS",
    "VAE",
    "Autoencoder",
    "AutoregressiveDensity",
    "Density",
    "DensityDistribution",
    "GaussianMixture",
    "Imputation",
    "Likelihood",
    "Metric",
    "PixelCNN",
    "PixelRNN",
    "WaveNet",
    "create",
    "density_class",
    "export_onnx",
    "exportable",
    "impute",
    "load",
    "names",
    "option_names",
    "register",
    "save",
]
