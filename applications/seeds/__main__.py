"""The command line: ``python -m applications.seeds``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay, classification_report

from applications.pictures import read_pictures, write_png
from applications.seeds.classifier import train_classifier
from applications.seeds.kernels import CLASSES, VIEWS, kernels
from applications.seeds.labeling import batch_bald
from applications.seeds.rebalancing import METHODS, rebalance
from applications.seeds.sets import Labeled, clothes, drawn_kernels, read_classes, split, square
from benchmarks.command import Parser, execute
from benchmarks.plotting import save_figure
from inverseflow.errors import DataError, OptionError

_EXAMPLES = """examples:
  python -m applications.seeds classify kernels --rebalance flow -o confusion.png
  python -m applications.seeds classify clothes --rebalance GAN --data-dir DATA -o confusion.png
  python -m applications.seeds draw corn --count 40
  python -m applications.seeds classify corn/top corn/bottom -o confusion.png
  python -m applications.seeds suggest corn/top corn/bottom --pool new/top new/bottom --batch 10

Experiment: python -m experiments seeds"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: the arguments; those of the process if None.
    """
    return execute(_parser(), argv)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m applications.seeds",
        description="Classify seeds, or other objects, of which some classes are rare, from one or several views.",
        epilog=_EXAMPLES,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    classify = commands.add_parser(
        "classify",
        help="train a classifier, and report every class",
        description="Fill up rare classes, train a classifier, and report precision and recall of every class on\n"
        "objects that were held out. Writes a picture of the confusion between classes.",
    )
    classify.add_argument(
        "data",
        nargs="+",
        help="kernels (synthetic), clothes (Fashion-MNIST), or a folder of class folders for each view",
    )
    classify.add_argument(
        "--rebalance", choices=tuple(METHODS), default="oversampling", help="how rare classes are filled (%(default)s)"
    )
    classify.add_argument("-o", "--out", type=Path, required=True, metavar="PNG", help="picture of the confusion")
    classify.add_argument("--generator-steps", type=int, default=400, metavar="N", help="default: %(default)s")
    folder = os.environ.get("INVERSEFLOW_DATA")
    classify.add_argument(
        "--data-dir",
        type=Path,
        default=None if folder is None else Path(folder),
        help="folder that holds fashion-mnist/ (default: that of INVERSEFLOW_DATA)",
    )
    _add_training(classify)
    classify.set_defaults(run=_classify)
    suggest = commands.add_parser(
        "suggest",
        help="choose which pictures to label next",
        description="Train a classifier on what is labeled, and list the pictures of a pool whose labels together\n"
        "would tell most about it (BatchBALD).",
    )
    suggest.add_argument("data", nargs="+", help="folders of class folders, one for each view")
    suggest.add_argument("--pool", nargs="+", type=Path, required=True, help="folders of pictures, one for each view")
    suggest.add_argument("--batch", type=int, default=10, help="pictures to choose (default: %(default)s)")
    _add_training(suggest)
    suggest.set_defaults(run=_suggest)
    draw = commands.add_parser(
        "draw",
        help="draw synthetic kernels into folders of classes",
        description="Draw synthetic kernels into FOLDER/top/CLASS and FOLDER/bottom/CLASS.",
    )
    draw.add_argument("folder", type=Path)
    draw.add_argument("--count", type=int, default=20, help="kernels of each class (default: %(default)s)")
    draw.add_argument("--side", type=int, default=64, help="side of a picture in pixels (default: %(default)s)")
    draw.add_argument("--seed", type=int, default=0)
    draw.set_defaults(run=_draw)
    return parser


def _add_training(command: argparse.ArgumentParser) -> None:
    command.add_argument("--side", type=int, default=32, help="pictures are scaled to it (default: %(default)s)")
    command.add_argument("--steps", type=int, default=300, help="training steps (default: %(default)s)")
    command.add_argument("--seed", type=int, default=0)


def _read(options: argparse.Namespace) -> tuple[Labeled, Labeled]:
    if options.data == ["kernels"]:
        return drawn_kernels(30, 60, side=options.side, seed=options.seed)
    if options.data == ["clothes"]:
        return clothes(30, 60, data_dir=options.data_dir, seed=options.seed)
    return split(read_classes([Path(name) for name in options.data], side=options.side), 0.25, options.seed)


def _checked(options: argparse.Namespace) -> None:
    for name, least in (("steps", 1), ("generator_steps", 1), ("side", 8), ("count", 1), ("batch", 1)):
        value = getattr(options, name, least)
        if value < least:
            raise OptionError(f"--{name.replace('_', '-')} must be at least {least}, got {value}")


def _classify(options: argparse.Namespace) -> None:
    _checked(options)
    train, test = _read(options)
    before = train.counts
    train = rebalance(options.rebalance, train, steps=options.generator_steps, seed=options.seed)
    print("objects to train on: " + ", ".join(map("{} {} (+{})".format, train.names, before, _added(train, before))))
    found = train_classifier(train, steps=options.steps, seed=options.seed, progress=sys.stderr.isatty())
    guess = found.predict(test.pictures)
    labels = list(range(len(test.names)))
    print(classification_report(test.labels, guess, labels=labels, target_names=test.names, zero_division=0))
    figure = Figure(figsize=(5, 4), layout="constrained")
    ConfusionMatrixDisplay.from_predictions(
        test.labels, guess, labels=labels, display_labels=test.names, ax=figure.subplots(), colorbar=False, cmap="Blues"
    )
    save_figure(options.out, figure)
    print(options.out)


def _added(train: Labeled, before: list[int]) -> list[int]:
    return [after - count for after, count in zip(train.counts, before, strict=True)]


def _suggest(options: argparse.Namespace) -> None:
    _checked(options)
    data = read_classes([Path(name) for name in options.data], side=options.side)
    if len(options.pool) != data.pictures.shape[1]:
        raise OptionError(
            f"--pool must name {data.pictures.shape[1]} folders, one for each view of the labeled objects"
        )
    views = [read_pictures(folder) for folder in options.pool]
    names = list(views[0])
    for folder, view in zip(options.pool, views, strict=True):
        if list(view) != names:
            raise DataError(f"{folder} and {options.pool[0]} must hold pictures of the same names")
    pictures = torch.stack([torch.stack([square(view[name], options.side) for view in views]) for name in names])
    net = train_classifier(data, steps=options.steps, seed=options.seed, progress=sys.stderr.isatty())
    chosen, _ = batch_bald(net.draws(pictures, 20, options.seed), min(options.batch, len(names)), seed=options.seed)
    print("\n".join(names[place] for place in chosen))


def _draw(options: argparse.Namespace) -> None:
    _checked(options)
    labels = [label for label in range(len(CLASSES)) for _ in range(options.count)]
    for place, (label, views) in enumerate(
        zip(labels, kernels(labels, side=options.side, seed=options.seed), strict=True)
    ):
        for view, picture in zip(VIEWS, views, strict=True):
            path = options.folder / view / CLASSES[label] / f"{place:04}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_png(path, picture)
    print(f"{options.folder}: {len(labels)} kernels, in {' and '.join(VIEWS)}")


if __name__ == "__main__":
    sys.exit(main())
