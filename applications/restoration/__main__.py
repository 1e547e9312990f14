"""The command line: ``python -m applications.restoration``."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from applications.pictures import LEVELS, picture_header, read_picture, write_png
from applications.restoration.deblurring import deblur, gaussian_kernel, read_kernel
from applications.restoration.invdn import InvDN
from applications.restoration.lifting import LiftingDenoiser
from applications.restoration.models import DENOISER, FLOW, INVDN, denoise, load_denoiser, train_denoiser, train_flow
from applications.restoration.noise import estimate_sigma
from benchmarks.command import Parser, execute
from inverseflow.errors import OptionError

_NETWORKS = {
    "denoiser": (DENOISER, 3_600, "dB of error"),
    "invdn": (INVDN, 2_000, "of its objective"),
    "flow": (FLOW, 1_500, "nats"),
}
"""File, training steps and unit of the error of each network."""
_WIDEST = 50


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = Parser(
        prog="python -m applications.restoration",
        description="Take noise and blur out of pictures with invertible networks.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    clean = commands.add_parser(
        "denoise",
        help="take white noise out of a picture",
        description="Take white noise out of a picture of any size.",
    )
    clean.set_defaults(run=_denoise)
    sharpen = commands.add_parser(
        "deblur",
        help="take a known blur and white noise out of a picture",
        description="Take a known blur and white noise out of a picture of any size.",
    )
    sharpen.set_defaults(run=_deblur)
    for command in (clean, sharpen):
        command.add_argument("picture", type=Path, help="a picture, in gray or colors")
        command.add_argument("-o", "--out", type=Path, required=True, help="where to write the result, a .png file")
        command.add_argument(
            "--sigma", type=_sigma, default=None, help="deviation of the noise in gray levels of 255, or auto (default)"
        )
        command.add_argument("--model", type=Path, default=DENOISER, help="another file of weights, made by train")
    blur = sharpen.add_mutually_exclusive_group(required=True)
    blur.add_argument("--blur", type=_deviation, help="deviation of a Gaussian blur in pixels")
    blur.add_argument("--kernel", type=Path, help="the blur of a point, a gray picture with odd sides")
    train = commands.add_parser(
        "train", help="train a network and write its weights", description="Train a network and write its weights."
    )
    train.add_argument(
        "network",
        nargs="?",
        choices=tuple(_NETWORKS),
        default="denoiser",
        help="the denoiser (default), InvDN, or the flow of MNIST that the experiment reconstructs with",
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


def _deviation(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= _WIDEST:
        raise argparse.ArgumentTypeError(f"it must be a number of pixels above 0, at most {_WIDEST}, got {text}")
    return value


def _denoise(options: argparse.Namespace) -> None:
    model = load_denoiser(options.model)
    picture, sigma = _read(options)
    write_png(options.out, denoise(model, picture, sigma))
    _report(options, picture, sigma)


def _deblur(options: argparse.Namespace) -> None:
    model = load_denoiser(options.model)
    kernel = read_kernel(options.kernel) if options.blur is None else gaussian_kernel(options.blur)
    picture, sigma = _read(options)
    write_png(options.out, deblur(model, picture, kernel, sigma))
    _report(options, picture, sigma)


def _read(options: argparse.Namespace) -> tuple[Tensor, float]:
    picture = read_picture(options.picture, channels=1 if picture_header(options.picture).gray else 3)
    return picture, estimate_sigma(picture) if options.sigma is None else options.sigma


def _report(options: argparse.Namespace, picture: Tensor, sigma: float) -> None:
    told = "estimated" if options.sigma is None else "given"
    print(f"{options.out}: {picture.shape[2]}×{picture.shape[1]} pixels, noise of {sigma * LEVELS:.1f} ({told})")


def _train(options: argparse.Namespace) -> None:
    default, steps, unit = _NETWORKS[options.network]
    out, steps = options.out or default, steps if options.steps is None else options.steps
    if steps < 1:
        raise OptionError(f"--steps must be at least 1, got {steps}")
    training = {"steps": steps, "seed": options.seed, "progress": sys.stderr.isatty()}
    if options.network != "flow":
        network = InvDN if options.network == "invdn" else LiftingDenoiser
        error = train_denoiser(out, options.data_dir, network=network, **training)
    elif options.data_dir is None:
        raise OptionError("the flow learns MNIST: name the folder that holds mnist/ with --data-dir")
    else:
        error = train_flow(out, options.data_dir, **training)
    print(f"{out}: {error:.4g} {unit} in validation")


if __name__ == "__main__":
    sys.exit(main())
