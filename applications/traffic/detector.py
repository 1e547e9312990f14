"""A small anchor-free detector: a heat map of centers, sizes and offsets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from applications.models import Network
from applications.traffic.scenes import CLASSES, SIDE
from inverseflow.data import Batch
from inverseflow.densities import Density
from inverseflow.training import Loss
from inverseflow.utils.arguments import one_of, whole_number

Stem = Literal["convolutional", "windows"]
STEMS: tuple[Stem, ...] = ("convolutional", "windows")
STRIDE = 4
MOST = 4
"""Objects of a picture that a batch holds at most: its context is as many rows (left, top, right, bottom, class)."""
_WINDOW, _SHIFT = 7, 3


class Detector(Network):
    """Predict for every fourth pixel the classes of centers, the size of a box and the offset of its center.

    The network is fully convolutional: pictures may have any size.

    Args:
        stem: ``"convolutional"``: residual blocks at strides 4 and 8; ``"windows"``: attention in windows of 7×7
            places, every other time shifted by 3.
        width: channels at stride 4; for windows a multiple of 4.
        depth: residual blocks at each stride, or pairs of window blocks.
        size: height and width of the pictures that `fit` trains it on.

    Shape:
        x: ``(B, 3, H, W)``, values from 0 to 1; y: ``(B, classes + 4, H / 4, W / 4)``: logits of centers, logarithms
        of width and height, offsets across and down, both in places.

    Reference:
        Zhou et al., Objects as points, 2019, https://arxiv.org/abs/1904.07850; windows: Liu et al., Swin transformer,
        2021, https://arxiv.org/abs/2103.14030. Small and untrained, after their ideas.

    Example:
        >>> Detector(width=8)(torch.rand(2, 3, 60, 44)).shape
        torch.Size([2, 9, 15, 11])
    """

    def __init__(
        self, stem: Stem = "convolutional", *, width: int = 32, depth: int = 2, size: tuple[int, int] = (SIDE, SIDE)
    ) -> None:
        super().__init__((3, *size))
        self.stem = one_of("stem", stem, STEMS)
        width, depth = (whole_number(n, v, at_least=1) for n, v in (("width", width), ("depth", depth)))
        build = _Residual if stem == "convolutional" else _Windows
        self.body: nn.Module = build(width, depth)
        last = nn.Conv2d(width, len(CLASSES) + 4, 1)
        self.head = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.SiLU(), last)
        assert last.bias is not None
        nn.init.constant_(last.bias[: len(CLASSES)], -4.6)  # centers are rare
        nn.init.constant_(last.bias[len(CLASSES) : len(CLASSES) + 2], math.log(5))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the maps; the context, the truth of the loss, is not looked at."""
        y: Tensor = self.head(self.body(x - 0.5))
        return y


@dataclass(frozen=True)
class Found:
    """Boxes found on a picture, by falling score."""

    boxes: Tensor
    """``(n, 4)``: left, top, right, bottom in pixels."""
    classes: Tensor
    scores: Tensor


def encode(boxes: Tensor, classes: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Return what a perfect detector predicts.

    Args:
        boxes: ``(n, 4)`` in pixels.
        classes: ``(n,)``.
        size: height and width of the maps.

    Returns:
        The heat map ``(classes, *size)``, Gaussians about the centers that are 1 at the place of the center, the
        places ``(n, 2)`` across and down, and the sizes and offsets ``(n, 4)`` as in the output of `Detector`.
    """
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2 / STRIDE
    extent = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1) / STRIDE
    most = torch.tensor([size[1] - 1, size[0] - 1], device=boxes.device)
    places = torch.minimum(centers.long().clamp(min=0), most)
    heat = boxes.new_zeros(len(CLASSES), *size)
    rows = torch.arange(size[0], device=boxes.device)[:, None]
    columns = torch.arange(size[1], device=boxes.device)
    for kind, (across, down), (wide, high) in zip(classes.tolist(), places, extent, strict=True):
        spot = torch.exp(-((columns - across) ** 2 / (wide / 5) ** 2 + (rows - down) ** 2 / (high / 5) ** 2) / 2)
        heat[kind] = torch.maximum(heat[kind], spot)
    return heat, places, torch.cat([extent.log(), centers - places], 1)


def boxes_of(places: Tensor, values: Tensor) -> Tensor:
    """Return boxes in pixels from places ``(n, 2)`` and sizes and offsets ``(n, 4)``; the inverse of `encode`."""
    centers, extent = places + values[:, 2:], values[:, :2].clamp(max=6).exp()
    return STRIDE * torch.cat([centers - extent / 2, centers + extent / 2], 1)


@torch.no_grad()
def decode(maps: Tensor, *, most: int = 20, least: float = 0.05) -> list[Found]:
    """Return the boxes at the peaks of the heat maps.

    Args:
        maps: output of `Detector`.
        most: boxes of a picture at most.
        least: score below which a peak is left out.
    """
    heat = maps[:, : len(CLASSES)].sigmoid()
    heat = heat * (heat == F.max_pool2d(heat, 3, 1, 1))
    found = []
    for scores, values in zip(heat, maps[:, len(CLASSES) :], strict=True):
        best, where = scores.flatten().topk(min(most, scores.numel()))
        where, best = where[best >= least], best[best >= least]
        kinds, rest = where // scores[0].numel(), where % scores[0].numel()
        down, across = rest // scores.shape[2], rest % scores.shape[2]
        boxes = boxes_of(torch.stack([across, down], 1), values[:, down, across].T)
        found.append(Found(boxes, kinds, best))
    return found


def focal_loss(logits: Tensor, heat: Tensor) -> Tensor:
    r"""Return the sum of :math:`-(1-p)^2 \log p` at centers, and :math:`-(1-y)^4 p^2 \log(1-p)` elsewhere.

    Reference:
        Law and Deng, CornerNet, 2018, https://arxiv.org/abs/1808.01244, after Lin et al., 2017.
    """
    p = logits.sigmoid()
    at_center = (1 - p) ** 2 * -F.logsigmoid(logits)
    elsewhere = (1 - heat) ** 4 * p**2 * -F.logsigmoid(-logits)
    return torch.where(heat == 1, at_center, elsewhere).sum()


def complete_iou(first: Tensor, second: Tensor) -> Tensor:
    r"""Return the complete IoU of pairs of boxes ``(n, 4)``.

    .. math:: \text{IoU} - \frac{d^2}{c^2} - \alpha v, \qquad
        v = \frac{4}{\pi^2} \left(\arctan \frac{w}{h} - \arctan \frac{w'}{h'}\right)^2, \qquad
        \alpha = \frac{v}{1 - \text{IoU} + v}

    with d the distance of the centers and c the diagonal of the box around both.

    Reference:
        Zheng et al., Distance-IoU loss, 2020, https://arxiv.org/abs/1911.08287.

    Example:
        >>> box = torch.tensor([[0.0, 0.0, 4.0, 2.0]])
        >>> complete_iou(box, box), complete_iou(box, box + torch.tensor([2.0, 0.0, 2.0, 0.0]))
        (tensor([1.]), tensor([0.2333]))
    """
    sizes, others = first[:, 2:] - first[:, :2], second[:, 2:] - second[:, :2]
    inner = (torch.minimum(first[:, 2:], second[:, 2:]) - torch.maximum(first[:, :2], second[:, :2])).clamp(min=0)
    outer = torch.maximum(first[:, 2:], second[:, 2:]) - torch.minimum(first[:, :2], second[:, :2])
    shared = inner.prod(1)
    iou = shared / (sizes.prod(1) + others.prod(1) - shared)
    distance = ((first[:, :2] + first[:, 2:] - second[:, :2] - second[:, 2:]) / 2).square().sum(1)
    angles = (torch.atan2(each[:, 0], each[:, 1]) for each in (sizes, others))
    v = 4 / math.pi**2 * (next(angles) - next(angles)) ** 2
    with torch.no_grad():
        alpha = v / (1 - iou + v).clamp(min=1e-9)
    return iou - distance / outer.square().sum(1) - alpha * v


@dataclass(frozen=True)
class DetectionLoss:
    """Minimize the focal loss of centers and one minus the complete IoU of boxes, per object.

    The context of a batch holds the truth, ``(B, 5 · MOST)``: rows of left, top, right, bottom in pixels and the
    class, −1 for none.
    """

    def __call__(self, model: Density, batch: Batch, /) -> Loss:
        """Return the mean over the objects of a batch."""
        assert batch.context is not None
        maps = model(batch.x, batch.context)
        heats, predicted, wanted = [], [], []
        for values, truth in zip(maps[:, len(CLASSES) :], batch.context.view(len(maps), -1, 5), strict=True):
            truth = truth[truth[:, 4] >= 0]
            heat, places, _ = encode(truth[:, :4], truth[:, 4].long(), (maps.shape[2], maps.shape[3]))
            heats.append(heat)
            predicted.append(boxes_of(places, values[:, places[:, 1], places[:, 0]].T))
            wanted.append(truth[:, :4])
        objects = max(1, sum(map(len, wanted)))
        centers = focal_loss(maps[:, : len(CLASSES)], torch.stack(heats)) / objects
        boxes = (1 - complete_iou(torch.cat(predicted), torch.cat(wanted))).sum() / objects
        return Loss(centers + boxes, {"centers": centers, "boxes": boxes})


class _Residual(nn.Module):
    """Convolutions to stride 8 and back to 4."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        half = max(1, width // 2)
        self.first = nn.Sequential(
            nn.Conv2d(3, half, 3, 2, 1), nn.BatchNorm2d(half), nn.SiLU(), nn.Conv2d(half, width, 3, 2, 1)
        )
        self.fine = nn.Sequential(*(_Block(width) for _ in range(depth)))
        self.down = nn.Conv2d(width, 2 * width, 3, 2, 1)
        self.coarse = nn.Sequential(*(_Block(2 * width) for _ in range(depth)))
        self.up = nn.Conv2d(2 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.fine(self.first(x))
        coarse = self.up(self.coarse(self.down(fine)))
        merged: Tensor = fine + F.interpolate(coarse, fine.shape[2:])
        return merged


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, h: Tensor) -> Tensor:
        y: Tensor = h + self.inner(h)
        return y


class _Windows(nn.Module):
    """Patches of 4×4 pixels, and window attention."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, STRIDE, STRIDE)
        self.blocks = nn.ModuleList(_WindowBlock(width, shift) for _ in range(depth) for shift in (0, _SHIFT))

    def forward(self, x: Tensor) -> Tensor:
        height, width = (-(-size // STRIDE) for size in x.shape[2:])
        x = F.pad(x, (0, STRIDE * width - x.shape[3], 0, STRIDE * height - x.shape[2]))
        h: Tensor = self.first(x).permute(0, 2, 3, 1)
        for block in self.blocks:
            h = block(h)
        return h.permute(0, 3, 1, 2)


class _WindowBlock(nn.Module):
    def __init__(self, width: int, shift: int) -> None:
        super().__init__()
        self.attend = WindowAttention(width, shift=shift)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, h: Tensor) -> Tensor:
        h = h + self.attend(self.norms[0](h))
        y: Tensor = h + self.mlp(self.norms[1](h))
        return y


class WindowAttention(nn.Module):
    """Self-attention within windows, with a learned bias for each offset; the grid is rolled by `shift` before.

    Places that are no neighbors, since they were rolled over an edge or are padding, do not see each other.

    Args:
        width: channels, a multiple of `heads`.
        heads: number of heads.
        window: side of the windows in places.
        shift: by how many places the grid is rolled, from 0 to below the window.

    Shape:
        h: ``(B, H, W, width)``.
    """

    def __init__(self, width: int, *, heads: int = 4, window: int = _WINDOW, shift: int = 0) -> None:
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.mix, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.bias = nn.Parameter(torch.zeros(heads, (2 * window - 1) ** 2))
        places = torch.cartesian_prod(torch.arange(window), torch.arange(window))
        offsets = places[:, None] - places + window - 1
        self.offsets: Tensor
        self.register_buffer("offsets", offsets[..., 0] * (2 * window - 1) + offsets[..., 1], persistent=False)

    def forward(self, h: Tensor) -> Tensor:
        """Attend."""
        _, height, width, channels = h.shape
        padded = F.pad(h, (0, 0, 0, -width % self.window, 0, -height % self.window))
        rolled = padded.roll((-self.shift, -self.shift), (1, 2))
        parts = [self._windows(part) for part in self.mix(rolled).chunk(3, -1)]
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(2, 3) for part in parts)
        mask = self.bias[:, self.offsets] + self._mask(height, width, padded)[:, None]
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        y: Tensor = self.out(attended.transpose(2, 3).flatten(3))
        counts = [size // self.window for size in padded.shape[1:3]]
        y = y.unflatten(1, counts).unflatten(3, (self.window, self.window)).transpose(2, 3)
        y = y.reshape(len(h), *padded.shape[1:3], channels).roll((self.shift, self.shift), (1, 2))
        return y[:, :height, :width]

    def _windows(self, h: Tensor) -> Tensor:
        """Return ``(B, windows, places, channels)``."""
        h = h.unflatten(2, (-1, self.window)).unflatten(1, (-1, self.window))
        return h.transpose(2, 3).flatten(3, 4).flatten(1, 2)

    def _mask(self, height: int, width: int, padded: Tensor) -> Tensor:
        """Return ``(windows, places, places)``: 0 for neighbors, −∞ otherwise."""
        regions = []
        for size, whole in ((height, padded.shape[1]), (width, padded.shape[2])):
            rolled = (torch.arange(whole, device=padded.device) + self.shift) % whole
            wrapped = torch.arange(whole, device=padded.device) + self.shift >= whole
            regions.append(torch.where(rolled >= size, 2, wrapped.long()))
        region = (3 * regions[0][:, None] + regions[1])[None, :, :, None]
        region = self._windows(region)[0, :, :, 0]
        same = region[:, :, None] == region[:, None]
        return torch.zeros(same.shape, dtype=padded.dtype, device=padded.device).masked_fill(~same, -math.inf)
