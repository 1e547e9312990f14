"""Detectors of faces, plates and pedestrians behind one protocol."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from skimage.data import lbp_frontal_face_cascade_filename
from skimage.feature import Cascade
from torch import Tensor

from applications.anonymisation.boxes import Box, from_corners, without_doubles
from applications.anonymisation.mtcnn import Mtcnn
from applications.pictures import to_bytes
from experiments.folders import data_folder
from inverseflow.errors import DataError, MissingPackageError, OptionError

Pixels = NDArray[np.uint8]

FOLDER = "faces"
_LEAST = 24


class Detector(Protocol):
    """Finds boxes in a picture."""

    def detect(self, picture: Tensor) -> list[Box]:
        """Return boxes in a picture ``(3, H, W)`` with values from 0 to 1, best first."""


class LbpCascade:
    """Frontal faces by the cascade of local binary patterns that comes with scikit-image.

    Reference:
        Ahonen, Hadid and Pietikäinen, Face recognition with local binary patterns, 2004.
    """

    def __init__(self) -> None:
        self._cascade = Cascade(lbp_frontal_face_cascade_filename())

    def detect(self, picture: Tensor) -> list[Box]:
        """Return faces; the score is always 1."""
        pixels, size = _pixels(picture), tuple(picture.shape[1:])
        if min(size) < _LEAST:
            return []
        found = self._cascade.detect_multi_scale(
            img=pixels, scale_factor=1.2, step_ratio=1.3, min_size=(_LEAST, _LEAST), max_size=(min(size), min(size))
        )
        return [
            Box(place["c"], place["r"], place["c"] + place["width"], place["r"] + place["height"], "face", 1.0, "lbp")
            for place in found
        ]


class HaarCascade:
    """Faces or plates by a cascade of OpenCV.

    Args:
        path: of the cascade, an XML file.
        kind: of what it finds.
        name: of the detector.

    Reference:
        Viola and Jones, Rapid object detection using a boosted cascade of simple features, 2001.
    """

    def __init__(self, path: Path, kind: str, name: str) -> None:
        cv2 = opencv()
        if not path.is_file():
            raise DataError(f"there is no cascade {path}")
        self._cascade, self._kind, self._name = cv2.CascadeClassifier(str(path)), kind, name
        if self._cascade.empty():
            raise DataError(f"{path} is no cascade of OpenCV")

    def detect(self, picture: Tensor) -> list[Box]:
        """Return what was found; the score is always 1."""
        gray = opencv().cvtColor(_pixels(picture), opencv().COLOR_RGB2GRAY)
        found = np.array(self._cascade.detectMultiScale(gray, 1.1, 5, minSize=(20, 20)), dtype=float).reshape(-1, 4)
        corners = np.concatenate([found[:, :2], found[:, :2] + found[:, 2:], np.ones((len(found), 1))], 1)
        return from_corners(corners, self._kind, self._name, _size(picture))


class CenterFace:
    """Faces as points with a size, by the network CenterFace.

    Args:
        path: of ``centerface.onnx``.
        threshold: least score.

    Reference:
        Xu et al., CenterFace, 2019, https://arxiv.org/abs/1911.03599.
    """

    def __init__(self, path: Path, threshold: float = 0.5) -> None:
        if not path.is_file():
            raise DataError(f"there is no network {path}")
        self._path, self._threshold = path, threshold
        self._sized: tuple[Any, tuple[int, int]] = (None, (0, 0))
        self._net((32, 32))

    def detect(self, picture: Tensor) -> list[Box]:
        """Return faces."""
        height, width = _size(picture)
        high, wide = (32 * max(1, round(side / 32)) for side in (height, width))
        blob = opencv().dnn.blobFromImage(_pixels(picture), 1.0, (wide, high), swapRB=False)
        net = self._net((high, wide))
        net.setInput(blob)
        heat, scale, offset, _ = net.forward(["537", "538", "539", "540"])
        rows, columns = np.nonzero(heat[0, 0] > self._threshold)
        half = 2 * np.exp(scale[0][:, rows, columns])
        y = 4 * (rows + offset[0, 0, rows, columns] + 0.5)
        x = 4 * (columns + offset[0, 1, rows, columns] + 0.5)
        corners = np.stack([x - half[1], y - half[0], x + half[1], y + half[0]], 1)
        corners *= np.array([width / wide, height / high] * 2)
        scored = np.concatenate([corners, heat[0, 0, rows, columns, None]], 1)
        return without_doubles(from_corners(scored, "face", "centerface", (height, width)))

    def _net(self, size: tuple[int, int]) -> Any:
        """Return the network for one size: OpenCV's is wrong once another size has gone through it."""
        if self._sized[1] != size:
            self._sized = (opencv().dnn.readNetFromONNX(str(self._path)), size)
        return self._sized[0]


class MtcnnDetector:
    """Faces by the three networks of MTCNN.

    Args:
        folder: that holds ``mtcnn-pnet.safetensors`` and two more.
    """

    def __init__(self, folder: Path) -> None:
        self._net = Mtcnn.read(folder)

    def detect(self, picture: Tensor) -> list[Box]:
        """Return faces."""
        found = self._net.detect(picture).numpy()
        return from_corners(found, "face", "mtcnn", _size(picture))


class Pedestrians:
    """Pedestrians by OpenCV's histogram of oriented gradients: a measure of what a picture is still good for.

    Reference:
        Dalal and Triggs, Histograms of oriented gradients for human detection, 2005.
    """

    def __init__(self) -> None:
        self._hog = opencv().HOGDescriptor()
        self._hog.setSVMDetector(opencv().HOGDescriptor.getDefaultPeopleDetector())

    def detect(self, picture: Tensor) -> list[Box]:
        """Return pedestrians from 64 pixels of height on: the picture is doubled, for the window has 128."""
        doubled = opencv().resize(_pixels(picture), None, fx=2, fy=2)
        found, scores = self._hog.detectMultiScale(doubled, winStride=(8, 8), scale=1.1)
        found, scores = np.array(found, dtype=float).reshape(-1, 4) / 2, np.array(scores, dtype=float).reshape(-1, 1)
        corners = np.concatenate([found[:, :2], found[:, :2] + found[:, 2:], scores], 1)
        return without_doubles(from_corners(corners, "pedestrian", "hog", _size(picture)))


def opencv() -> Any:
    """Return OpenCV.

    Raises:
        MissingPackageError: if it is not installed, or has no cascades.
    """
    try:
        import cv2
    except ImportError as error:
        raise MissingPackageError(
            "this detector needs OpenCV: pip install 'opencv-python-headless<5'; the detector lbp does without"
        ) from error
    if not hasattr(cv2, "CascadeClassifier"):
        raise MissingPackageError(f"OpenCV {cv2.__version__} has no cascades: pip install 'opencv-python-headless<5'")
    return cv2


def detector(name: str, data_dir: Path | None) -> Detector:
    """Return a detector by its name.

    Args:
        name: one of `DETECTORS`.
        data_dir: folder that holds ``faces/``.

    Raises:
        OptionError: if there is none of that name.
        DataError: if its weights are missing.
        MissingPackageError: if it needs OpenCV.
    """
    if name not in DETECTORS:
        raise OptionError(f"there is no detector {name!r}; there are {', '.join(DETECTORS)}")
    return DETECTORS[name](data_dir)


def _haar(file: str, kind: str, name: str) -> Callable[[Path | None], Detector]:
    return lambda data_dir: HaarCascade(data_folder(FOLDER, data_dir) / f"haarcascade_{file}.xml", kind, name)


DETECTORS: dict[str, Callable[[Path | None], Detector]] = {
    "lbp": lambda data_dir: LbpCascade(),
    "haar": _haar("frontalface_default", "face", "haar"),
    "profile": _haar("profileface", "face", "profile"),
    "centerface": lambda data_dir: CenterFace(data_folder(FOLDER, data_dir) / "centerface.onnx"),
    "mtcnn": lambda data_dir: MtcnnDetector(data_folder(FOLDER, data_dir)),
    "plates": _haar("russian_plate_number", "plate", "plates"),
}
"""Detectors by name."""


def _pixels(picture: Tensor) -> Pixels:
    pixels: Pixels = np.ascontiguousarray(to_bytes(picture).permute(1, 2, 0).numpy())
    return pixels


def _size(picture: Tensor) -> tuple[int, int]:
    return picture.shape[1], picture.shape[2]
