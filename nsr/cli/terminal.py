"""What all commands share: the end in one line and an exit code where something cannot be done, and rows of a table."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import typer

from nsr import paths
from nsr.cli.leave import INTERRUPTED, REFUSED
from nsr.data import DataError
from nsr.files import StoreError, refuse_unwritable
from nsr.training import CollapseError

MOST = 1_000  # characters of a refusal: what was given may be of any length


def room() -> typer.Typer:
    """What the commands of one module are declared with."""
    return typer.Typer(add_completion=False, rich_markup_mode=None)


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """What cannot be done ends in one line and an exit code."""
    try:
        yield
    except (ValueError, StoreError, DataError, OSError, CollapseError) as error:
        stop(str(error), REFUSED)
    except RecursionError:
        stop("what was given is nested too deeply to be read", REFUSED)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):  # torch has no type for it on a CPU
            raise
        stop(f"the memory does not suffice: {error}", REFUSED)
    except KeyboardInterrupt:
        stop("interrupted; the same command goes on from what is stored", INTERRUPTED)


def stop(message: str, code: int) -> NoReturn:
    typer.echo(f"nsr: {excerpt(message)}", err=True)
    raise typer.Exit(code)


def excerpt(message: str) -> str:
    """On one line; of a long one both ends, for the cause may stand at either."""
    line = " ".join(message.split())
    return line if len(line) <= MOST else f"{line[: MOST // 2]} ... {line[-MOST // 2 :]}"


def stores(store: Path | None) -> tuple[Path, ...]:
    """The store to read that was named, none where none was; a mistyped folder is no empty store."""
    if store is not None and not store.is_dir():
        stop(f"{store}: there is no such folder of runs", REFUSED)
    if store is None and paths.store().is_file():
        stop(f"{paths.store()}: NSR_RUNS names a file, and runs lie in a folder", REFUSED)
    return () if store is None else (store,)


def refuse_unwritable_files(*files: Path | None) -> None:
    """Stop now rather than when what is to be written there has been computed."""
    named = [file.resolve() for file in files if file is not None]
    for file in named:
        if file.exists() and not file.is_file():
            raise ValueError(f"{file} is no plain file: name another one to write to")
        refuse_unwritable(file.parent)
    if len(set(named)) < len(named):
        raise ValueError(f"{named[0]}: name two files, one would be written over the other")


def memory() -> float:
    """Bytes of this machine, where it says so."""
    names = getattr(os, "sysconf_names", {})
    if not {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= set(names):
        return math.inf
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def few(names: Sequence[str], most: int = 4) -> str:
    """Some names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def row(name: str, entries: Sequence[str], width: int = 15) -> str:
    return f"  {name:{width}}" + "".join(f"{entry:>9}" for entry in entries)


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1) -> str:
    """Columns as wide as they need; the first `words` and those without a name hold words, the others numbers."""
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    sides = ["<" if k < words or not name else ">" for k, name in enumerate(header)]
    return "\n".join(
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(line, sides, widths, strict=True)).rstrip()
        for line in lines
    )


def percent(shares: Sequence[float]) -> list[str]:
    return [f"{100 * share:.1f}" for share in shares]
