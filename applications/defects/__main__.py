"""The command line: ``python -m applications.defects``."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import torch

from applications.defects.detectors import LAYERS, STRIDE, backbone, flow_detector
from applications.defects.surfaces import DEFECTS, TEXTURES, assembled, texture, tiles, with_defect
from applications.pictures import read_picture, read_pictures, write_png
from benchmarks.command import Parser, execute
from inverseflow.errors import CheckpointError, DataError, OptionError
from inverseflow.estimators import FeatureFlowDetector
from inverseflow.utils.files import write_json

_SIDE, _RATE, _STEPS = 64, 0.01, 1_000
_TILES = "tiles.json"
_FEWEST = 100


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = Parser(
        prog="python -m applications.defects",
        description="Find defects on surfaces. What is usual is learned from pictures without a defect.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("train", help="learn a surface from pictures without a defect")
    command.add_argument("folder", type=Path, metavar="FOLDER", help="folder of the pictures, each of any size")
    command.add_argument("-o", "--out", type=Path, required=True, metavar="MODEL", help="folder to write")
    command.add_argument("--side", type=int, default=_SIDE, help=f"pixels of a square tile (default: {_SIDE})")
    command.add_argument(
        "--rate",
        type=float,
        default=_RATE,
        help=f"share of good tiles that may raise an alarm (default: {_RATE}); 0 for a threshold that promises no "
        "rate, the largest score in training",
    )
    command.add_argument("--steps", type=int, default=_STEPS, help=f"training steps of a flow (default: {_STEPS})")
    command.add_argument("--seed", type=int, default=0, help="of weights and training (default: 0)")
    _add_data_dir(command)
    command.set_defaults(run=_train)

    command = commands.add_parser("inspect", help="map where a picture is unusual")
    command.add_argument("picture", type=Path, metavar="PICTURE", help="picture of the surface, at the same scale")
    command.add_argument("--model", type=Path, required=True, metavar="MODEL", help="folder that train wrote")
    command.add_argument("-o", "--out", type=Path, required=True, metavar="MAP.png", help="map to write")
    _add_data_dir(command)
    command.set_defaults(run=_inspect)

    command = commands.add_parser("example", help="write pictures of a texture, without and with synthetic defects")
    command.add_argument("texture", choices=TEXTURES, help="a picture of scikit-image")
    command.add_argument("-o", "--out", type=Path, required=True, metavar="FOLDER", help="folder to write")
    command.set_defaults(run=_example)
    return execute(parser, argv)


def _add_data_dir(command: argparse.ArgumentParser) -> None:
    folder = os.environ.get("INVERSEFLOW_DATA")
    command.add_argument(
        "--data-dir",
        type=Path,
        default=None if folder is None else Path(folder),
        metavar="DIR",
        help="folder with backbone/ (default: $INVERSEFLOW_DATA)",
    )


def _train(options: argparse.Namespace) -> None:
    if options.side < 2 * STRIDE or options.side % STRIDE:
        raise OptionError(f"--side must be a multiple of {STRIDE} from {2 * STRIDE} on, got {options.side}")
    if not 0 <= options.rate < 1:
        raise OptionError(f"--rate must be 0 or lie between 0 and 1, got {options.rate:g}")
    if options.steps < 1:
        raise OptionError(f"--steps must be at least 1, got {options.steps}")
    parts = []
    for name, picture in read_pictures(options.folder).items():
        try:
            parts.append(tiles(picture, options.side))
        except DataError as error:
            raise DataError(f"{options.folder / name}: {error}, or choose a smaller --side") from error
    images = torch.cat(parts)
    detector = flow_detector(
        backbone(options.data_dir), max_steps=options.steps, seed=options.seed, rate=options.rate or None
    )
    if options.rate:
        least = max(_FEWEST, math.ceil(1 / options.rate - 1 - 1e-9))
        if len(images) < 2 * least:
            raise DataError(
                f"{options.folder} makes {len(images)} tiles of {options.side} pixels, and a threshold at a rate of "
                f"{options.rate:g} needs {2 * least}: give more pictures, a smaller --side or a higher --rate, or "
                "--rate 0 for a threshold that promises no rate"
            )
        detector.set_params(calibration=max(0.2, least / len(images)))
    detector.fit(images).save(options.out)
    write_json(options.out / _TILES, {"side": options.side})
    print(f"{options.out}: learned {len(images)} tiles of {options.side} pixels")


def _inspect(options: argparse.Namespace) -> None:
    picture = read_picture(options.picture)
    detector = FeatureFlowDetector.load(options.model, backbone(options.data_dir))
    height, width = picture.shape[1:]
    side = _side(options.model)
    try:
        maps = torch.from_numpy(detector.anomaly_map(tiles(picture, side)))
    except DataError as error:
        raise DataError(f"{options.picture}: {error}") from error
    whole = assembled(maps, height, width)
    colors = matplotlib.colormaps["inferno"](whole.numpy() / len(LAYERS))[:, :, :3]
    write_png(options.out, torch.from_numpy(colors).permute(2, 0, 1))
    alarms = int((maps.amax((1, 2)) > -detector.offset_).sum())
    row, column = divmod(int(whole.argmax()), width)
    rate = detector.false_alarm_rate
    promise = "no rate is promised" if rate is None else f"of good ones at most {rate:.3g}"
    print(f"{alarms} of {len(maps)} tiles raise an alarm ({promise}); the worst place is row {row}, column {column}")


def _side(model: Path) -> int:
    path = model / _TILES
    try:
        side = json.loads(path.read_text("utf-8"))["side"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is missing or damaged: {error!r}") from error
    if not isinstance(side, int) or side < 2 * STRIDE or side % STRIDE:
        raise CheckpointError(f"{path} is damaged: the side of a tile can't be {side!r}")
    return side


def _example(options: argparse.Namespace) -> None:
    good, bad = texture(options.texture)
    rng = np.random.default_rng(0)
    step = bad.shape[1] // len(DEFECTS)
    parts = [with_defect(bad[:, n * step : (n + 1) * step], kind, rng)[0] for n, kind in enumerate(DEFECTS)]
    write_png(options.out / "good" / f"{options.texture}.png", good)
    write_png(options.out / "bad.png", torch.cat(parts, 1))
    print(f"{options.out}: good/{options.texture}.png, and bad.png with synthetic defects: {', '.join(DEFECTS)}")


if __name__ == "__main__":
    sys.exit(main())
