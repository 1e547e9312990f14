"""The command line: ``python -m applications.restoration``."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from applications.pictures import LEVELS, picture_header, read_picture, write_png
from applications.restoration.models import DENOISER, FLOW, denoise, load_denoiser, train_denoiser, train_flow
from applications.restoration.noise import estimate_sigma
from benchmarks.command import Parser, execute
from inverseflow.errors import OptionError

_NETWORKS = {"denoiser": (DENOISER, 3_600, "dB of error"), "flow": (FLOW, 1_500, "nats")}
"""File, training steps and unit of the error of each network."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = Parser(
        prog="python -m applications.restoration",
        description="Take noise out of pictures with invertible networks.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    clean = commands.add_parser(
        "denoise",
        help="take white noise out of a picture",
        description="Take white noise out of a picture of any size.",
    )
    clean.add_argument("picture", type=Path, help="a picture, in gray or colors")
    clean.add_argument("-o", "--out", type=Path, required=True, help="where to write the result, a .png file")
    clean.add_argument(
        "--sigma", type=_sigma, default=None, help="deviation of the noise in gray levels of 255, or auto (default)"
    )
    clean.add_argument("--model", type=Path, default=DENOISER, help="another file of weights, made by train")
    clean.set_defaults(run=_denoise)
    train = commands.add_parser(
        "train", help="train a network and write its weights", description="Train a network and write its weights."
    )
    train.add_argument(
        "network",
        nargs="?",
        choices=tuple(_NETWORKS),
        default="denoiser",
        help="the denoiser (default), or the flow of MNIST that the experiment reconstructs with",
    )
    train.add_argument("-o", "--out", type=Path, help="file of weights (default: that of the application)")
    train.add_argument("--steps", type=int, help="training steps (default: those of the application)")
    train.add_argument("--seed", type=int, default=0, help="seed (default: 0)")
    folder = os.environ.get("INVERSEFLOW_DATA")
    train.add_argument(
        "--data-dir",
        type=Path,
        default=None if folder is None else Path(folder),
        help="folder of the data sets: photos/ to train on too, mnist/ (default: that of INVERSEFLOW_DATA)",
    )
    train.set_defaults(run=_train)
    return execute(parser, argv)


def _sigma(text: str) -> float | None:
    if text == "auto":
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"it must be auto or a number from 0 on, got {text}")
    return value / LEVELS


def _denoise(options: argparse.Namespace) -> None:
    model = load_denoiser(options.model)
    picture = read_picture(options.picture, channels=1 if picture_header(options.picture).gray else 3)
    sigma = estimate_sigma(picture) if options.sigma is None else options.sigma
    write_png(options.out, denoise(model, picture, sigma))
    told = "estimated" if options.sigma is None else "given"
    print(f"{options.out}: {picture.shape[2]}×{picture.shape[1]} pixels, noise of {sigma * LEVELS:.1f} ({told})")


def _train(options: argparse.Namespace) -> None:
    default, steps, unit = _NETWORKS[options.network]
    out, steps = options.out or default, steps if options.steps is None else options.steps
    if steps < 1:
        raise OptionError(f"--steps must be at least 1, got {steps}")
    training = {"steps": steps, "seed": options.seed, "progress": sys.stderr.isatty()}
    if options.network == "denoiser":
        error = train_denoiser(out, options.data_dir, **training)
    elif options.data_dir is None:
        raise OptionError("the flow learns MNIST: name the folder that holds mnist/ with --data-dir")
    else:
        error = train_flow(out, options.data_dir, **training)
    print(f"{out}: {error:.2f} {unit} in validation")


if __name__ == "__main__":
    sys.exit(main())
