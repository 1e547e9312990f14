"""Diagnostics: whether a posterior can be trusted, in figures, pictures and words."""

from inverseflow.inference.diagnostics.c2st import c2st, joint_c2st
from inverseflow.inference.diagnostics.contraction import contraction
from inverseflow.inference.diagnostics.coverage import Coverage, expected_coverage
from inverseflow.inference.diagnostics.diagnosis import Diagnosis, diagnose
from inverseflow.inference.diagnostics.figures import calibration_figure, corner_figure
from inverseflow.inference.diagnostics.mismatch import Mismatch, posterior_mismatch
from inverseflow.inference.diagnostics.resimulation import Resimulation, resimulation_error
from inverseflow.inference.diagnostics.sbc import RankTest, sbc_ranks, sbc_test

__all__ = [
    "Coverage",
    "Diagnosis",
    "Mismatch",
    "RankTest",
    "Resimulation",
    "c2st",
    "calibration_figure",
    "contraction",
    "corner_figure",
    "diagnose",
    "expected_coverage",
    "joint_c2st",
    "posterior_mismatch",
    "resimulation_error",
    "sbc_ranks",
    "sbc_test",
]
