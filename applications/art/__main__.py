"""The command line: ``python -m applications.art``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from applications.art.data import DAMAGE
from applications.art.models import load_denoiser, restore_picture, train, weights_of
from applications.art.unet import KINDS
from applications.degradations import degrade
from applications.pictures import read_picture, write_png
from benchmarks.command import Parser, execute
from inverseflow.errors import OptionError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = Parser(
        prog="python -m applications.art",
        description="Restore damaged pictures by diffusion with a U-Net of couplings.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    mend = commands.add_parser(
        "restore", help="restore a picture", description="Restore a picture of any size, in tiles of 64×64 pixels."
    )
    mend.add_argument("picture", type=Path, help="a damaged picture")
    mend.add_argument("-o", "--out", type=Path, required=True, help="where to write the result, a .png file")
    mend.add_argument("--steps", type=int, default=3, help="steps of the sampler, 1 for a mean (default: 3)")
    mend.add_argument("--network", choices=KINDS, default="coupling", help="which network (default: coupling)")
    mend.add_argument("--model", type=Path, help="another file of weights, made by train")
    mend.add_argument("--scheduler", help="one of diffusers, such as DPMSolverMultistepScheduler (default: our DDIM)")
    mend.add_argument("--seed", type=int, default=0, help="of the noise at the start (default: 0)")
    mend.set_defaults(run=_restore)
    harm = commands.add_parser("damage", help="damage a picture", description="Damage a picture in one of eleven ways.")
    harm.add_argument("picture", type=Path, help="a picture")
    harm.add_argument("kind", choices=DAMAGE, metavar="KIND", help=", ".join(DAMAGE))
    harm.add_argument("-o", "--out", type=Path, required=True, help="where to write the result, a .png file")
    harm.add_argument("--severity", type=float, default=0.6, help="0 for none to 1 (default: 0.6)")
    harm.add_argument("--seed", type=int, default=0, help="of places, directions and noise (default: 0)")
    harm.set_defaults(run=_damage)
    learn = commands.add_parser(
        "train", help="train a network and write its weights", description="Train a network and write its weights."
    )
    learn.add_argument("network", nargs="?", choices=KINDS, default="coupling", help="which (default: coupling)")
    learn.add_argument("-o", "--out", type=Path, help="file of weights (default: that of the application)")
    learn.add_argument("--steps", type=int, default=1400, help="training steps (default: 1400)")
    learn.add_argument("--reversible", action="store_true", help="recompute activations: less memory, more time")
    learn.add_argument("--seed", type=int, default=0, help="seed (default: 0)")
    folder = os.environ.get("INVERSEFLOW_DATA")
    learn.add_argument(
        "--data-dir",
        type=Path,
        default=None if folder is None else Path(folder),
        help="folder with photos/ in it (default: that of INVERSEFLOW_DATA)",
    )
    learn.set_defaults(run=_train)
    return execute(parser, argv)


def _restore(options: argparse.Namespace) -> None:
    if options.steps < 1:
        raise OptionError(f"--steps must be at least 1, got {options.steps}")
    damaged = read_picture(options.picture)
    model = load_denoiser(options.network, options.model)
    restored = restore_picture(model, damaged, steps=options.steps, seed=options.seed, scheduler=options.scheduler)
    write_png(options.out, restored)
    print(f"{options.out}: {damaged.shape[2]}×{damaged.shape[1]} pixels, {options.steps} steps")


def _damage(options: argparse.Namespace) -> None:
    if not 0 <= options.severity <= 1:
        raise OptionError(f"--severity must be from 0 to 1, got {options.severity}")
    generator = torch.Generator().manual_seed(options.seed)
    write_png(options.out, degrade(options.kind, read_picture(options.picture), options.severity, generator))
    print(f"{options.out}: {options.kind} at severity {options.severity:g}")


def _train(options: argparse.Namespace) -> None:
    if options.steps < 1:
        raise OptionError(f"--steps must be at least 1, got {options.steps}")
    out = options.out or weights_of(options.network)
    error = train(
        options.network,
        out,
        options.data_dir,
        steps=options.steps,
        reversible=options.reversible,
        seed=options.seed,
        progress=sys.stderr.isatty(),
    )
    print(f"{out}: {error:.3f} scaled error in validation")


if __name__ == "__main__":
    sys.exit(main())
