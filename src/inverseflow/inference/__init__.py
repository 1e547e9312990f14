"""Inverse problems: from a simulator or pairs of parameters and observations to a posterior, p(x | y).

`Problem` is a prior and a simulator, `AmortizedPosterior` the posterior that is learned from pairs by one of several
methods (`method_names`), `Support` where parameters can lie. `invert` finds inputs of any trained network.
"""

from inverseflow.inference.diagnostics import Diagnosis, c2st, calibration_figure, corner_figure, diagnose
from inverseflow.inference.inversion import INVERSION_METHODS, Inversion, Reconstruction, invert, reconstruct
from inverseflow.inference.methods import Conditional, Training, build_method, method, method_names
from inverseflow.inference.pairs import Pairs, read_observations, read_pairs
from inverseflow.inference.posterior import AmortizedPosterior
from inverseflow.inference.problem import Problem, independent
from inverseflow.inference.sequential import refine
from inverseflow.inference.support import Above, Integer, Interval, Real, Simplex, Support

__all__ = [
    "INVERSION_METHODS",
    "Above",
    "AmortizedPosterior",
    "Conditional",
    "Diagnosis",
    "Integer",
    "Interval",
    "Inversion",
    "Pairs",
    "Problem",
    "Real",
    "Reconstruction",
    "Simplex",
    "Support",
    "Training",
    "build_method",
    "c2st",
    "calibration_figure",
    "corner_figure",
    "diagnose",
    "independent",
    "invert",
    "method",
    "method_names",
    "read_observations",
    "read_pairs",
    "reconstruct",
    "refine",
]
