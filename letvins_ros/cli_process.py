# SPDX-License-Identifier: Apache-2.0
"""A command as a process: its streams and signals, its exit code, and errors in one line."""

import io
import os
import signal
import sys
from contextlib import suppress

import typer

from letvins_ros.errors import LetvinsError
from letvins_ros.processes import end_with_named_parent

_INTERRUPTED = 130  # typer's exit code after Ctrl-C


def run_command(app: typer.Typer) -> None:
    """Run the command that sys.argv names; errors a user can fix end in one line on stderr and exit code 1."""
    end_with_named_parent()
    _open_streams()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end a run early and keep its results, as after Ctrl-C
    try:
        code = app(sys.argv[1:] or ["--help"], prog_name="letvins", standalone_mode=False)
        _flush()
    except BrokenPipeError:  # the reader of stdout has closed it
        sys.exit(1)
    except (LetvinsError, OSError, typer.TyperException) as error:
        _fail(_one_line(error))
    except MemoryError:
        _fail("out of memory")
    if code == _INTERRUPTED:
        _fail("interrupted", code)
    sys.exit(code)


def _open_streams() -> None:
    """Write to nobody where stdout or stderr was closed, so that no file takes its number; names need not be text."""
    for number, name in ((0, "stdin"), (1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
            setattr(sys, name, open(number, "r" if number == 0 else "w", encoding="utf-8"))  # noqa: PTH123
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _flush() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would try once more at its end
        raise


def _one_line(error: Exception) -> str:
    if isinstance(error, typer.TyperException):
        text: str = error.format_message()
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else f"{_lost_folder()}{error.strerror}"
    else:
        text = str(error)
    return " ".join(text.split())


def _lost_folder() -> str:
    """Where the working folder is gone, every file without a full path is too, and the error names none."""
    try:
        os.getcwd()  # noqa: PTH109  (Path.cwd() is the same)
    except OSError:
        return "the working folder does not exist any more, change to another: "
    return ""


def _fail(message: str, code: int = 1) -> None:
    with suppress(OSError):  # what was said before comes before it, also where both go into one file
        sys.stdout.flush()
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)
