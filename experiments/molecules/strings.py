"""Molecules as SELFIES, and SELFIES as bits of one length; properties by RDKit."""

from __future__ import annotations

import csv
import gzip
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from inverseflow.errors import DataError
from inverseflow.utils.packages import packages_for

with packages_for("the experiment with molecules"):
    import selfies
    from rdkit import Chem, DataStructs, RDLogger
    from rdkit.Chem import Crippen, rdFingerprintGenerator

_END = "[nop]"  # fills what follows the last symbol
_FILE = "train-200k.csv.gz"

RDLogger.DisableLog("rdApp.*")  # it would print a line for each molecule that it refuses


@dataclass(frozen=True)
class Alphabet:
    """A code of SELFIES: each symbol is a number of so many bits.

    Example:
        >>> alphabet = Alphabet.of([["[C]", "[O]"], ["[C]"]], length=4)
        >>> alphabet.encode([["[C]"]]).tolist()
        [[0, 1, 0, 0, 0, 0, 0, 0]]
        >>> alphabet.decode(alphabet.encode([["[C]", "[O]"]]))
        ['CO']
    """

    symbols: tuple[str, ...]
    """The end first, then the symbols from the most frequent one on."""
    length: int
    """Symbols in a code."""

    @staticmethod
    def of(molecules: Sequence[Sequence[str]], length: int) -> Alphabet:
        """Return the code of the symbols that occur."""
        counts = Counter(symbol for molecule in molecules for symbol in molecule)
        return Alphabet(
            (_END, *(symbol for symbol, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])))), length
        )

    @property
    def bits(self) -> int:
        """Bits of one symbol."""
        return math.ceil(math.log2(len(self.symbols)))

    def encode(self, molecules: Sequence[Sequence[str]]) -> Tensor:
        """Return molecules as bits ``(N, length * bits)``, with the end in the rest of the places."""
        place = {symbol: number for number, symbol in enumerate(self.symbols)}
        numbers = torch.zeros(len(molecules), self.length, dtype=torch.long)
        for row, molecule in enumerate(molecules):
            numbers[row, : len(molecule)] = torch.tensor([place[symbol] for symbol in molecule])
        return ((numbers[:, :, None] >> torch.arange(self.bits - 1, -1, -1)) & 1).flatten(1).to(torch.uint8)

    def decode(self, bits: Tensor) -> list[str | None]:
        """Return canonical SMILES; None where the bits are no symbol, or the molecule is empty or no molecule."""
        weights = 1 << torch.arange(self.bits - 1, -1, -1)
        numbers = (bits.long().unflatten(1, (self.length, self.bits)) * weights).sum(2)
        return [self._molecule(row) for row in numbers.tolist()]

    def _molecule(self, numbers: list[int]) -> str | None:
        if max(numbers) >= len(self.symbols):
            return None
        symbols = [self.symbols[number] for number in numbers]
        text = "".join(symbols[: symbols.index(_END)] if _END in symbols else symbols)
        molecule = Chem.MolFromSmiles(selfies.decoder(text))
        return Chem.MolToSmiles(molecule) or None if molecule is not None else None


def read_molecules(folder: Path, count: int) -> tuple[list[str], list[list[str]]]:
    """Read the first molecules, as canonical SMILES and as symbols of SELFIES.

    Args:
        folder: the folder that holds ``train-200k.csv.gz``.
        count: number of molecules.

    Raises:
        DataError: if the file is missing.
    """
    path = folder / _FILE
    if not path.is_file():
        raise DataError(f"there is no {path}; name the folder that holds molecules/ with --data-dir")
    with gzip.open(path, "rt", newline="") as file:
        rows = csv.reader(file)
        next(rows)
        smiles = [row[0] for row, _ in zip(rows, range(count), strict=False)]
    symbols = [list(selfies.split_selfies(selfies.encoder(each))) for each in smiles]
    return [Chem.CanonSmiles(each) for each in smiles], symbols


def log_p(smiles: Sequence[str]) -> Tensor:
    """Return the logarithms of the partition coefficients between octanol and water, by Crippen's contributions.

    Reference:
        Wildman and Crippen, Prediction of Physicochemical Parameters by Atomic Contributions, 1999,
        https://doi.org/10.1021/ci990307l.

    Example:
        >>> round(float(log_p(["CCO"])), 4)  # ethanol
        -0.0014
    """
    return torch.tensor([Crippen.MolLogP(Chem.MolFromSmiles(each)) for each in smiles])


def diversity(smiles: Sequence[str]) -> float:
    """Return 1 minus the mean Tanimoto similarity of the Morgan fingerprints of different molecules."""
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    prints = [generator.GetFingerprint(Chem.MolFromSmiles(each)) for each in smiles]
    similar = [
        similarity
        for place, each in enumerate(prints)
        for similarity in DataStructs.BulkTanimotoSimilarity(each, prints[place + 1 :])
    ]
    return 1 - sum(similar) / len(similar) if similar else 0.0
