"""python -m applications.steganography."""

from __future__ import annotations

import sys
from argparse import Namespace, _SubParsersAction
from collections.abc import Sequence
from pathlib import Path

from applications.pictures import read_picture, to_bytes, write_png
from applications.steganography.color_flow import ColorFlow, load_colors, save_colors, shipped_colors
from applications.steganography.distortions import quality_of_file
from applications.steganography.hiding import hide_pictures, hide_robustly, reveal_pictures, reveal_robustly
from applications.steganography.marker import read_marker
from applications.steganography.messages import capacity, hide_message, reveal_message
from applications.steganography.network import HidingFlow, Options, load_flow, save_flow, shipped_flow
from applications.steganography.training import Amount, ColorAmount, train, train_colors
from benchmarks.command import Parser, execute
from inverseflow.data.paths import existing_folder
from inverseflow.errors import DataError
from inverseflow.utils.files import atomic_write, errors_naming

_DESCRIPTION = """Hide pictures or a message in a picture by an invertible network, and take them out again.

The picture that hides looks like the cover. It is a PNG file of 8 bits; any change of it
destroys what it holds, and reveal then says so. Anybody who has this program can take the
secret out: encrypt what must stay secret."""
_EXAMPLES = """examples:
  python -m applications.steganography hide cover.png secret.jpg -o stego.png
  python -m applications.steganography reveal stego.png -o out.png
  python -m applications.steganography hide-message cover.png letter.txt -o stego.png
  python -m applications.steganography reveal-message stego.png -o letter.txt
  python -m applications.steganography train --data-dir DATA -o model.safetensors"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: the arguments; those of the process if None.
    """
    return execute(_parser(), argv)


def _parser() -> Parser:
    parser = Parser(prog="python -m applications.steganography", description=_DESCRIPTION, epilog=_EXAMPLES)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    hide = commands.add_parser("hide", help="hide pictures in a cover", description="Hide pictures in a cover.")
    hide.add_argument("cover", type=Path, metavar="COVER", help="picture of any size, at least 26×26 pixels")
    hide.add_argument("secrets", type=Path, nargs="+", metavar="SECRET", help="one or two, no larger than the cover")
    hide.add_argument("-o", "--out", type=Path, required=True, metavar="STEGO.png", help="the picture that hides")
    hide.set_defaults(run=_hide)
    reveal = commands.add_parser("reveal", help="take them out", description="Take out what hide has hidden.")
    reveal.add_argument("stego", type=Path, metavar="STEGO.png", help="the file that hide has written")
    reveal.add_argument(
        "-o", "--out", type=Path, required=True, metavar="OUT.png", help="the secret; of two, OUT-1.png and OUT-2.png"
    )
    reveal.set_defaults(run=_reveal)
    hide.add_argument("--robust", action="store_true", help="also as JPEG of quality 80 or more, less well and coarser")
    reveal.add_argument("--robust", action="store_true", help="hidden with --robust: a PNG or JPEG file, unchecked")
    for command in (hide, reveal):
        command.add_argument("--model", type=Path, metavar="FILE", help="a model of yours, in place of the shipped one")
    _add_messages(commands)
    training = commands.add_parser(
        "train", help="train a model", description="Train a model on crops of photographs and CIFAR-10 (JPEG)."
    )
    training.add_argument("--data-dir", type=Path, required=True, metavar="DIR", help="with photos/ and cifar10-jpeg/")
    training.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="the model, .safetensors")
    training.add_argument("--secrets", type=int, default=Options.secrets, metavar="N", help="default %(default)s")
    training.add_argument("--blocks", type=int, default=Options.blocks, metavar="K", help="default %(default)s")
    training.add_argument("--width", type=int, default=Options.width, metavar="N", help="default %(default)s")
    training.add_argument("--steps", type=int, default=Amount.steps, metavar="N", help="default %(default)s")
    training.add_argument("--crops", type=int, default=Amount.crops, metavar="N", help="default %(default)s")
    training.add_argument(
        "--secret-weight",
        type=float,
        default=Amount.secret_weight,
        metavar="W",
        help="weight of the secret's error beside that of the container, default %(default)s",
    )
    training.add_argument("--robust", action="store_true", help="for containers that become JPEG files")
    training.add_argument("--seed", type=int, default=0, metavar="N", help="default %(default)s")
    training.set_defaults(run=_train)
    return parser


def _add_messages(commands: _SubParsersAction[Parser]) -> None:
    hide = commands.add_parser(
        "hide-message",
        help="hide a file in the colors of a cover",
        description="Hide a file, of text or anything else, in the colors of a cover.",
    )
    hide.add_argument("cover", type=Path, metavar="COVER", help="picture of any size, at least 36×36 pixels")
    hide.add_argument("message", metavar="FILE", help="any file, or - for standard input")
    hide.add_argument("-o", "--out", type=Path, required=True, metavar="STEGO.png", help="the picture that hides")
    hide.set_defaults(run=_hide_message)
    reveal = commands.add_parser(
        "reveal-message", help="read it back", description="Read back what hide-message has hidden, byte for byte."
    )
    reveal.add_argument("stego", type=Path, metavar="STEGO.png", help="the file that hide-message has written")
    reveal.add_argument("-o", "--out", required=True, metavar="FILE", help="the message, or - for standard output")
    reveal.set_defaults(run=_reveal_message)
    for command in (hide, reveal):
        command.add_argument("--model", type=Path, metavar="FILE", help="a model of yours, in place of the shipped one")
    training = commands.add_parser(
        "train-message", help="train its model", description="Train the model that hides messages."
    )
    training.add_argument("--data-dir", type=Path, required=True, metavar="DIR", help="with photos/ and cifar10-jpeg/")
    training.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="the model, .safetensors")
    training.add_argument("--steps", type=int, default=ColorAmount.steps, metavar="N", help="default %(default)s")
    training.add_argument("--crops", type=int, default=ColorAmount.crops, metavar="N", help="default %(default)s")
    training.add_argument("--seed", type=int, default=0, metavar="N", help="default %(default)s")
    training.set_defaults(run=_train_message)


def _hide(options: Namespace) -> None:
    secrets = [read_picture(path) for path in options.secrets]
    cover, flow = read_picture(options.cover), _model(options, len(secrets))
    pixels = hide_robustly(flow, cover, secrets[0]) if options.robust else hide_pictures(flow, cover, secrets)
    write_png(options.out, pixels.float() / 255)
    print(f"{options.out} holds {' and '.join(path.name for path in options.secrets)}")


def _reveal(options: Namespace) -> None:
    container = to_bytes(read_picture(options.stego))
    if options.robust:
        write_png(options.out, reveal_robustly(_model(options, 1), container, quality_of_file(options.stego)))
        print(f"wrote {options.out}; if {options.stego} holds nothing, it is noise")
        return
    try:
        marker = read_marker(container.permute(1, 2, 0).contiguous().numpy())
        revealed = reveal_pictures(_model(options, marker.secrets), container)
    except DataError as error:
        raise DataError(f"{options.stego}: {error}") from None
    names = [options.out]
    if len(revealed) > 1:
        names = [options.out.with_stem(f"{options.out.stem}-{number}") for number in range(1, 1 + len(revealed))]
    for name, picture in zip(names, revealed, strict=True):
        write_png(name, picture)
    print(f"wrote {' and '.join(map(str, names))}")


def _hide_message(options: Namespace) -> None:
    message = sys.stdin.buffer.read() if options.message == "-" else Path(options.message).read_bytes()
    cover = read_picture(options.cover)
    write_png(options.out, hide_message(_colors(options), cover, message).float() / 255)
    room = capacity(cover.shape[1], cover.shape[2])
    print(f"{options.out} holds {len(message)} bytes; there is room for {room}")


def _reveal_message(options: Namespace) -> None:
    try:
        message = reveal_message(_colors(options), to_bytes(read_picture(options.stego)))
    except DataError as error:
        raise DataError(f"{options.stego}: {error}") from None
    if options.out == "-":
        sys.stdout.buffer.write(message)
        return
    with atomic_write(Path(options.out)) as temporary, errors_naming(Path(options.out), temporary):
        temporary.write_bytes(message)
    print(f"wrote {options.out}, {len(message)} bytes")


def _colors(options: Namespace) -> ColorFlow:
    return load_colors(options.model) if options.model else shipped_colors()


def _train_message(options: Namespace) -> None:
    amount = ColorAmount(steps=options.steps, crops=options.crops)
    flow, result = train_colors(existing_folder(options.data_dir), amount, options.seed)
    save_colors(flow, options.out)
    found = next(row for row in reversed(result.history) if "val_accuracy" in row)
    print(f"{options.out}: {100 * found['val_accuracy']:.2f} % of bits read on held-out crops")


def _model(options: Namespace, secrets: int) -> HidingFlow:
    return load_flow(options.model) if options.model else shipped_flow(secrets, robust=options.robust)


def _train(options: Namespace) -> None:
    architecture = Options(options.secrets, options.blocks, options.width, options.robust)
    amount = Amount(steps=options.steps, crops=options.crops, secret_weight=options.secret_weight)
    flow, result = train(existing_folder(options.data_dir), architecture, amount, options.seed)
    save_flow(flow, options.out)
    found = next(row for row in reversed(result.history) if "val_container_db" in row)
    print(
        f"{options.out}: container {found['val_container_db']:.1f} dB, secret {found['val_secret_db']:.1f} dB on "
        f"held-out crops of the pictures it was trained on"
    )


if __name__ == "__main__":
    sys.exit(main())
