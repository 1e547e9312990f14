"""Folders of pictures with labels in the format of YOLO, and an adapter to models of ultralytics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from applications.pictures import SUFFIXES, read_picture, write_png
from applications.traffic.detector import Found
from applications.traffic.scenes import Scene
from inverseflow.errors import DataError, MissingPackageError
from inverseflow.utils.files import write_text

_SLACK = 1e-4


def write_folder(folder: Path, scenes: Sequence[Scene]) -> None:
    """Write ``images/NUMBER.png`` and ``labels/NUMBER.txt``."""
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for number, scene in enumerate(scenes):
        write_png(folder / "images" / f"{number:05}.png", scene.picture)
        size = (scene.picture.shape[1], scene.picture.shape[2])
        write_text(folder / "labels" / f"{number:05}.txt", to_text(scene.boxes, scene.classes, size))


def read_folder(folder: Path, classes: int) -> list[Scene]:
    """Read ``images`` and ``labels`` of a folder; a picture without a file of labels has no objects.

    Args:
        folder: the folder.
        classes: number of classes.

    Raises:
        DataError: if there are no pictures, or a line of the labels is wrong; the message names it.
    """
    paths = sorted(p for p in (folder / "images").glob("*") if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise DataError(f"{folder / 'images'} holds no picture ({', '.join(SUFFIXES)})")
    scenes = []
    for path in paths:
        picture, labels = read_picture(path), folder / "labels" / f"{path.stem}.txt"
        text = labels.read_text() if labels.is_file() else ""
        size = (picture.shape[1], picture.shape[2])
        scenes.append(Scene(picture, *from_text(text, size, classes=classes, source=labels)))
    return scenes


def to_text(boxes: Tensor, classes: Tensor, size: tuple[int, int]) -> str:
    """Return a line ``class cx cy w h`` for each box, in shares of the picture's width and height.

    Example:
        >>> print(to_text(torch.tensor([[10.0, 0.0, 30.0, 20.0]]), torch.tensor([2]), (40, 100)), end="")
        2 0.200000 0.250000 0.200000 0.500000
    """
    scale = torch.tensor([size[1], size[0]])
    centers, extent = (boxes[:, :2] + boxes[:, 2:]) / 2 / scale, (boxes[:, 2:] - boxes[:, :2]) / scale
    return "".join(
        f"{kind} {' '.join(f'{value:.6f}' for value in row)}\n"
        for kind, row in zip(classes.tolist(), torch.cat([centers, extent], 1).tolist(), strict=True)
    )


def from_text(text: str, size: tuple[int, int], *, classes: int, source: Path) -> tuple[Tensor, Tensor]:
    """Return the boxes in pixels and the classes of lines ``class cx cy w h``; the inverse of `to_text`.

    Args:
        text: the lines.
        size: height and width of the picture.
        classes: number of classes.
        source: the file, for messages.

    Raises:
        DataError: if a line holds anything else, the class is unknown, or the box is empty or leaves the picture.
    """
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        where = f"{source}, line {number}"
        try:
            kind, across, down, wide, high = (float(word) for word in line.split())
        except ValueError:
            raise DataError(f"{where}: it must be five numbers, class cx cy w h, got {line!r}") from None
        if kind not in range(classes):
            raise DataError(f"{where}: the class must be a whole number from 0 to {classes - 1}, got {line.split()[0]}")
        edges = (across - wide / 2, down - high / 2, across + wide / 2, down + high / 2)
        if not (wide > 0 and high > 0 and all(-_SLACK <= edge <= 1 + _SLACK for edge in edges)):
            raise DataError(f"{where}: the box must lie in the picture and not be empty, got {line!r}")
        rows.append([*edges, kind])
    found = torch.tensor(rows).view(-1, 5)
    scale = torch.tensor([size[1], size[0]] * 2)
    return found[:, :4] * scale, found[:, 4].long()


def ultralytics_detector(path: Path) -> Callable[[Tensor], Found]:
    """Return a function from a picture ``(3, H, W)`` to what a local model of ultralytics finds on it.

    Ultralytics is under the AGPL-3.0, or a commercial license: it is no extra of this package, and nothing else
    imports it. The class numbers are those of the model.

    Args:
        path: of the weights, a .pt file; nothing is downloaded.

    Raises:
        DataError: if there is no such file.
        MissingPackageError: if ultralytics is not installed.
    """
    if not path.is_file():
        raise DataError(f"there is no model {path}: give the .pt file of an ultralytics detector")
    try:
        from ultralytics import YOLO
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "a model of ultralytics needs the package 'ultralytics', under the AGPL-3.0: pip install ultralytics"
        ) from error
    model = YOLO(str(path))

    def detect(picture: Tensor) -> Found:
        (result,) = model.predict(picture[None], verbose=False)
        order = result.boxes.conf.argsort(descending=True)
        return Found(result.boxes.xyxy[order], result.boxes.cls[order].long(), result.boxes.conf[order])

    return detect
