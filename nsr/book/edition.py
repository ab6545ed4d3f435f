"""The whole book under one set of parameters, beside the reference, with a page that compares the two."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import yaml

from nsr import paths
from nsr.book import ChapterError
from nsr.book.headlines import headlines, said
from nsr.book.notebooks import chapters, read
from nsr.book.parameters import check, of_chapter
from nsr.book.rerun import Plans, bind, execute, fresh, have_data

PAGE = "compared"


class Edition(NamedTuple):
    """A rebuilt book: its first page, the page that compares it, and the chapters that failed with their errors."""

    index: Path
    compared: Path
    failed: dict[str, ChapterError]


def plan(given: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """For every chapter that has to be executed again, by name, its parameters that differ from the defaults.

    Each chapter takes those that it declares; "09.seeds" is for chapter 9 alone and goes before "seeds". ValueError: no
    chapter declares one, or one that does cannot take it.
    """
    declared = {chapter.stem: of_chapter(chapter) for chapter in chapters()}
    everywhere = {name: parameter for known in declared.values() for name, parameter in known.items()}
    shared = {name: value for name, value in given.items() if "." not in name}
    check(everywhere, {name: None for name in shared if name not in everywhere}, "the book")
    own: dict[str, dict[str, object]] = {stem: {} for stem in declared}
    for chapter, name in (name.split(".", 1) for name in given if "." in name):
        mine = own[chapters([chapter])[0].stem]
        if name in mine:
            raise ValueError(f"{chapter}.{name} is given twice: once is enough")
        mine[name] = given[f"{chapter}.{name}"]
    plans = {}
    for stem, known in declared.items():
        try:
            plans[stem] = check(known, {name: shared[name] for name in known if name in shared} | own[stem], stem)
        except ValueError as error:
            raise ValueError(f"{stem}: {error}; NN.name=value sets a parameter of chapter NN alone") from None
    if not any(plans.values()):
        raise ValueError("nothing differs from the reference: build that with make book")
    return {stem: changes for stem, changes in plans.items() if changes}


def rebuild(plans: Plans) -> Edition:
    """Execute the chapters of a plan and build the book. A chapter that fails is in it with its error."""
    for changes in plans.values():
        have_data(changes)
    failed = {}
    with fresh("books", "", plans) as folder:
        for chapter in (paths.CHAPTERS / f"{stem}.ipynb" for stem in plans):
            try:
                execute(chapter, folder, plans[chapter.stem])
            except ChapterError as error:
                failed[chapter.stem] = error
        contents = yaml.safe_load((paths.ROOT / "_toc.yml").read_text())
        contents["parts"].insert(0, {"caption": "This edition", "chapters": [{"file": PAGE}]})
        bind(folder, plans, contents, {f"{PAGE}.md": "\n".join(page(plans, folder, failed))})
    return Edition(folder / "html" / "index.html", folder / "html" / f"{PAGE}.html", failed)


def page(plans: Plans, folder: Path, failed: Mapping[str, object]) -> Iterator[str]:
    """The page that compares, line by line."""
    yield "# Compared with the reference\n"
    yield "This book was rebuilt with other parameters. Chapters that are not named here are those of the reference.\n"
    yield "## Parameters\n"
    yield from _table(("Chapter", "Parameter", "Reference", "Here"), _parameters(plans))
    yield "\n## Headline numbers\n"
    yield "The numbers that the closing box of a chapter speaks of, and what its cells tagged `headline` print."
    yield "The words around a number say which it is; its place is #. What differs from the reference is bold.\n"
    yield "The sentences of a chapter were written for the reference. A number may contradict one and is right.\n"
    for stem in plans:
        yield f"\n### {{doc}}`chapters/{stem}`\n"
        if stem in failed:
            yield "This chapter failed with these parameters; its page shows how far it came.\n"
        rows = [*_numbers(paths.CHAPTERS / f"{stem}.ipynb", folder / f"{stem}.ipynb")]
        yield from _table(("Number", "Reference", "Here"), rows) if rows else ["It has no headline number.\n"]


def _parameters(plans: Plans) -> Iterator[tuple[str, ...]]:
    for stem, changes in plans.items():
        known = of_chapter(paths.CHAPTERS / f"{stem}.ipynb")
        for name, value in changes.items():
            yield f"{{doc}}`chapters/{stem}`", _code(name), _code(str(known[name].default)), _code(str(value))


def _numbers(reference: Path, here: Path) -> Iterator[tuple[str, ...]]:
    """What is measured, the reference, and what came out, bold where they differ."""
    words, before, after = said(read(reference)), headlines(read(reference)), headlines(read(here))
    for name in dict.fromkeys([*before, *after]):
        old, new = _cell(before.get(name, "-")), _cell(after.get(name, "-"))
        yield _cell(words[name]) if name in words else _code(name), old, new if new == old else f"**{new}**"


def _code(text: str) -> str:
    return f"`{_cell(text.replace('`', ''))}`"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", " ").split())


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield from (f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows))
