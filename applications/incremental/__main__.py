"""The command line: ``python -m applications.incremental``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from applications.pictures import read_pictures
from benchmarks.command import Parser, execute
from inverseflow.errors import DataError, OptionError
from inverseflow.estimators import OvAClassifier, stored_bytes

_STEPS = 300


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = Parser(
        prog="python -m applications.incremental",
        description="Learn classes one after the other. A class is learned from its own rows; no other is touched.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add = commands.add_parser("add", help="learn another class", description="Learn another class and save the model.")
    add.add_argument("model", type=Path, help="folder of the model, made for the first class")
    add.add_argument("name", help="name of the class")
    add.add_argument("rows", type=Path, help="its rows (N, D) in a .npy file, or a folder of pictures of one size")
    add.add_argument("--steps", type=int, default=_STEPS, help=f"training steps (default: {_STEPS})")
    add.set_defaults(run=_add)
    classify = commands.add_parser("classify", help="name the class of each row", description="Print a class a row.")
    classify.add_argument("model", type=Path, help="folder of the model")
    classify.add_argument("rows", type=Path, help="rows or pictures, as for add")
    classify.set_defaults(run=_classify)
    show = commands.add_parser("list", help="list the classes", description="Print the classes and what they take.")
    show.add_argument("model", type=Path, help="folder of the model")
    show.set_defaults(run=_list)
    return execute(parser, argv)


def read_rows(path: Path) -> Any:
    """Read rows ``(N, D)`` from a .npy file, or pictures of one size from a folder, in gray levels from 0 to 1.

    Raises:
        DataError: if there is no such file or folder, or it holds something else.
    """
    if path.is_dir():
        pictures = read_pictures(path, channels=1)
        shapes = {tuple(picture.shape[1:]) for picture in pictures.values()}
        if len(shapes) > 1:
            sizes = ", ".join(f"{height}×{width}" for height, width in sorted(shapes)[:3])
            raise DataError(f"{path} holds pictures of {len(shapes)} sizes, such as {sizes}: scale them to one")
        return np.stack([picture.flatten().numpy() for picture in pictures.values()])
    if not path.is_file():
        raise DataError(f"there is no file or folder {path}")
    try:
        rows = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataError(f"{path} is no .npy file of numbers: write one with numpy.save") from error
    if not isinstance(rows, np.ndarray) or rows.ndim < 2:
        raise DataError(f"{path} must hold one array of rows (N, D): write it with numpy.save")
    return rows


def _add(options: argparse.Namespace) -> None:
    rows = read_rows(options.rows)
    if options.steps < 1:
        raise OptionError(f"--steps must be at least 1, got {options.steps}")
    training = {"max_steps": options.steps, "progress": sys.stderr.isatty()}
    if options.model.exists():
        model = OvAClassifier.load(options.model).set_params(fit_options=training)
    else:
        model = OvAClassifier(unit="whole", width=256, fit_options=training, random_state=0)
    _explained(options.rows, lambda: model.add_class(options.name, rows))
    model.save(options.model)
    _describe(model)


def _classify(options: argparse.Namespace) -> None:
    model, rows = OvAClassifier.load(options.model), read_rows(options.rows)
    print("\n".join(map(str, _explained(options.rows, lambda: model.predict(rows)))))


def _list(options: argparse.Namespace) -> None:
    _describe(OvAClassifier.load(options.model))


def _explained(path: Path, action: Any) -> Any:
    """Call a function and name the file in what scikit-learn says about its rows."""
    try:
        return action()
    except OptionError:
        raise
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def _describe(model: OvAClassifier) -> None:
    names = ", ".join(model.classes_.tolist())
    print(f"{len(model.classes_)} classes of {model.n_features_in_} numbers, {stored_bytes(model):,} bytes: {names}")


if __name__ == "__main__":
    sys.exit(main())
