"""The command line: ``python -m applications.anonymisation``."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from applications.anonymisation.boxes import Box, mask_of, without_doubles
from applications.anonymisation.detectors import DETECTORS, Detector, detector
from applications.anonymisation.inpainters import INPAINTERS, Inpainter, inpainter, replace
from applications.pictures import SUFFIXES, read_picture, write_png
from benchmarks.command import Parser, execute
from inverseflow.errors import DataError, OptionError
from inverseflow.utils.arguments import listed
from inverseflow.utils.files import write_json

_NOTICE = "a demonstration, no guarantee: faces and plates that no detector found are still in the pictures"
_EXAMPLES = """examples:
  python -m applications.anonymisation photo.jpg -o out
  python -m applications.anonymisation PHOTOS -o out --data-dir DATA --detectors centerface,mtcnn,plates
  python -m applications.anonymisation car.jpg -o out --box 230,226,126,71 --inpainter pixelate

A demonstration, and no guarantee: look at every picture before you give it away.

Experiment: python -m experiments anonymisation"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: the arguments; those of the process if None.
    """
    return execute(_parser(), argv)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m applications.anonymisation",
        description="Find faces and plates in pictures and replace them. Writes each picture as PNG, whose pixels\n"
        "outside of the boxes are those of the original, and report.json, which says what was replaced.\n"
        "A picture in which nothing was found is copied unchanged.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("pictures", nargs="+", type=Path, help="pictures, or folders of pictures")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FOLDER", help="another folder than theirs")
    parser.add_argument(
        "--detectors",
        default="lbp",
        metavar="A,B",
        help=f"{', '.join(DETECTORS)} (default: %(default)s; the others need OpenCV or --data-dir)",
    )
    parser.add_argument(
        "--box",
        action="append",
        default=[],
        type=_box,
        metavar="LEFT,TOP,WIDTH,HEIGHT",
        help="a box that is replaced in every picture, in pixels; can be repeated",
    )
    parser.add_argument("--inpainter", choices=tuple(INPAINTERS), default="flow", help="default: %(default)s")
    parser.add_argument(
        "--grow", type=float, default=0.2, metavar="SHARE", help="by which found boxes are made larger (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the faces that are drawn (default: 0)")
    folder = os.environ.get("INVERSEFLOW_DATA")
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=None if folder is None else Path(folder),
        help="folder that holds faces/, with the weights of the detectors (default: that of INVERSEFLOW_DATA)",
    )
    parser.set_defaults(run=_anonymise)
    return parser


def _box(text: str) -> Box:
    try:
        left, top, width, height = map(int, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"a box is LEFT,TOP,WIDTH,HEIGHT in pixels, got {text}") from None
    return Box(left, top, left + width, top + height, "given")


def _paths(options: argparse.Namespace) -> list[Path]:
    paths: list[Path] = []
    for given in options.pictures:
        if given.is_dir():
            inside = sorted(path for path in given.iterdir() if path.suffix.lower() in SUFFIXES)
            if not inside:
                raise DataError(f"{given} holds no picture ({', '.join(SUFFIXES)})")
            paths += inside
        else:
            paths.append(given)
    if any(path.parent.resolve() == options.out.resolve() for path in paths):
        raise OptionError(f"--out must be another folder than that of the pictures, got {options.out}")
    names = [path.stem for path in paths]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise OptionError(f"two pictures are called {double}: write them into different folders")
    return paths


def _anonymise(options: argparse.Namespace) -> None:
    if not -0.9 <= options.grow <= 4:
        raise OptionError(f"--grow must be between -0.9 and 4, got {options.grow:g}")
    paths = _paths(options)
    names = listed(options.detectors) if options.detectors else []
    detectors = [detector(name, options.data_dir) for name in names]
    read = {path: read_picture(path) for path in paths}
    for picture in read.values():
        mask_of(options.box, (picture.shape[1], picture.shape[2]))
    fill = inpainter(options.inpainter, options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    entries = [_one(path, picture, detectors, fill, options) for path, picture in read.items()]
    report = {
        "notice": _NOTICE,
        "detectors": names,
        "inpainter": options.inpainter,
        "seed": options.seed,
        "grow": options.grow,
        "pictures": entries,
    }
    write_json(options.out / "report.json", report)
    print(f"{options.out / 'report.json'}; {_NOTICE}")


def _one(
    path: Path, picture: torch.Tensor, detectors: Sequence[Detector], fill: Inpainter, options: argparse.Namespace
) -> dict[str, Any]:
    size = (picture.shape[1], picture.shape[2])
    found = without_doubles([box for each in detectors for box in each.detect(picture)])
    boxes = [box.grown(options.grow, size) for box in found] + options.box
    if not boxes:
        out = options.out / path.name
        shutil.copyfile(path, out)
        print(f"{out}: nothing found, copied unchanged")
        return {"picture": str(path), "out": str(out), "replaced": [], "copied": True}
    out = options.out / f"{path.stem}.png"
    filled, mask = replace(picture, boxes, fill), mask_of(boxes, size)
    write_png(out, filled)
    outside = torch.equal(read_picture(out)[:, ~mask], picture[:, ~mask])
    kinds = ", ".join(f"{kind} {sum(box.kind == kind for box in boxes)}" for kind in sorted({b.kind for b in boxes}))
    print(f"{out}: replaced {kinds}")
    return {
        "picture": str(path),
        "out": str(out),
        "replaced": [
            {
                "kind": box.kind,
                "detector": box.detector,
                "score": round(box.score, 4),
                "box": {"left": box.left, "top": box.top, "width": box.width, "height": box.height},
            }
            for box in boxes
        ],
        "share of pixels": float(mask.float().mean()),
        "pixels outside are identical": outside,
        "copied": False,
    }


if __name__ == "__main__":
    sys.exit(main())
