"""The experiments by name."""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple

from experiments.experiment import Experiment
from inverseflow.errors import OptionError


class Entry(NamedTuple):
    """Where an experiment is defined, and what it is about."""

    module: str
    """Holds the experiment in its ``EXPERIMENTS``, below `experiments` unless it names a folder of `applications`;
    imported only when it is asked for."""
    summary: str
    """One line for the help."""
    choices: tuple[str, ...] = ()
    """Names of the options that choose what is measured, each a list."""


_TABLE, _SWEEP = "trained.paper", "sweeps"
REGISTRY = {
    "bijectivity": Entry("bijectivity", "errors of every layer's round trip and log-determinant"),
    "speedup": Entry("speedup", "sampling time of every flow, and of solving pixel by pixel"),
    "table2": Entry(_TABLE, "MNIST, two scales of four steps: likelihood, time, memory"),
    "table3": Entry(_TABLE, "MNIST, two scales of sixteen steps"),
    "table4": Entry(_TABLE, "MNIST, nine linear layers"),
    "table5": Entry(_TABLE, "CIFAR-10, two scales of four steps"),
    "table6": Entry(_TABLE, "CIFAR-10, two scales of sixteen steps"),
    "table7": Entry(_SWEEP, "time and memory of Inverse-Flow by image size"),
    "table8": Entry(_SWEEP, "time and memory of FInC Flow by image size"),
    "table9": Entry(_SWEEP, "time and memory of Inverse-Flow by batch size"),
    "table10": Entry(_SWEEP, "time and memory of Inverse-Flow by kernel size"),
    "figure1": Entry("figure1", "images encoded and decoded, and the errors that remain"),
    "likelihoods": Entry(
        "likelihoods", "exact likelihoods and bounds, beside simple models and known entropies", ("lines",)
    ),
    "arma": Entry("arma", "when a convolution followed by the inverse of another pays"),
    "blocks": Entry("blocks", "image flows at equal parameters: what mixes, which network, one option at a time"),
    "scalability": Entry("scalability", "time of one layer by image size and number of channels"),
    "deblurring": Entry("deblurring.experiment", "deconvolution by inverse convolutions, Wiener and Richardson–Lucy"),
    "design": Entry("design.experiment", "airfoils with a wanted lift, drag and thickness"),
    "molecules": Entry("molecules.experiment", "molecules with a wanted log P"),
    "graphs": Entry("graphs.experiment", "features of nodes given labels, and graphs with wanted properties"),
    "sbibm": Entry(
        "sbibm.experiment",
        "posteriors of ten published tasks beside reference samples",
        ("tasks", "simulations", "methods"),
    ),
    "inversion": Entry("inversion", "evaluations that each method needs to find an input with a given output"),
    "classifier": Entry("classifier.experiment", "a classifier of two inverse convolutions with 16 parameters"),
    "science": Entry("science.experiment", "posteriors of six problems of astronomy and wind energy, with references"),
    "anomaly": Entry(
        "anomaly.experiment", "anomalies in tables and digits, beside scikit-learn's detectors", ("sets",)
    ),
    "ood": Entry("ood", "images from elsewhere: where the likelihood fails, and what does not"),
    "incremental": Entry("applications.incremental.experiment", "digits learned class by class, without forgetting"),
    "energy": Entry("applications.energy.experiment", "faults in series of load, on windows and on their latents"),
    "hybrid": Entry("hybrid", "accuracy and likelihood of an invertible classifier by their weight"),
    "geology": Entry("applications.geology.experiment", "maps of rocks and soils from the bands of satellites"),
    "steganography": Entry("applications.steganography.experiment", "pictures hidden in pictures, beside lower bits"),
    "style": Entry("applications.style.experiment", "content recovered from stylized pictures, and stains normalized"),
    "restoration": Entry(
        "applications.restoration.experiment", "noise and blur removed, and digits from a quarter of their numbers"
    ),
    "anonymisation": Entry(
        "applications.anonymisation.experiment", "faces that are replaced: what is left of them, and of the picture"
    ),
    "seeds": Entry("applications.seeds.experiment", "rare classes filled by generated pictures, and labels chosen"),
    "defects": Entry("applications.defects.experiment", "synthetic defects on textures, and maps of where they are"),
    "art": Entry(
        "applications.art.experiment", "eleven kinds of damage restored by diffusion, with a U-Net of couplings"
    ),
    "traffic": Entry(
        "applications.traffic.experiment",
        "traffic signs in six conditions, missing signs, and conditions by likelihood",
    ),
    "inverse-benchmark": Entry("inverse_benchmark.experiment", "every method of inference on two problems"),
}
"""In the order of the page."""


def experiment_named(name: str) -> Experiment:
    """Return the experiment of that name.

    Raises:
        OptionError: if there is none; the message lists the names.

    Example:
        >>> experiment_named("bijectivity").title
        'Bijectivity'
    """
    if name not in REGISTRY:
        raise OptionError(f"there is no experiment {name!r}; there are {', '.join(REGISTRY)}")
    module = REGISTRY[name].module
    module = module if module.startswith("applications.") else f"experiments.{module}"
    experiments: tuple[Experiment, ...] = import_module(module).EXPERIMENTS
    return next(experiment for experiment in experiments if experiment.name == name)
