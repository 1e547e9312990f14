"""MTCNN: three small networks that propose faces, refine them, and decide."""

from __future__ import annotations

from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from inverseflow.errors import DataError

_LEAST = 24
_FACTOR = 0.709
_THRESHOLDS = (0.6, 0.7, 0.7)
_CELL, _STRIDE = 12, 2


class Mtcnn(nn.Module):
    """A cascade of three networks, of which each sees fewer boxes at a higher resolution.

    Reference:
        Zhang et al., Joint face detection and alignment using multitask cascaded convolutional networks, 2016,
        https://arxiv.org/abs/1604.02878.

    Example:
        >>> Mtcnn().detect(torch.zeros(3, 40, 50)).shape
        torch.Size([0, 5])
    """

    def __init__(self) -> None:
        super().__init__()
        self.pnet = _Net((3, 10, 16, 32), (3, 3, 3), (2,), ())
        self.pnet.add_module("conv4_1", nn.Conv2d(32, 2, 1))
        self.pnet.add_module("conv4_2", nn.Conv2d(32, 4, 1))
        self.rnet = _Net((3, 28, 48, 64), (3, 3, 2), (3, 3), (576, 128, 2, 4))
        self.onet = _Net((3, 32, 64, 64, 128), (3, 3, 3, 2), (3, 3, 2), (1152, 256, 2, 4, 10))

    @classmethod
    def read(cls, folder: Path) -> Mtcnn:
        """Return the networks with the weights of a folder.

        Raises:
            DataError: if a file is missing or holds another network.
        """
        model = cls()
        for name, net in model.named_children():
            path = folder / f"mtcnn-{name}.safetensors"
            if not path.is_file():
                raise DataError(f"there is no network {path}")
            try:
                net.load_state_dict(load_file(path))
            except (safetensors.SafetensorError, RuntimeError) as error:
                raise DataError(f"{path} does not hold the weights of MTCNN's {name}") from error
        return model.eval().requires_grad_(False)

    @torch.no_grad()
    def detect(self, picture: Tensor) -> Tensor:
        """Return faces in a picture ``(3, H, W)`` with values from 0 to 1.

        Returns:
            Rows of left, top, right, bottom and score, best first.
        """
        scaled = (255 * picture - 127.5) / 128
        boxes = self._proposed(scaled)
        if len(boxes):
            scores, moves = self.rnet.judged(_crops(scaled, boxes, 24))
            boxes = _square(_refined(boxes, scores, moves, _THRESHOLDS[1]))
        if len(boxes):
            scores, moves = self.onet.judged(_crops(scaled, boxes, 48))
            boxes = _refined(boxes, scores, moves, _THRESHOLDS[2])
        return boxes

    def _proposed(self, scaled: Tensor) -> Tensor:
        found = [torch.zeros(0, 9)]
        scale, side = _CELL / _LEAST, min(scaled.shape[1:])
        while side * scale >= _CELL:
            size = [int(length * scale + 1) for length in scaled.shape[1:]]
            small = F.interpolate(scaled[None], size, mode="area")
            features = self.pnet.features(small)
            scores = self.pnet.get_submodule("conv4_1")(features).softmax(1)[0, 1]
            moves = self.pnet.get_submodule("conv4_2")(features)[0]
            rows, columns = (scores > _THRESHOLDS[0]).nonzero(as_tuple=True)
            corners = torch.stack([columns, rows, columns, rows], 1) * _STRIDE + torch.tensor([1, 1, _CELL, _CELL])
            rated = torch.cat([corners / scale, scores[rows, columns, None], moves[:, rows, columns].T], 1)
            found.append(rated[_best(rated, 0.5)])
            scale *= _FACTOR
        rated = torch.cat(found)
        rated = rated[_best(rated, 0.7)]
        return _square(_shifted(rated[:, :5], rated[:, 5:]))


class _Net(nn.Module):
    """Convolutions and PReLUs, with pools after the first of them, then dense layers: scores, moves of the corners."""

    def __init__(
        self, channels: tuple[int, ...], sides: tuple[int, ...], pools: tuple[int, ...], dense: tuple[int, ...]
    ) -> None:
        super().__init__()
        self._pools = pools
        self._count = len(sides)
        for place, side in enumerate(sides, 1):
            self.add_module(f"conv{place}", nn.Conv2d(channels[place - 1], channels[place], side))
            self.add_module(f"prelu{place}", nn.PReLU(channels[place]))
        self._dense = self._count + 1
        if dense:
            self.add_module(f"dense{self._dense}", nn.Linear(dense[0], dense[1]))
            self.add_module(f"prelu{self._dense}", nn.PReLU(dense[1]))
            for place, out in enumerate(dense[2:], 1):
                self.add_module(f"dense{self._dense + 1}_{place}", nn.Linear(dense[1], out))

    def features(self, x: Tensor) -> Tensor:
        for place in range(self._count):
            x = self.get_submodule(f"prelu{place + 1}")(self.get_submodule(f"conv{place + 1}")(x))
            if place < len(self._pools):
                x = F.max_pool2d(x, self._pools[place], 2, ceil_mode=True)
        return x

    def judged(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probability of a face, and how far the corners should move, in units of the box."""
        flat = self.features(x).permute(0, 3, 2, 1).flatten(1)
        hidden = self.get_submodule(f"prelu{self._dense}")(self.get_submodule(f"dense{self._dense}")(flat))
        scores, moves = (self.get_submodule(f"dense{self._dense + 1}_{place}")(hidden) for place in (1, 2))
        return scores.softmax(1)[:, 1], moves


def _refined(boxes: Tensor, scores: Tensor, moves: Tensor, threshold: float) -> Tensor:
    kept = scores > threshold
    judged = _shifted(torch.cat([boxes[kept, :4], scores[kept, None]], 1), moves[kept])
    return judged[_best(judged, 0.7)]


def _shifted(boxes: Tensor, moves: Tensor) -> Tensor:
    size = boxes[:, 2:4] - boxes[:, :2]
    return torch.cat([boxes[:, :4] + moves * torch.cat([size, size], 1), boxes[:, 4:]], 1)


def _square(boxes: Tensor) -> Tensor:
    centre = (boxes[:, :2] + boxes[:, 2:4]) / 2
    half = (boxes[:, 2:4] - boxes[:, :2]).amax(1, keepdim=True) / 2
    return torch.cat([centre - half, centre + half, boxes[:, 4:]], 1)


def _best(boxes: Tensor, most: float) -> list[int]:
    """Return places of boxes, best first, of which none overlaps a better one by more than a share of their union."""
    corner, other = boxes[:, :2], boxes[:, 2:4]
    areas = (other - corner).prod(1)
    kept: list[int] = []
    free = torch.ones(len(boxes), dtype=torch.bool)
    for place in boxes[:, 4].argsort(descending=True).tolist():
        if free[place]:
            kept.append(place)
            shared = (torch.minimum(other, other[place]) - torch.maximum(corner, corner[place])).clamp(min=0).prod(1)
            free &= shared / (areas + areas[place] - shared).clamp(min=1e-9) <= most
    return kept


def _crops(scaled: Tensor, boxes: Tensor, side: int) -> Tensor:
    """Return what lies in each box, scaled to squares; what lies outside of the picture is 0."""
    height, width = scaled.shape[1:]
    cut = []
    for left, top, right, bottom in boxes[:, :4].round().long().tolist():
        outside = (max(0, -left), max(0, right - width), max(0, -top), max(0, bottom - height))
        inside = scaled[:, max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
        cut.append(F.interpolate(F.pad(inside, outside)[None], (side, side), mode="area"))
    return torch.cat(cut)
