"""The whole book under one set of parameters, beside the reference, with a page that compares the two."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import yaml

from nsr import paths
from nsr.book.headlines import headlines, said
from nsr.book.notebooks import chapters
from nsr.book.parameters import Parameter, check, of_chapter
from nsr.book.rerun import ChapterError, build, copy_book, digest, execute, have_data, mark
from nsr.files import locked, write_whole

PAGE = "compared"


@dataclass(frozen=True)
class Edition:
    """A rebuilt book: its first page, the page that compares it, and the chapters that failed with their errors."""

    folder: Path
    failed: dict[str, ChapterError] = field(default_factory=dict)

    @property
    def index(self) -> Path:
        return self.folder / "html" / "index.html"

    @property
    def compared(self) -> Path:
        return self.folder / "html" / f"{PAGE}.html"


def plan(given: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """For every chapter that has to be executed again, by name, its parameters that differ from the defaults.

    Each chapter takes those that it declares; "08.seeds" is for chapter 8 alone and goes before "seeds". ValueError: no
    chapter declares one, or one that does cannot take it.
    """
    declared = {chapter.stem: of_chapter(chapter) for chapter in chapters()}
    everywhere: dict[str, Parameter] = {name: p for known in declared.values() for name, p in known.items()}
    own: dict[str, dict[str, object]] = {stem: {} for stem in declared}
    for chapter, name in (name.split(".", 1) for name in given if "." in name):
        own[chapters([chapter])[0].stem][name] = given[f"{chapter}.{name}"]
    shared = {name: value for name, value in given.items() if "." not in name}
    check(everywhere, {name: None for name in shared if name not in everywhere}, "the book")
    plans = {}
    for stem, known in declared.items():
        mine = {name: value for name, value in shared.items() if name in known}
        try:
            changes = check(known, mine | own[stem], stem)
        except ValueError as error:
            raise ValueError(f"{stem}: {error}{_elsewhere(mine, stem, declared)}") from None
        if changes:
            plans[stem] = changes
    if not plans:
        raise ValueError("nothing differs from the reference: build that with make book")
    return plans


def _elsewhere(given: Mapping[str, object], stem: str, declared: Mapping[str, Mapping[str, Parameter]]) -> str:
    """Where a value that chapter `stem` refuses would be taken: names are shared, types need not be."""
    refused = {name: value for name, value in given.items() if not _takes(declared[stem][name], value)}
    fits = [
        f"{other[:2]}.{name}={value}"
        for name, value in refused.items()
        for other, known in declared.items()
        if name in known and _takes(known[name], value)
    ]
    return f"; one by one it fits as {' '.join(fits)}" if fits else ""


def _takes(parameter: Parameter, value: object) -> bool:
    try:
        parameter.take(value)
    except ValueError:
        return False
    return True


def rebuild(plans: Mapping[str, dict[str, object]]) -> Edition:
    """Execute the chapters of a plan and build the book. A chapter that fails is in it with its error."""
    for changes in plans.values():
        have_data(changes)
    folder = paths.BUILD / "books" / digest(plans)
    source, edition = folder / "source", Edition(folder)
    with locked(folder):
        shutil.rmtree(folder, ignore_errors=True)
        copy_book(source)
        for stem, changes in plans.items():
            try:
                execute(paths.CHAPTERS / f"{stem}.ipynb", source / "chapters" / f"{stem}.ipynb", changes)
            except ChapterError as error:
                edition.failed[stem] = error
        write_whole(source / f"{PAGE}.md", "\n".join(page(plans, source, edition.failed)).encode())
        contents = yaml.safe_load((source / "_toc.yml").read_text())
        contents["parts"].insert(0, {"caption": "This edition", "chapters": [{"file": PAGE}]})
        write_whole(source / "_toc.yml", yaml.safe_dump(contents, sort_keys=False).encode())
        for stem, changes in plans.items():
            mark(source / "chapters" / f"{stem}.ipynb", changes)
        build(source, folder / "html")
    return edition


def page(plans: Mapping[str, dict[str, object]], source: Path, failed: Mapping[str, object]) -> Iterator[str]:
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
        reference = nbformat.read(paths.CHAPTERS / f"{stem}.ipynb", as_version=4)
        before, words = headlines(reference), said(reference)
        after = headlines(nbformat.read(source / "chapters" / f"{stem}.ipynb", as_version=4))
        names = dict.fromkeys([*before, *after])
        what = {name: _cell(words[name]) if name in words else _code(name) for name in names}
        rows = [(what[name], *_both(before.get(name, "-"), after.get(name, "-"))) for name in names]
        yield from _table(("Number", "Reference", "Here"), rows) if rows else ["It has no headline number.\n"]


def _parameters(plans: Mapping[str, dict[str, object]]) -> Iterator[tuple[str, ...]]:
    for stem, changes in plans.items():
        known = of_chapter(paths.CHAPTERS / f"{stem}.ipynb")
        for name, value in changes.items():
            yield f"{{doc}}`chapters/{stem}`", _code(name), _code(str(known[name].default)), _code(str(value))


def _both(before: str, after: str) -> tuple[str, str]:
    """The reference and what came out, bold where they differ."""
    return _cell(before), _cell(after) if after == before else f"**{_cell(after)}**"


def _code(text: str) -> str:
    return f"`{_cell(text.replace('`', ''))}`"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", " ").split())


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]] | list[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + " --- |" * len(head)
    yield from (f"| {' | '.join(row)} |" for row in rows)
