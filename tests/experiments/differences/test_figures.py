import math

import torch

from experiments.differences.figures import figures
from inverseflow.bijections import ExponentialConv2d

FIGURES = figures()


def test_they_are_the_same_every_time():
    assert figures() == FIGURES


def test_the_scales_of_macow_are_sigmoids_of_its_bounds():
    assert [FIGURES["macow_low"], FIGURES["macow_high"]] == ["0.5", f"{1 / (1 + math.exp(-4)):.3f}"]


def test_terms_and_norm_are_the_defaults_of_the_layer():
    layer = ExponentialConv2d(3)
    assert float(FIGURES["norm"]) == layer.max_spectral_norm
    terms = [layer.terms(dtype) for dtype in (torch.float32, torch.float64)]
    assert [int(FIGURES["terms_float32"]), int(FIGURES["terms_float64"])] == terms


def test_every_row_whose_nats_and_bits_differ_is_named_with_both():
    rows = FIGURES["disagreements"].split("; ")
    assert len(rows) == 6
    assert rows[0] == "Emerging in table 2 (the printed 630 nats are 1.159 bits/dim, not 1.12)"


def test_the_copied_rows_are_those_of_table_4():
    assert FIGURES["copied"] == "Exact, Exponential, Emerging, SNF"
