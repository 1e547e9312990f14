"""What the command lines of this folder and of `experiments` have in common."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from inverseflow.errors import InverseFlowError, TrainingInterrupted

ERROR = 2
INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """A parser that keeps the line breaks of its texts and reports an error in one line."""

    def __init__(self, **options: object) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and exit."""
        self.exit(ERROR, f"{self.prog}: error: {message}; --help lists what there is\n")


def execute(parser: Parser, argv: Sequence[str] | None) -> int:
    """Parse a command line and call the function that its command has set as the default of ``run``.

    Args:
        parser: of the command line.
        argv: the arguments; those of the process if None.

    Returns:
        The exit code: 0, 2 after an error, 130 after Ctrl-C.
    """
    options = parser.parse_args(argv)
    try:
        options.run(options)
    except (KeyboardInterrupt, TrainingInterrupted) as interruption:
        print(f"{parser.prog}: {str(interruption) or 'interrupted'}", file=sys.stderr)
        return INTERRUPTED
    except ModuleNotFoundError as error:
        return _failed(parser, f"the package {error.name} is not installed: pip install -e '.[dev]'")
    except InverseFlowError as error:
        return _failed(parser, str(error))
    except OSError as error:
        return _failed(parser, f"cannot read or write {error.filename}: {error.strerror}")
    return 0


def _failed(parser: Parser, message: str) -> int:
    print(f"{parser.prog}: error: {' '.join(message.split())}", file=sys.stderr)
    return ERROR
