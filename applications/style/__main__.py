"""Command line: ``python -m applications.style``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from skimage.metrics import peak_signal_noise_ratio

from applications.pictures import read_picture, write_png
from applications.style.projection import MODEL, load_projection
from applications.style.stain import METHODS
from applications.style.statistics import KINDS
from applications.style.stylize import read_stylized, recover, stylize, write_stylized
from applications.style.training import train
from benchmarks.command import Parser, execute
from inverseflow.errors import DataError


def _stylize(options: argparse.Namespace) -> None:
    flow = load_projection(options.model)
    content, before = read_stylized(options.content)
    style, _ = read_stylized(options.style)
    picture, origin = stylize(flow, content, style, strength=options.strength, kind=options.transfer, origin=before)
    written = write_stylized(options.out, picture, origin)
    outside = float(((picture < 0) | (picture > 1)).float().mean())
    print(f"wrote {options.out}; {outside:.1%} of its values lay outside of 0 to 1 and are kept beside the picture")
    if before is None:
        error = peak_signal_noise_ratio(content.numpy(), recover(flow, written, origin).numpy(), data_range=1)
        print(f"recover brings {options.content} back with a PSNR of {error:.1f} dB")


def _recover(options: argparse.Namespace) -> None:
    picture, origin = read_stylized(options.stylized)
    if origin is None:
        raise DataError(
            f"{options.stylized} holds no statistics of its content: stylize did not write it, or another program "
            "wrote it again; recover from the file that stylize wrote"
        )
    write_png(options.out, recover(load_projection(options.model), picture, origin))
    print(f"wrote {options.out}")


def _stain(options: argparse.Namespace) -> None:
    picture = METHODS[options.method](read_picture(options.source), read_picture(options.target))
    write_png(options.out, picture)
    print(f"wrote {options.out}")


def _train(options: argparse.Namespace) -> None:
    train(options.out, options.data_dir, steps=options.steps, seed=options.seed)
    print(f"wrote {options.out}")


def _parser() -> Parser:
    parser = Parser(prog="python -m applications.style", description=sys.modules["applications.style"].__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("stylize", help="give a picture the style of another")
    command.add_argument("content", type=Path, metavar="CONTENT", help="picture to change, at least 16×16 pixels")
    command.add_argument("style", type=Path, metavar="STYLE", help="picture with the style, of any size")
    command.add_argument("-o", "--out", type=Path, required=True, metavar="OUT.png", help="file to write")
    command.add_argument("--strength", type=float, default=1.0, help="from 0, the content, to 1, default 1")
    command.add_argument(
        "--transfer", choices=KINDS, default="wct", help="of the covariance, or of each channel's deviation alone"
    )
    command.add_argument("--model", type=Path, default=MODEL, help="weights, default those beside the program")
    command.set_defaults(run=_stylize)

    command = commands.add_parser("recover", help="recover the content of a stylized picture")
    command.add_argument("stylized", type=Path, metavar="STYLIZED.png", help="the file that stylize wrote")
    command.add_argument("-o", "--out", type=Path, required=True, metavar="OUT.png", help="file to write")
    command.add_argument("--model", type=Path, default=MODEL, help="weights, default those beside the program")
    command.set_defaults(run=_recover)

    command = commands.add_parser("stain", help="give a picture of tissue the stain of another")
    command.add_argument("source", type=Path, metavar="SOURCE", help="picture to change")
    command.add_argument("target", type=Path, metavar="TARGET", help="picture with the stain, of the same tissue")
    command.add_argument("-o", "--out", type=Path, required=True, metavar="OUT.png", help="file to write")
    command.add_argument("--method", choices=METHODS, default="linear", help="default linear, the invertible map")
    command.set_defaults(run=_stain)

    command = commands.add_parser("train", help="train the model of stylize and recover")
    command.add_argument("-o", "--out", type=Path, required=True, metavar="OUT.safetensors", help="file to write")
    command.add_argument("--steps", type=int, default=1500, help="training steps, default 1500")
    command.add_argument("--seed", type=int, default=0, help="of weights, pictures and training, default 0")
    command.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="folder with backbone/ and photos/, default $INVERSEFLOW_DATA"
    )
    command.set_defaults(run=_train)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    return execute(_parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
