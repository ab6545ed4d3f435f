"""One chapter with other parameters: its notebook and its page, in a folder of their own."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import yaml
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from nsr import data, paths
from nsr.book import BuildError, ChapterError, notebooks
from nsr.book.parameters import check, of_chapter
from nsr.files import locked, write_whole

Plans = Mapping[str, Mapping[str, object]]  # chapter -> its parameters that differ from the defaults

# what a book is made of beside data, which is linked: all of the tree but what is made, stored or only for developers
LEFT_OUT = ("_build", "runs", "logs", "data", "tests", "benchmarks", "*.egg-info", "__pycache__", ".*")
JUPYTER_BOOK = (sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build")
COLUMNS, LINES = 110, 10  # of each part of an error that fits on one screen
ANSI = re.compile(r"\x1b\[[\d;]*m")
# what a traceback is without the lines around each line: where, and by which exceptions
TRACE = re.compile(r"File |Cell |-+> ?\d|[\w.]+(?:Error|Exception)(?::|$)")


class Rerun(NamedTuple):
    """A rerun chapter: the executed notebook and its page."""

    notebook: Path
    page: Path


def run(chapter: Path, given: Mapping[str, object]) -> Rerun:
    """Check the parameters, execute the chapter with them, build its page. Nothing runs before the check is passed."""
    changes = check(of_chapter(chapter), given, chapter.stem)
    have_data(changes)
    with fresh("runs", f"{chapter.stem}-", changes) as folder:
        execute(chapter, folder, changes)
        bind(folder, {chapter.stem: changes}, {"format": "jb-book", "root": f"chapters/{chapter.stem}"})
    return Rerun(folder / chapter.name, folder / "html" / "chapters" / f"{chapter.stem}.html")


def have_data(changes: Mapping[str, object]) -> None:
    """A data set that is out of reach costs one line (DataError), not a traceback from each chapter that wants it."""
    if "dataset" in changes:
        data.load(str(changes["dataset"]))


@contextlib.contextmanager
def fresh(kind: str, prefix: str, parameters: object) -> Iterator[Path]:
    """An empty folder named by these parameters; another process that wants the same one waits."""
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:8]
    folder = paths.BUILD / kind / f"{prefix}{digest}"
    with locked(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        yield folder


def execute(chapter: Path, folder: Path, changes: Mapping[str, object]) -> None:
    """Execute into `folder`; ChapterError says in which cell it failed, and why."""
    out = folder / chapter.name
    try:
        notebooks.execute(chapter, out, changes)
    except PapermillExecutionError as error:
        raise ChapterError(f"{one_screen(chapter.stem, error)}\n\npartial notebook: {out}") from None
    except DeadKernelError:
        died = f"the kernel of {chapter.stem} died, as it does where the memory does not suffice"
        raise ChapterError(f"{died}\n\npartial notebook: {out}") from None


def one_screen(stem: str, error: PapermillExecutionError) -> str:
    """The cell, where in the code it failed, and why. The cause is wrapped, and never cut at its end."""
    trace = ANSI.sub("", "\n".join(error.traceback)).splitlines()
    where = [line for line in trace if TRACE.match(line)]
    if where and where[-1].startswith(error.ename):
        where.pop()  # it is the cause itself
    lines = [
        f"a cell of {stem} failed:",
        "",
        *(f"    {line}" for line in error.source.splitlines()),
        "",
        *where[-LINES:],
    ]
    why = [part for line in f"{error.ename}: {error.evalue}".splitlines() for part in textwrap.wrap(line, COLUMNS)]
    if len(why) > LINES:
        why[LINES // 2 : -LINES // 2] = ["..."]
    return "\n".join([*(line if len(line) <= COLUMNS else f"{line[: COLUMNS - 3]}..." for line in lines), *why])


def bind(folder: Path, plans: Plans, contents: object, pages: Mapping[str, str] | None = None) -> None:
    """The book of the tree in `folder`/html, with the chapters that lie executed in `folder` and some more pages."""
    source = folder / "source"
    shutil.copytree(paths.ROOT, source, ignore=shutil.ignore_patterns(*LEFT_OUT))
    if paths.DATA.exists():  # for pages that show a file of it
        (source / "data").symlink_to(paths.DATA, target_is_directory=True)
    for stem, changes in plans.items():
        notebook = notebooks.read(folder / f"{stem}.ipynb")
        notebook.cells[0].source = marked(notebook.cells[0].source, changes)
        notebooks.write(source / "chapters" / f"{stem}.ipynb", notebook)
    for name, text in {**(pages or {}), "_toc.yml": yaml.safe_dump(contents, sort_keys=False)}.items():
        write_whole(source / name, text.encode())
    build(source, folder / "html")
    shutil.rmtree(source)


def marked(page: str, changes: Mapping[str, object]) -> str:
    """A page that says under its title that it is not the reference."""
    settings = ", ".join(f"`{name} = {value}`" for name, value in changes.items()) or "its own parameters"
    mark = f":::{{warning}}\nRerun with {settings}. Not the reference.\n:::"
    return re.sub(r"^# .+$", lambda title: f"{title[0]}\n\n{mark}\n", page, count=1, flags=re.MULTILINE)


def build(source: Path, out: Path) -> None:
    """Jupyter Book over `source`. What a lone chapter refers to elsewhere is a warning here, and no error."""
    made = out.with_name("building")
    command = [*JUPYTER_BOOK, str(source), "--path-output", str(made), "--all"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        words = ANSI.sub("", done.stdout)
        write_whole(made / "log.txt", words.encode())
        causes = [line for line in words.splitlines() if re.search("error|exception", line, re.IGNORECASE)]
        told = "\n".join(causes[-LINES:])
        raise BuildError(f"jupyter-book could not build {source}; all that it says is in {made / 'log.txt'}\n{told}")
    shutil.move(made / "_build" / "html", out)
    shutil.rmtree(made)
