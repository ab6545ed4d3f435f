"""One chapter with other parameters: its notebook and its page, in a folder of their own."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import nbformat
import papermill
import yaml
from papermill.exceptions import PapermillExecutionError

from nsr import data, paths
from nsr.book.notebooks import stripped
from nsr.book.parameters import check, of_chapter
from nsr.files import locked, write_whole

# what a book is made of beside data, which is linked: all of the tree but what is made, stored or only for developers
LEFT_OUT = ("_build", "runs", "logs", "data", "tests", "benchmarks", "*.egg-info", "__pycache__", ".*")
SCREEN = 110, 10  # columns, and lines of traceback, of an error that fits on one screen
ANSI = re.compile(r"\x1b\[[\d;]*m")


class ChapterError(RuntimeError):
    """A cell failed; the message fits on one screen and ends with where the notebook lies, executed so far."""


class BuildError(RuntimeError):
    """Jupyter Book gave up; the message ends with its last words."""


@dataclass(frozen=True)
class Rerun:
    """A rerun chapter: what differed from its defaults, the executed notebook, and its page."""

    changes: dict[str, object]
    notebook: Path
    page: Path


def run(chapter: Path, given: Mapping[str, object]) -> Rerun:
    """Check the parameters, execute the chapter with them, build its page. Nothing runs before the check is passed."""
    changes = check(of_chapter(chapter), given, chapter.stem)
    have_data(changes)
    folder = paths.BUILD / "runs" / f"{chapter.stem}-{digest(changes)}"
    notebook, source = folder / chapter.name, folder / "source"
    with locked(folder):  # the same parameters name the same folder: a second process waits for the first
        shutil.rmtree(folder, ignore_errors=True)
        execute(chapter, notebook, changes)
        copy_book(source)
        page = source / "chapters" / chapter.name
        shutil.copy(notebook, page)
        mark(page, changes)
        table_of_contents = {"format": "jb-book", "root": f"chapters/{chapter.stem}"}
        write_whole(source / "_toc.yml", yaml.safe_dump(table_of_contents).encode())
        build(source, folder / "html")
        shutil.rmtree(source)
    return Rerun(changes, notebook, folder / "html" / "chapters" / f"{chapter.stem}.html")


def have_data(changes: Mapping[str, object]) -> None:
    """A data set that is out of reach costs one line (DataError), not a traceback from each chapter that wants it."""
    if "dataset" in changes:
        data.load(str(changes["dataset"]))


def execute(chapter: Path, out: Path, changes: Mapping[str, object]) -> None:
    """Execute into `out`; a chapter that fails leaves there what it has done, its error included."""
    os.environ["OMP_NUM_THREADS"] = "1"  # as for the reference: sums are added in one order
    out.parent.mkdir(parents=True, exist_ok=True)
    # the kernel's own warnings, of no concern to a reader, would tear the progress bar
    quiet = {
        "kernel_name": "python3",
        "language": "python",
        "cwd": paths.CHAPTERS,
        "extra_arguments": ["--log-level=40"],
    }
    try:
        papermill.execute_notebook(chapter, out, dict(changes), progress_bar={"desc": chapter.stem}, **quiet)
    except PapermillExecutionError as error:
        raise ChapterError(f"{one_screen(chapter.stem, error)}\n\npartial notebook: {out}") from None
    finally:
        if out.exists():
            cleaned = stripped(nbformat.read(out, as_version=4))
            write_whole(out, nbformat.writes(cleaned).rstrip("\n").encode() + b"\n")


def one_screen(stem: str, error: PapermillExecutionError) -> str:
    """The cell, where in the code it failed, and why: a traceback without the lines around each line.

    Lines of code are cut; the cause is folded, and of a long one both ends are shown.
    """
    columns, most = SCREEN
    trace = ANSI.sub("", "\n".join(error.traceback)).splitlines()
    where = [line for line in trace if re.match(r"File |Cell |-+> ?\d", line)][-most:]
    shown = [f"a cell of {stem} failed:", "", *(f"    {line}" for line in error.source.splitlines()), "", *where]
    cause = [part for line in f"{error.ename}: {error.evalue}".splitlines() for part in textwrap.wrap(line, columns)]
    if len(cause) > most:
        cause = [*cause[: most // 2], "...", *cause[-most // 2 + 1 :]]
    return "\n".join([*(line if len(line) <= columns else line[: columns - 3] + "..." for line in shown), *cause])


def digest(changes: Mapping[str, object]) -> str:
    """Eight digits that name a set of parameters."""
    return hashlib.sha256(json.dumps(changes, sort_keys=True).encode()).hexdigest()[:8]


def copy_book(source: Path) -> None:
    """The book's files, to be changed and built; data is linked to, for pages that show a file of it."""
    shutil.copytree(paths.ROOT, source, ignore=shutil.ignore_patterns(*LEFT_OUT))
    if paths.DATA.exists():
        (source / "data").symlink_to(paths.DATA, target_is_directory=True)


def mark(page: Path, changes: Mapping[str, object]) -> None:
    """Say below the title of an executed chapter that it is not the reference, and what it was executed with."""
    notebook = nbformat.read(page, as_version=4)
    title, _, rest = notebook.cells[0].source.partition("\n")
    settings = ", ".join(f"`{name} = {value}`" for name, value in changes.items()) or "its own parameters"
    box = f"```{{warning}}\nRerun with {settings}. Not the reference.\n```"
    notebook.cells[0].source = f"{title}\n\n{box}\n{rest}"
    write_whole(page, nbformat.writes(notebook).encode())


def build(source: Path, out: Path) -> None:
    """Jupyter Book over `source`. What a lone chapter refers to elsewhere is a warning here, and no error."""
    start = "from jupyter_book.cli.main import main; main()"
    made = out.with_name("building")
    command = [sys.executable, "-c", start, "build", str(source), "--path-output", str(made), "--all"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = "\n".join(ANSI.sub("", done.stdout + done.stderr).splitlines()[-SCREEN[1] :])
        raise BuildError(f"jupyter-book could not build {source}:\n{last}")
    shutil.rmtree(out, ignore_errors=True)
    shutil.move(made / "_build" / "html", out)
    shutil.rmtree(made)
