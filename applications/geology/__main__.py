"""python -m applications.geology."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from applications.geology.clusters import CRITERIA
from applications.geology.mapping import ClassMap, draw_map, make_map, shares
from applications.geology.rasters import read_raster, write_classes
from applications.geology.reducers import REDUCERS
from benchmarks.command import Parser, execute
from benchmarks.plotting import save_figure

_EXAMPLES = """examples:
  python -m applications.geology scene.tif -o map.tif
  python -m applications.geology scene.tif -o map.tif --reducer flow --classes 7
  python -m applications.geology sentinel2.npz --array stack_20m -o map.npz
  python -m applications.geology blue.tif green.tif red.tif nir.tif -o map.tif

Experiment: python -m experiments geology"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: the arguments; those of the process if None.
    """
    return execute(_parser(), argv)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m applications.geology",
        description="Turn the bands of a satellite picture into a map of classes: reduce the bands of each pixel,\n"
        "cluster the pixels, and give each the most frequent class around it. Writes the map, with the place\n"
        "and projection of the raster, and a picture with its legend beside it.",
        epilog=_EXAMPLES,
    )
    parser.add_argument(
        "raster", nargs="+", type=Path, help="GeoTIFF, .npz, .npy or picture; several files are stacked"
    )
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="MAP", help=".tif or .npz")
    parser.add_argument("--array", help="name of the array (B, H, W) in an archive of several")
    parser.add_argument("--reducer", choices=REDUCERS, default="pca", help="what is clustered (default: %(default)s)")
    parser.add_argument("--classes", type=int, metavar="K", help="number of classes; by default six criteria vote")
    parser.add_argument("--filter", type=int, default=7, metavar="SIDE", help="side of the majority filter, 1 for none")
    parser.add_argument("--seed", type=int, default=0)
    parser.set_defaults(run=_map)
    return parser


def _map(options: Namespace) -> None:
    raster = read_raster(options.raster, options.array)
    found = make_map(raster, options.reducer, options.classes, filter_size=options.filter, seed=options.seed)
    write_classes(options.out, found.classes, raster)
    picture = options.out.with_suffix(".png")
    save_figure(picture, draw_map(found, options.raster[0].name))
    if found.choices:
        print(_votes(found))
    print("classes: " + ", ".join(f"{number} {share:.1%}" for number, share in shares(found.classes).items()))
    missing = int((~raster.valid).sum())
    if missing:
        print(f"{missing:,} of {raster.valid.size:,} pixels are missing and stay 0")
    if raster.crs is None:
        print("the raster names no projection, so the map has none either")
    print(f"{options.out}, {picture}")


def _votes(found: ClassMap) -> str:
    stable = [choice.stability for choice in found.choices]
    best = max(range(1, len(stable[0])), key=lambda place: sum(row[place] or 0.0 for row in stable))
    votes = "; ".join(f"{name} {', '.join(map(str, found.votes[name]))}" for name in CRITERIA)
    return f"numbers of classes that the criteria see in {len(stable)} samples: {votes}; most stable: {best + 1}"


if __name__ == "__main__":
    sys.exit(main())
