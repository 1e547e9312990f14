"""Average precision of boxes, by pycocotools."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass

import numpy as np

from applications.traffic.detector import Found
from applications.traffic.scenes import Scene
from inverseflow.utils.packages import packages_for

_SMALL = 20.0


@dataclass(frozen=True)
class Precision:
    """Means over the classes that occur; 101 points of recall. NaN where nothing occurs."""

    at_half: float
    """mAP50: a box counts from an IoU of 0.5 on."""
    mean: float
    """mAP50–95: the mean over IoU from 0.5 to 0.95."""
    small: float
    """mAP50 of boxes of less than 20×20 pixels."""
    large: float
    """mAP50 of the others."""


def average_precision(scenes: Sequence[Scene], found: Sequence[Found], classes: int) -> Precision:
    """Compare what was found with what is there.

    Raises:
        MissingPackageError: if pycocotools is not installed.
    """
    with packages_for("average precision"):
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    truth, results = COCO(), []
    annotations: list[dict[str, object]] = []
    for image, (scene, boxes) in enumerate(zip(scenes, found, strict=True), 1):
        for box, kind in zip(scene.boxes.tolist(), scene.classes.tolist(), strict=True):
            annotations.append({"id": len(annotations) + 1, "iscrowd": 0, **_described(image, box, kind)})
        for box, kind, score in zip(boxes.boxes.tolist(), boxes.classes.tolist(), boxes.scores.tolist(), strict=True):
            results.append({**_described(image, box, kind), "score": score})
    truth.dataset = {
        "info": {},
        "images": [{"id": image + 1} for image in range(len(scenes))],
        "categories": [{"id": kind} for kind in range(classes)],
        "annotations": annotations,
    }
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results) if results else COCO(), "bbox")
        evaluation.params.areaRng = [[0, 1e10], [0, _SMALL**2], [_SMALL**2, 1e10]]
        evaluation.params.areaRngLbl = ["all", "small", "large"]
        if not results:
            evaluation.cocoDt.dataset = {"images": truth.dataset["images"], "annotations": [], "categories": []}
            evaluation.cocoDt.createIndex()
        evaluation.evaluate()
        evaluation.accumulate()
    table = evaluation.eval["precision"][..., -1]  # IoU, recall, class, area

    def mean(values: np.ndarray) -> float:
        return float(values[values > -1].mean()) if (values > -1).any() else float("nan")

    return Precision(mean(table[0, :, :, 0]), mean(table[..., 0]), mean(table[0, :, :, 1]), mean(table[0, :, :, 2]))


def _described(image: int, box: Sequence[float], kind: int) -> dict[str, object]:
    left, top, right, bottom = box
    size = [right - left, bottom - top]
    return {"image_id": image, "category_id": kind, "bbox": [left, top, *size], "area": size[0] * size[1]}
