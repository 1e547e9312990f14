"""EfficientNet-Lite0, whose feature maps tell what a picture shows and what it looks like."""

from __future__ import annotations

from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.folders import data_folder
from inverseflow.errors import DataError

FOLDER, FILE = "backbone", "efficientnet-lite0.safetensors"

_STAGES = (
    # expansion, side of the kernel, stride, channels, blocks
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)


class EfficientNetLite0(nn.Module):
    """The stem and the 16 blocks of EfficientNet-Lite0, without the layers that name classes.

    Args:
        blocks: how many blocks to build; the others are left out.

    Shape:
        pictures: ``(N, 3, H, W)`` from 0 to 1; output: the features of the last block. Blocks 0, 2, 4, 7, 10, 14 and 15
        end a stage, with 16, 24, 40, 80, 112, 192 and 320 channels at 1/2, 1/4, 1/8, 1/16, 1/16, 1/32 and 1/32 of the
        size.

    Reference:
        Tan and Le, EfficientNet, 2019, https://arxiv.org/abs/1905.11946. Lite: no squeeze-and-excitation, and ReLU6.

    Example:
        >>> EfficientNetLite0(blocks=5)(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 40, 8, 8])
    """

    def __init__(self, blocks: int = 16) -> None:
        super().__init__()
        self._conv_stem = _Convolution(3, 32, 3, stride=2)
        self._bn0 = _norm(32)
        built, channels = [], 32
        for expansion, kernel, stride, out, repeats in _STAGES:
            for number in range(repeats):
                built.append(_Block(channels, out, expansion, kernel, stride if number == 0 else 1))
                channels = out
        self._blocks = nn.Sequential(*built[:blocks])

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the features of the last block."""
        features: Tensor = self._blocks(self.stem(pictures))
        return features

    def stem(self, pictures: Tensor) -> Tensor:
        """Return the features ``(N, 32, H/2, W/2)`` before the first block."""
        scaled = (255 * pictures - 127) / 128
        return F.relu6(self._bn0(self._conv_stem(scaled)))

    def pyramid(self, pictures: Tensor, places: tuple[int, ...]) -> list[Tensor]:
        """Return the features after the stem (place -1) and some blocks, in the order of the network."""
        features = self.stem(pictures)
        found = [features] if -1 in places else []
        for number, block in enumerate(self._blocks):
            features = block(features)
            if number in places:
                found.append(features)
        return found


def pretrained(data_dir: Path | None, blocks: int = 16) -> EfficientNetLite0:
    """Return the network with its ImageNet weights, frozen.

    Args:
        data_dir: the folder of the data sets; None for the one that `INVERSEFLOW_DATA` names.
        blocks: how many blocks to load.

    Raises:
        DataError: if the folder is missing, or does not hold the weights.
    """
    path = data_folder(FOLDER, data_dir) / FILE
    network = EfficientNetLite0(blocks)
    wanted = network.state_dict()
    try:
        weights = safetensors.torch.load_file(path)
        network.load_state_dict({name: weights[name] for name in wanted})
    except (OSError, safetensors.SafetensorError, KeyError, RuntimeError) as error:
        raise DataError(f"{path} does not hold the weights of EfficientNet-Lite0: {error!r}") from error
    return network.eval().requires_grad_(False)


class _Convolution(nn.Conv2d):
    """A convolution with the padding that TensorFlow calls "same": the odd pixel goes behind."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(in_channels, out_channels, kernel, stride, groups=groups, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        margins = []
        for size, kernel, stride in zip(input.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            margin = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            margins += [margin // 2, margin - margin // 2]
        convolved: Tensor = super().forward(F.pad(input, margins))
        return convolved


class _Block(nn.Module):
    """An inverted bottleneck: expand, convolve each channel, project, and add the input where shapes agree."""

    def __init__(self, in_channels: int, out_channels: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        width = expansion * in_channels
        self._expanded = expansion > 1
        if self._expanded:
            self._expand_conv = _Convolution(in_channels, width, 1)
            self._bn0 = _norm(width)
        self._depthwise_conv = _Convolution(width, width, kernel, stride=stride, groups=width)
        self._bn1 = _norm(width)
        self._project_conv = _Convolution(width, out_channels, 1)
        self._bn2 = _norm(out_channels)
        self._added = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        wide = F.relu6(self._bn0(self._expand_conv(x))) if self._expanded else x
        wide = F.relu6(self._bn1(self._depthwise_conv(wide)))
        h: Tensor = self._bn2(self._project_conv(wide))
        return h + x if self._added else h


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)
