"""`nsr run` and `book`: a chapter or the whole book with other parameters."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from nsr.cli.leave import INTERRUPTED, REFUSED
from nsr.cli.options import path_option
from nsr.cli.terminal import refusals, room, stop

commands = room()


class Pairs(TyperCommand):
    """A command that takes `-p NAME VALUE`, which typer cannot declare, as `-p NAME=VALUE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        joined, rest = [], list(args)
        while rest:
            word = rest.pop(0)
            if word in ("-p", "--parameter") and len(rest) > 1 and "=" not in rest[0]:
                rest[:2] = [f"{rest[0]}={rest[1]}"]
            joined.append(word)
        return super().parse_args(ctx, joined)


@commands.command("run", cls=Pairs)
def run_command(
    chapter: Annotated[str, typer.Argument(help="a chapter's name or the start of it: 04")],
    pairs: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="NAME VALUE", help="set one parameter; may be repeated"),
    ] = None,
    params: Annotated[Path | None, path_option("YAML file of lines `name: value`; -p goes before it")] = None,
    help_parameters: Annotated[
        bool, typer.Option("--help-parameters", help="list the chapter's parameters and run nothing")
    ] = False,
) -> None:
    """Execute one chapter with other parameters, beside the book's own.

    For example

    \b
        nsr run 04 --help-parameters
        nsr run 04 -p seed 1 -p hidden "[64, 32]"

    Every parameter is checked before anything runs. The executed notebook and its page go into a folder of their own
    under _build/runs. Exit code 1: a cell failed; the notebook up to it is kept.
    """
    book = _book()
    with refusals(), _chapters_refusals(book):
        (notebook,) = book.chapters([chapter])
        if help_parameters:
            typer.echo("\n".join(_parameters(book.of_chapter(notebook))))
            return
        given = (book.of_file(params) if params else {}) | _assignments(pairs or [], "-p takes NAME VALUE")
        done = book.run(notebook, given)
    typer.echo(f"notebook: {done.notebook}\npage:     {done.page}")


@commands.command("book")
def book_command(
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="set one parameter; may be repeated")
    ] = None,
) -> None:
    """Rebuild the whole book under one set of parameters, beside the first, with a page that compares the two.

    For example

    \b
        nsr book --set dataset=digits --set seed=1

    Each chapter takes the parameters that it declares, or with 08.seeds=2 chapter 8 alone; chapters that take none are
    copied as they are. Exit code 1: a chapter failed; the book is built nevertheless and shows where.
    """
    book = _book()
    with refusals(), _chapters_refusals(book):
        edition = book.rebuild(book.plan(_assignments(settings or [], "--set takes NAME=VALUE")))
    for error in edition.failed.values():
        typer.echo(f"nsr: {error}\n", err=True)
    typer.echo(f"book:     {edition.index}\ncompared: {edition.compared}")
    if edition.failed:
        raise typer.Exit(1)


def _book() -> ModuleType:
    """Loaded late: only these commands need the packages of the book, which a bare installation lacks."""
    try:
        from nsr import book
    except ModuleNotFoundError as error:
        stop(f"{error.name} is missing: install the book's packages with pip install -e '.[book]'", REFUSED)
    return book


@contextlib.contextmanager
def _chapters_refusals(book: ModuleType) -> Iterator[None]:
    try:
        yield
    except (book.ChapterError, book.BuildError) as error:
        typer.echo(f"nsr: {error}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        stop("interrupted; the same command starts again", INTERRUPTED)


def _assignments(texts: Sequence[str], form: str) -> dict[str, object]:
    for text in texts:
        if not re.match(r"[^=]*[^\s.=]\s*=", text):  # a name that is no chapter's alone, as 04. is
            raise ValueError(f"{form}, got {text!r:.60}")
    pairs = [text.split("=", 1) for text in texts]
    names = [name for name, _ in pairs]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"{min(twice):.60} is set more than once")
    return dict(pairs)


def _parameters(known: Mapping[str, Any]) -> Iterator[str]:
    """Name, type and limit, default and meaning of every parameter, one a line."""
    rows = [(p.name, p.allowed, str(p.default), p.meaning) for p in known.values()]
    widths = [min(max(len(row[k]) for row in rows), 40) for k in range(3)] if rows else []
    for row in [("name", "takes", "default", "meaning"), *rows]:
        yield "  ".join([f"{cell:{width}}" for cell, width in zip(row[:3], widths, strict=True)] + [row[3]])
