"""`nsr run`, `book` and `provenance`: what needs the repository's chapters and the packages of the book."""

from __future__ import annotations

import contextlib
import re
import reprlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from nsr import paths
from nsr.book import BuildError, ChapterError
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
        typer.Option("--parameter", "-p", metavar="NAME VALUE", help="set one parameter; for several, use it again"),
    ] = None,
    params: Annotated[Path | None, path_option("YAML file of lines `name: value`; -p overrides it")] = None,
    help_parameters: Annotated[
        bool, typer.Option("--help-parameters", help="list the chapter's parameters and run nothing")
    ] = False,
) -> None:
    """Execute one chapter with other parameters, beside the book's own.

    For example

    \b
        nsr run 04 --help-parameters
        nsr run 04 -p seed 1 -p hidden "[64, 32]"

    Every parameter is checked before anything runs. Numbers are decimal: 0777 is 777. The executed notebook and its
    page go into a folder of their own under _build/runs. Exit code 1: a cell failed; the notebook up to it is kept.
    """
    with _book_refusals():
        from nsr.book import notebooks, parameters, rerun

        (notebook,) = notebooks.chapters([chapter])
        if help_parameters:
            typer.echo("\n".join(_listed(parameters.of_chapter(notebook).values())))
            return
        from_file = parameters.of_file(params) if params else {}
        done = rerun.run(notebook, from_file | _assignments(pairs or [], "-p takes NAME VALUE"))
    typer.echo(f"notebook: {done.notebook}\npage:     {done.page}")


@commands.command("book")
def book_command(
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="set one parameter; for several, use it again"),
    ] = None,
) -> None:
    """Rebuild the whole book under one set of parameters, beside the first, with a page that compares the two.

    For example

    \b
        nsr book --set dataset=digits --set seed=1

    Each chapter takes the parameters that it declares, or with 09.seeds=2 chapter 9 alone; chapters that take none are
    copied as they are. Exit code 1: a chapter failed; the book is built nevertheless and shows where.
    """
    with _book_refusals():
        from nsr.book import edition

        made = edition.rebuild(edition.plan(_assignments(settings or [], "--set takes NAME=VALUE")))
    for error in made.failed.values():
        typer.echo(f"nsr: {error}\n", err=True)
    typer.echo(f"book:     {made.index}\ncompared: {made.compared}")
    if made.failed:
        raise typer.Exit(1)


@commands.command("provenance")
def provenance_command() -> None:
    """Write codecheck.yml and ro-crate-metadata.json: what is in this repository, for machines.

    Both are computed from the tree, the stored runs included, and hold no time: without a change they stay the same.
    """
    with _book_refusals():
        from nsr.book import provenance

        written = provenance.write()
    typer.echo(f"written: {', '.join(path.name for path in written)}")


@contextlib.contextmanager
def _book_refusals() -> Iterator[None]:
    """In here nsr.book is loaded: a bare installation lacks its packages, and only these commands need them."""
    with refusals():
        try:
            paths.refuse_without_checkout("chapters")
            yield
        except ModuleNotFoundError as error:
            stop(f"{error.name} is missing: install the book's packages with pip install -e '.[book]'", REFUSED)
        except (ChapterError, BuildError) as error:
            typer.echo(f"nsr: {error}", err=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            stop("interrupted; the same command starts again", INTERRUPTED)


def _assignments(texts: Sequence[str], form: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for text in texts:
        if not re.match(r"[^=]*[^\s.=]\s*=", text):  # a name that is no chapter's alone, as 04. is
            raise ValueError(f"{form}, got {reprlib.repr(text)}")
        name, value = text.split("=", 1)
        if name in found:
            raise ValueError(f"{reprlib.repr(name)} is given twice: once is enough")
        found[name] = value
    return found


def _listed(known: Sequence[Any]) -> Iterator[str]:
    """Name, type and limit, default and meaning of every parameter, one a line."""
    rows = [("name", "takes", "default", "meaning"), *((p.name, p.allowed, str(p.default), p.meaning) for p in known)]
    widths = [min(max(len(row[k]) for row in rows), 50) for k in range(3)]
    for row in rows:
        yield "  ".join([f"{cell:{width}}" for cell, width in zip(row[:3], widths, strict=True)] + [row[3]])
