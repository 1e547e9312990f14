"""Shapes of airfoils as Kulfan's parameters, and NeuralFoil, a network that predicts lift and drag, in torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inverseflow.errors import DataError

WEIGHTS = 8
"""Kulfan weights of each surface."""
SHAPE = 2 * WEIGHTS + 2
"""Numbers of a shape: weights of the upper surface, of the lower one, of the leading edge; trailing-edge thickness."""

_MIRROR = [*range(WEIGHTS, 2 * WEIGHTS), *range(WEIGHTS)]
_CRITICAL = 9.0  # amplification at which the boundary layer becomes turbulent, the usual value for a wind tunnel


@dataclass(frozen=True)
class Polar:
    """Coefficients of an airfoil at an angle of attack, each ``(B,)``."""

    lift: Tensor
    """Lift coefficient."""
    drag: Tensor
    """Drag coefficient."""
    moment: Tensor
    """Moment coefficient about the quarter chord."""
    confidence: Tensor
    """How far the network trusts itself, between 0 and 1."""


class NeuralFoil(nn.Module):
    r"""Predict lift, drag and moment from shape and angle of attack: a network that its authors trained on XFOIL.

    It is a surrogate, not the truth: where its confidence is low, neither number means much. The network is evaluated
    on the shape and on its mirror image, so that a symmetric shape has no lift at zero angle.

    Args:
        folder: the folder that holds ``neuralfoil-SIZE.npz``.
        size: ``"small"``, ``"large"`` or ``"xxlarge"``.

    Raises:
        DataError: if the weights are missing.

    Reference:
        Sharpe and Hansman, `NeuralFoil <https://arxiv.org/abs/2503.16323>`_, 2025.
    """

    def __init__(self, folder: Path, size: str = "large") -> None:
        super().__init__()
        weights = _arrays(folder / f"neuralfoil-{size}.npz")
        distribution = _arrays(folder / "neuralfoil-input-distribution.npz")
        names = sorted((name for name in weights if name.endswith("weight")), key=lambda name: int(name.split(".")[1]))
        self.layers = nn.ModuleList()
        for name in names:
            outputs, inputs = weights[name].shape
            layer = nn.Linear(inputs, outputs)
            layer.load_state_dict({"weight": weights[name], "bias": weights[name.replace("weight", "bias")]})
            self.layers.append(layer)
        self.mean: Tensor
        self.precision: Tensor
        self.register_buffer("mean", distribution["mean_inputs_scaled"])
        self.register_buffer("precision", distribution["inv_cov_inputs_scaled"].float())
        self.requires_grad_(False)

    def forward(self, shape: Tensor, angle: Tensor, reynolds: float = 1e6) -> Polar:
        """Return the coefficients.

        Args:
            shape: ``(B, 18)``: weights of the upper surface, of the lower one, of the leading edge, and the thickness
                of the trailing edge in chords.
            angle: angles of attack ``(B,)`` in degrees.
            reynolds: Reynolds number.
        """
        radians = torch.deg2rad(angle)
        flow = torch.full_like(angle, (math.log(reynolds) - 12.5) / 3.5)
        free = torch.ones_like(angle)  # transition is not forced
        edge, gap = shape[:, 2 * WEIGHTS], 50 * shape[:, 2 * WEIGHTS + 1]
        sine, cosine = torch.sin(2 * radians), torch.cos(radians)
        rest = [cosine, 1 - cosine.square(), flow, torch.full_like(angle, (_CRITICAL - 9) / 4.5), free, free]
        straight = torch.cat([shape[:, : 2 * WEIGHTS], torch.stack([edge, gap, sine, *rest], 1)], 1)
        mirrored = torch.cat([-shape[:, _MIRROR], torch.stack([-edge, gap, -sine, *rest], 1)], 1)
        (here, there) = self._network(torch.cat([straight, mirrored])).chunk(2)
        logit, half_log_drag = ((here[:, place] + there[:, place]) / 2 for place in (0, 2))
        lift, moment = ((here[:, place] - there[:, place]) / 2 for place in (1, 3))
        return Polar(lift / 2, torch.exp(2 * (half_log_drag - 2)), moment / 20, torch.sigmoid(logit))

    def _network(self, inputs: Tensor) -> Tensor:
        hidden = inputs
        for layer in self.layers[:-1]:
            hidden = F.silu(layer(hidden))
        outputs: Tensor = self.layers[-1](hidden)
        away = inputs - self.mean
        distance = (away @ self.precision * away).sum(1)
        return torch.cat([outputs[:, :1] - distance[:, None] / 50, outputs[:, 1:]], 1)


def surfaces(shape: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return the heights ``(B, len(x))`` of the upper and the lower surface, in chords.

    .. math:: y(x) = \sqrt x (1 - x) \sum_i w_i \tbinom7i x^i (1 - x)^{7 - i} + l x (1 - x)^{8.5} \pm \tfrac12 t x

    Args:
        shape: ``(B, 18)``.
        x: places along the chord, from 0 to 1.

    Reference:
        Kulfan, Universal Parametric Geometry Representation Method, Journal of Aircraft 45(1), 2008,
        https://doi.org/10.2514/1.29958.

    Example:
        >>> upper, lower = surfaces(torch.zeros(1, 18), torch.linspace(0, 1, 5))
        >>> float((upper - lower).abs().max())
        0.0
    """
    orders = torch.arange(WEIGHTS)
    binomials = torch.tensor([math.comb(WEIGHTS - 1, order) for order in range(WEIGHTS)], dtype=x.dtype)
    basis = binomials * x[:, None] ** orders * (1 - x[:, None]) ** (WEIGHTS - 1 - orders)
    basis = x.sqrt()[:, None] * (1 - x)[:, None] * basis
    upper, lower, edge, gap = shape.split([WEIGHTS, WEIGHTS, 1, 1], 1)
    both = edge * x * (1 - x) ** 8.5
    half = gap * x / 2
    return upper @ basis.T + both + half, lower @ basis.T + both - half


def thickness(shape: Tensor) -> tuple[Tensor, Tensor]:
    """Return the largest and the smallest thickness ``(B,)`` inside the chord; below zero the surfaces cross."""
    x = torch.linspace(0.01, 0.99, 99, dtype=shape.dtype)
    upper, lower = surfaces(shape, x)
    return (upper - lower).amax(1), (upper - lower).amin(1)


@dataclass(frozen=True)
class Airfoils:
    """Shapes of real airfoils."""

    names: tuple[str, ...]
    shapes: Tensor
    """``(N, 18)``."""

    @property
    def families(self) -> tuple[str, ...]:
        """The letters that a name begins with: airfoils of one family are alike."""
        return tuple(
            "".join(letter for letter in name if letter.isalpha())[:3].lower() or name[:3] for name in self.names
        )


def read_airfoils(folder: Path) -> Airfoils:
    """Read the clean shapes of airfoils.npz whose surfaces do not cross, each once.

    Raises:
        DataError: if the file is missing.
    """
    path = folder / "airfoils.npz"
    if not path.is_file():
        raise DataError(f"there is no {path}; name the folder that holds airfoils/ with --data-dir")
    with np.load(path, allow_pickle=False) as file:
        names, shapes, clean = file["names"], torch.from_numpy(file["kulfan"]), torch.from_numpy(file["clean"])
    usable = clean & (thickness(shapes)[1] > 0) & (shapes.abs().amax(1) < 1.5)
    first = np.unique(shapes.numpy().round(4), axis=0, return_index=True)[1]
    rows = [row for row in sorted(first.tolist()) if usable[row]]
    return Airfoils(tuple(str(names[row]) for row in rows), shapes[rows])


def _arrays(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise DataError(f"there is no {path}; name the folder that holds airfoils/ with --data-dir")
    with np.load(path, allow_pickle=False) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}
