"""Needs RDKit and selfies, which `pip install 'inverseflow[molecules]'` brings."""

import json

import pytest
import torch

pytest.importorskip("rdkit")
pytest.importorskip("selfies")

from experiments.__main__ import main
from experiments.molecules.strings import Alphabet, diversity, log_p, read_molecules


@pytest.fixture(scope="module")
def molecules(shared_data):
    return read_molecules(shared_data("molecules"), 200)


def test_bits_decode_to_the_molecules_that_they_encode(molecules):
    smiles, symbols = molecules
    alphabet = Alphabet.of(symbols, max(map(len, symbols)))
    bits = alphabet.encode(symbols)
    assert bits.shape == (200, alphabet.length * alphabet.bits) and bits.max() == 1
    assert alphabet.decode(bits) == smiles


def test_codes_of_no_symbol_and_empty_molecules_are_none():
    alphabet = Alphabet.of([["[C]", "[O]", "[N]", "[F]"]], 2)  # five symbols with the end, eight codes
    assert alphabet.bits == 3
    assert alphabet.decode(torch.tensor([[1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1]])) == [None, None]


def test_log_p_is_the_sum_of_crippens_contributions():
    methane = 0.1441 + 4 * 0.1230  # C1 and H1 of the published table
    assert float(log_p(["C"])) == pytest.approx(methane, abs=1e-4)


def test_equal_molecules_have_no_diversity(molecules):
    assert diversity(["CCO", "CCO"]) == 0
    assert 0.7 < diversity(molecules[0][:50]) < 0.95


@pytest.mark.slow
def test_the_experiment_runs(shared_data, tmp_path):
    folder = shared_data("molecules").parent
    assert main(["molecules", "--budget", "smoke", "--data-dir", str(folder), "-o", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "molecules.json").read_text())["complete"]
