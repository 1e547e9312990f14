"""The entry point: finds the command, runs it, and turns what goes wrong into one line."""

from __future__ import annotations

import os
import sys
import traceback
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec

from inverseflow.cli.command import Command, UsageError
from inverseflow.errors import InverseFlowError, NonFiniteError, TrainingInterrupted
from inverseflow.utils.packages import missing_package

COMMANDS = ("train", "sample", "evaluate", "reconstruct", "interpolate", "info", "doctor")

ERROR = 2
INTERRUPTED = 130


def main(argv: list[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: The words after `inverseflow`; those of the process by default.

    Returns:
        The exit code: 0, 2 after an error, 130 after Ctrl-C.
    """
    argv = sys.argv[1:] if argv is None else argv
    try:
        return _run(argv)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except TrainingInterrupted as interruption:
        return _interrupted(str(interruption))
    except KeyboardInterrupt:
        return _interrupted("interrupted")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads on; don't complain at exit
        return 0
    except ModuleNotFoundError as error:
        package = missing_package(error)
        if package is None:
            return _failed(error, argv)
        print(f"inverseflow: error: {package.purpose} needs {package.name}: {package.remedy}", file=sys.stderr)
        return ERROR
    except NonFiniteError as error:
        from inverseflow.training.loop.ranks import is_first_process

        return _failed(error, argv) if is_first_process() else ERROR  # every process has the same to say
    except Exception as error:
        return _failed(error, argv)


def _failed(error: Exception, argv: list[str]) -> int:
    if "--debug" in argv:
        traceback.print_exc()
    print(f"inverseflow: error: {_one_line(error)}", file=sys.stderr)
    return ERROR


def _run(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if argv[0] in ("-V", "--version"):
        print(f"inverseflow {version('inverseflow')}")
        return 0
    if argv[0] not in _available():
        raise UsageError(f"there is no command {argv[0]!r}; there are {', '.join(_available())}")
    command = _command(argv[0])
    command.function(**command.arguments(argv[1:]))
    return 0


def _available() -> list[str]:
    return [name for name in COMMANDS if find_spec(f"inverseflow.cli.{name}")]


def _command(name: str) -> Command:
    command = import_module(f"inverseflow.cli.{name}").COMMAND
    assert isinstance(command, Command)
    return command


def _help() -> str:
    lines = [
        "usage: inverseflow COMMAND [options]",
        "",
        "Invertible networks: train image flows, sample from them, measure them.",
        "",
        *(f"  {name:<13}{_command(name).summary}" for name in _available()),
        "",
        "inverseflow COMMAND --help tells more about one of them; inverseflow --version tells the version.",
        "A first run, a few minutes on a CPU:  inverseflow train digits",
    ]
    return "\n".join(lines)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, InverseFlowError):
        return text
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"cannot read or write {error.filename}: {error.strerror.lower()}"
    return f"{type(error).__name__}: {text or 'no message'}; run again with --debug for the traceback"


def _interrupted(message: str) -> int:
    from inverseflow.training.loop.ranks import is_first_process

    if not is_first_process():
        return 0  # the first process speaks for all; another code would make the launcher believe in a crash
    print(f"inverseflow: {message}", file=sys.stderr)
    return INTERRUPTED
