"""Entry point: find the command, run it, and turn every failure into one line."""

import errno
import io
import os
import sys
import traceback
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.metadata import version

from inverseflow.errors import InverseFlowError, NonFiniteError, TrainingInterrupted, UsageError
from inverseflow.utils.packages import missing_package

COMMANDS = (
    "train",
    "sample",
    "evaluate",
    "reconstruct",
    "interpolate",
    "infer",
    "posterior",
    "invert",
    "compare",
    "show",
    "info",
    "doctor",
)

ERROR = 2
INTERRUPTED = 130


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after `inverseflow`, by default the arguments of the process.

    Returns:
        The exit code: 0, 2 after an error, 130 after Ctrl-C.
    """
    argv = sys.argv[1:] if argv is None else argv
    words = [word for word in argv if word != "--debug"]
    return _exit_code(partial(_run, words), debug="--debug" in argv)


def _run(argv: list[str]) -> None:
    if argv[:1] == ["doctor"] and {*argv[1:]} <= {"--speed"}:  # works without the package that parses options
        from inverseflow.cli.doctor import doctor

        return doctor(speed="--speed" in argv)
    from cyclopts import App, CycloptsError

    app = App(
        name="inverseflow",
        help="Invertible networks: train flows on images, points and tables, sample from them, evaluate them, and "
        "learn the posteriors of inverse problems.",
        help_epilogue="A first run, a few minutes on a CPU:  inverseflow train digits\n\n"
        "With --debug, every command shows the traceback of an error.",
        help_format="markdown",
        version=f"inverseflow {version('inverseflow')}\n",
        version_format="plaintext",
        version_flags=("--version", "-V"),
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    try:
        for order, name in enumerate(argv[:1] if argv[:1] and argv[0] in COMMANDS else COMMANDS):
            module = import_module(f"inverseflow.cli.{name}")
            function = module.train_command(argv[1:]) if name == "train" else getattr(module, name)
            app.command(function, name=name, sort_key=order, help_epilogue="")
        app(argv, print_error=False, exit_on_error=False)
    except CycloptsError as error:
        command = f" {argv[0]}" if argv[:1] and argv[0] in COMMANDS else ""
        error.verbose = False
        raise UsageError(f"{str(error).rstrip('.')} (see inverseflow{command} --help)") from error


def _exit_code(command: Callable[[], object], *, debug: bool) -> int:
    for stream in (sys.stdout, sys.stderr):  # a file name may hold bytes that the terminal cannot show
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    code = _guarded(command, debug)
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more when it exits
        if code == 0 and not isinstance(error, BrokenPipeError):
            return _failed(error, debug)
    return code


def _guarded(command: Callable[[], object], debug: bool) -> int:
    try:
        command()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except TrainingInterrupted as interruption:
        return _interrupted(str(interruption))
    except KeyboardInterrupt:
        return _interrupted("interrupted")
    except BrokenPipeError:
        return 0  # the reader has seen enough
    except NonFiniteError as error:
        from inverseflow.training.loop.process import is_first_process

        return _failed(error, debug) if is_first_process() else ERROR  # every process has the same to say
    except Exception as error:
        return _failed(error, debug)
    return 0


def _failed(error: Exception, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    print(f"inverseflow: error: {_one_line(error)}", file=sys.stderr)
    return ERROR


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, InverseFlowError):
        return text
    if isinstance(error, ModuleNotFoundError):
        package = missing_package(error)
        if package is not None:
            return f"{package.name} is not installed, which is needed for {package.purpose}: {package.remedy}"
    if isinstance(error, OSError):
        reason = (error.strerror or str(error)).lower()
        if error.filename is not None:
            return f"cannot read or write {os.fsdecode(error.filename)}: {reason}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF):
            return f"cannot write the output: {reason}"  # `print` names no file
    return f"{type(error).__name__}: {text or 'no message'}; run again with --debug for the traceback"


def _interrupted(message: str) -> int:
    from inverseflow.training.loop.process import is_first_process

    if not is_first_process():
        return 0  # the first process speaks for all; another code would look like a crash to the launcher
    print(f"inverseflow: {message}", file=sys.stderr)
    return INTERRUPTED
