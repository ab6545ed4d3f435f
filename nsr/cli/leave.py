"""The ways out of the program: at once while it still loads, and in one line wherever else it has to end early.

Only the standard library is imported here, so that these ways are open before anything that takes its time.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn

REFUSED, INTERRUPTED = 2, 130


@contextlib.contextmanager
def at_once(message: str = "interrupted", first: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Ctrl-C ends the process, after `first`: raised inside an import, it could surface as any error or none.

    And threads at a long computation would be waited for.
    """
    usual = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or usual is not signal.default_int_handler:
        yield
        return

    def end(*_: object) -> NoReturn:
        first()
        gone(message, INTERRUPTED)

    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


def gone(message: str, code: int) -> NoReturn:
    """End now: nothing is stored half, and a thread that is still at a cell would hold up an orderly end."""
    told(message)
    os._exit(code)


def told(message: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # there may be nobody left to tell
        os.write(2, f"nsr: {' '.join(message.split())}\n".encode(errors="backslashreplace"))


def emptied(code: int) -> int:
    """The exit code once all output is written: one that says so where it could not be."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError as error:
            code = code or unwritten(error)
            with contextlib.suppress(OSError, ValueError):  # else Python would fail at it once more, and say so
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return code


def unwritten(error: OSError) -> int:
    """A reader that has seen enough, such as `head`, is no mistake."""
    if not isinstance(error, BrokenPipeError):
        told(f"the output cannot be written: {error.strerror or error}")
    return 1
