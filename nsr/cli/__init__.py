"""The command line `nsr`: parse, dispatch, print; nothing else."""

from __future__ import annotations

import atexit
import functools
import io
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from nsr.cli.leave import INTERRUPTED, REFUSED, at_once, emptied, told, unwritten

with at_once():
    import typer
    from typer.core import TyperCommand, TyperGroup

__all__ = ["COMMANDS", "INTERRUPTED", "REFUSED", "app"]

# name -> the module it is loaded from once it is called, and how its help begins; in the order of `nsr --help`
COMMANDS = {
    "assess": ("judge", "Judge your own model"),
    "train": ("single", "Train one network by a row of the table of methods"),
    "contour": ("single", "Measure a contour of a stored run"),
    "runs": ("single", "List the stored runs, the shipped and your own"),
    "tune": ("many", "Search the numbers of all methods on validation images"),
    "reproduce": ("many", "Compute the runs of the book from nothing"),
    "run": ("chapters", "Execute one chapter with other parameters"),
    "book": ("chapters", "Rebuild the whole book under one set of parameters"),
    "claims": ("ledger", "Decide the paper's eleven claims by stored runs"),
    "companion-claims": ("ledger", "Decide the claims of the two companion papers"),
    "provenance": ("chapters", "Write codecheck.yml and ro-crate-metadata.json"),
}


@functools.cache
def _command(name: str) -> TyperCommand:
    module, _ = COMMANDS[name]
    with at_once():
        room = import_module(f"nsr.cli.{module}")
    return typer.main.get_group(room.commands).commands[name]


class _Late(Mapping[str, TyperCommand]):
    """The commands by name, each loaded when it is first looked up: torch alone takes seconds."""

    def __getitem__(self, name: str) -> TyperCommand:
        return _command(name)

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class _Commands(TyperGroup):
    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self.commands = _Late()

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # outside of what a command does itself about it
            told("interrupted")
            raise typer.Exit(INTERRUPTED) from None


class _Program(typer.Typer):
    """The program itself: whatever stops it costs one line at most, and an exit code."""

    def __call__(self, *words: Any, **how: Any) -> None:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # names of files may hold what no terminal can show
        try:
            super().__call__(*words, **{"prog_name": "nsr", **how})
            code = 0
        except SystemExit as end:
            code = end.code
        except OSError as error:
            code = unwritten(error)
        code = emptied(code)
        if code == INTERRUPTED:
            os._exit(code)  # threads may still be at cells that nobody wants any more
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)  # nothing is left to be interrupted then
        sys.exit(code)


app = _Program(
    cls=_Commands, no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
)


@app.callback()
def nsr() -> None:
    """Robustness of neural networks when inputs and weights are perturbed together."""
