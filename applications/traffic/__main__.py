"""The command line: ``python -m applications.traffic``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from applications.pictures import read_picture, write_png
from applications.traffic.detector import Found
from applications.traffic.labels import read_folder, write_folder
from applications.traffic.models import (
    WEIGHTS,
    detect,
    load_detector,
    save_detector,
    test_scenes,
    train_detector,
    training_scenes,
)
from applications.traffic.precision import average_precision
from applications.traffic.scenes import CLASSES, CONDITIONS, in_condition
from benchmarks.command import Parser, execute
from inverseflow.errors import OptionError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = Parser(prog="python -m applications.traffic", description="Find traffic signs on pictures.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    find = commands.add_parser("detect", help="find signs on a picture", description="Find signs on a picture.")
    find.add_argument("picture", type=Path, help="a picture")
    find.add_argument("-o", "--out", type=Path, help="where to write the picture with frames, a .png file")
    find.add_argument("--least", type=float, default=0.3, help="least score, from 0 to 1 (default: 0.3)")
    find.add_argument("--model", type=Path, default=WEIGHTS, help="another file of weights, made by train")
    find.set_defaults(run=_detect)
    draw = commands.add_parser(
        "render",
        help="render scenes with labels",
        description="Render scenes of pictures and designs that training does not see, with labels as YOLO has them.",
    )
    draw.add_argument("folder", type=Path, help="where to write images/ and labels/")
    draw.add_argument("--scenes", type=int, default=100, help="how many (default: 100)")
    draw.add_argument("--condition", choices=CONDITIONS, default="normal", help="which condition (default: normal)")
    draw.add_argument("--severity", type=float, default=0.85, help="of the condition, 0 to 1 (default: 0.85)")
    draw.add_argument("--seed", type=int, default=1, help="seed (default: 1)")
    draw.set_defaults(run=_render)
    judge = commands.add_parser(
        "evaluate",
        help="measure average precision on a folder",
        description="Measure average precision on a folder with images/ and labels/ as YOLO has them.",
    )
    judge.add_argument("folder", type=Path, help="the folder; its classes are " + ", ".join(CLASSES))
    judge.add_argument("--model", type=Path, default=WEIGHTS, help="another file of weights, made by train")
    judge.set_defaults(run=_evaluate)
    learn = commands.add_parser(
        "train", help="train the detector and write its weights", description="Train the detector in conditions."
    )
    learn.add_argument("-o", "--out", type=Path, default=WEIGHTS, help="file of weights")
    learn.add_argument("--steps", type=int, default=400, help="training steps (default: 400)")
    learn.add_argument("--scenes", type=int, default=1000, help="scenes to render (default: 1000)")
    learn.add_argument("--seed", type=int, default=0, help="seed (default: 0)")
    learn.set_defaults(run=_train)
    folder = os.environ.get("INVERSEFLOW_DATA")
    for command in (draw, learn):
        command.add_argument(
            "--data-dir",
            type=Path,
            default=None if folder is None else Path(folder),
            help="folder with traffic-signs/ and photos/ in it (default: that of INVERSEFLOW_DATA)",
        )
    return execute(parser, argv)


def _detect(options: argparse.Namespace) -> None:
    _check_share("--least", options.least)
    picture, model = read_picture(options.picture), load_detector(options.model)
    (found,) = detect(model, [picture])
    kept = found.scores >= options.least
    found = Found(found.boxes[kept], found.classes[kept], found.scores[kept])
    for box, kind, score in zip(found.boxes.tolist(), found.classes.tolist(), found.scores.tolist(), strict=True):
        print(f"{CLASSES[kind]} {score:.2f}, pixels {', '.join(f'{edge:.0f}' for edge in box)}")
    if not len(found.boxes):
        print(f"no sign with a score of {options.least:g} or more")
    if options.out is not None:
        write_png(options.out, framed(picture, found.boxes))
        print(f"{options.out}: {len(found.boxes)} frames")


def framed(picture: Tensor, boxes: Tensor) -> Tensor:
    """Return a picture with green frames of one pixel."""
    picture = picture.clone()
    height, width = picture.shape[1:]
    green = torch.tensor([0.0, 1.0, 0.0])[:, None]
    for left, top, right, bottom in boxes.round().int().tolist():
        left, right = max(0, left), min(width, right) - 1
        top, bottom = max(0, top), min(height, bottom) - 1
        for row in (top, bottom):
            picture[:, row, left : right + 1] = green
        for column in (left, right):
            picture[:, top : bottom + 1, column] = green
    return picture


def _render(options: argparse.Namespace) -> None:
    _check_count("--scenes", options.scenes)
    _check_share("--severity", options.severity)
    generator = torch.Generator().manual_seed(options.seed)
    scenes = test_scenes(options.scenes, options.data_dir, seed=options.seed)
    write_folder(options.folder, [in_condition(s, options.condition, options.severity, generator) for s in scenes])
    print(f"{options.folder}: {options.scenes} scenes, {options.condition}")


def _evaluate(options: argparse.Namespace) -> None:
    scenes, model = read_folder(options.folder, len(CLASSES)), load_detector(options.model)
    found = [boxes for scene in scenes for boxes in detect(model, [scene.picture])]
    precision = average_precision(scenes, found, len(CLASSES))
    print(f"{len(scenes)} pictures: mAP50 {precision.at_half:.3f}, mAP50–95 {precision.mean:.3f}")


def _train(options: argparse.Namespace) -> None:
    _check_count("--steps", options.steps)
    _check_count("--scenes", options.scenes)
    scenes = training_scenes(options.scenes, options.data_dir, seed=options.seed)
    model = train_detector(scenes, steps=options.steps, seed=options.seed, progress=sys.stderr.isatty())
    save_detector(model, options.out)
    print(f"{options.out}: trained on {len(scenes)} scenes")


def _check_count(name: str, value: int) -> None:
    if value < 1:
        raise OptionError(f"{name} must be at least 1, got {value}")


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise OptionError(f"{name} must be from 0 to 1, got {value}")


if __name__ == "__main__":
    sys.exit(main())
