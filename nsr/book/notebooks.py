"""The chapters through papermill, executed in place and stripped of what a mere rerun would change."""

from __future__ import annotations

import base64
import os
import re
import reprlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import nbformat
import papermill
from nbformat import NotebookNode

from nsr import paths
from nsr.files import write_whole
from nsr.runs.circumstances import processor

# the README shows one figure of one chapter: chapter -> the figure's name in its cell's metadata
README_FIGURES = {"08_figure_1": "fig-figure-1"}
# figures that are also shipped as SVG and PDF: chapter -> the module that writes them when it is run
VECTOR_FIGURES = {"08_figure_1": "nsr.study.figure_1"}

KEPT_IN_NOTEBOOK = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
TAKEN = "nsr"  # where the metadata of an executed notebook say how long that took: {"seconds": .., "hardware": ..}
NO_NOTEBOOK = (ValueError, TypeError, AttributeError, KeyError, RecursionError, nbformat.ValidationError)


def chapters(names: Sequence[str] = ()) -> list[Path]:
    """The notebooks of these names ("03_theorem_1", or the start of one: "03"), or all of them, in reading order."""
    paths.refuse_without_checkout("chapters")
    known = sorted(paths.CHAPTERS.glob("*.ipynb"))
    if not names:
        return known
    found = []
    for name in names:
        stem = Path(name).stem
        matches = [c for c in known if c.stem == stem] or [c for c in known if c.stem.startswith(stem)]
        if len(matches) != 1:
            there = ", ".join(c.stem for c in known)
            raise ValueError(f"no chapter is called {reprlib.repr(name)}; there are: {there}")
        found += matches
    return found


def read(path: Path) -> NotebookNode:
    """A notebook, or ValueError in one line."""
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except NO_NOTEBOOK as error:
        raise ValueError(f"{path} is no notebook ({type(error).__name__}): git checkout -- chapters") from None
    return notebook


def title(page: Path) -> str:
    """The first heading of a page."""
    text = page.read_text() if page.suffix == ".md" else "\n".join(cell.source for cell in read(page).cells)
    return re.findall(r"^# (.+)$", text, re.MULTILINE)[0].strip()


def write(path: Path, notebook: NotebookNode) -> None:
    """The file as Jupyter writes it, with one line end at its end."""
    write_whole(path, nbformat.writes(notebook).rstrip("\n").encode() + b"\n")


def execute(chapter: Path, out: Path, changes: Mapping[str, object] | None = None) -> None:
    """Execute into `out`; a chapter that fails leaves there what it has done, its error included."""
    os.environ["OMP_NUM_THREADS"] = "1"  # the kernel inherits it: with one thread, sums are added in one order
    kernel = {"kernel_name": "python3", "language": "python", "cwd": chapter.parent}
    quiet = {"extra_arguments": ["--log-level=40"]}  # the kernel's own warnings would tear the progress bar
    started, taken = time.perf_counter(), None
    try:
        papermill.execute_notebook(
            chapter, out, dict(changes or {}), progress_bar={"desc": chapter.stem}, **kernel, **quiet
        )
        taken = {"seconds": round(time.perf_counter() - started, 1), "hardware": processor()}
    finally:
        if out.exists():
            write(out, stripped(read(out), taken))


def refresh(chapter: Path) -> NotebookNode:
    """Run a chapter with its default parameters and write it back; one that fails stays on disk as it was.

    Where every cell gives what it gave before, the time that it then took is kept, so that the file stays as it was.
    """
    with tempfile.TemporaryDirectory() as folder:
        executed = Path(folder, chapter.name)
        execute(chapter, executed)
        before, notebook = read(chapter), read(executed)
    if notebook.cells == before.cells:
        notebook = stripped(notebook, before.metadata.get(TAKEN) or notebook.metadata[TAKEN])
    write(chapter, notebook)
    return notebook


def stripped(notebook: NotebookNode, taken: Mapping[str, object] | None = None) -> NotebookNode:
    """The notebook without papermill's times, paths and versions.

    What is left is what the chapter's author wrote, what its code gave, and how long that took.
    """
    notebook.metadata = nbformat.from_dict(KEPT_IN_NOTEBOOK | ({TAKEN: taken} if taken else {}))
    for cell in notebook.cells:
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if not cell.metadata.get("tags", True):  # papermill gives every cell a list of tags
            del cell.metadata["tags"]
    return notebook


def figures(notebook: NotebookNode) -> dict[str, NotebookNode]:
    """Name -> what the cell that a chapter declares as a figure of that name (`mystnb.figure.name`) shows, by kind."""
    named = ((cell.metadata.get("mystnb", {}).get("figure", {}).get("name"), cell) for cell in notebook.cells)
    shown = ((name, output.get("data", {})) for name, cell in named if name for output in cell.outputs)
    return {name: data for name, data in shown if "image/png" in data}


def figure(notebook: NotebookNode, name: str) -> bytes:
    """The PNG of figure `name`."""
    if name not in (known := figures(notebook)):
        raise ValueError(f"the notebook has no figure called {name!r} with a PNG")
    return base64.b64decode(known[name]["image/png"])


def figure_path(name: str) -> Path:
    """Where the README finds figure `name`."""
    return paths.CHAPTERS / "figures" / f"{name}.png"


def main(names: Sequence[str] = ()) -> None:
    """Execute the named chapters, or all, in place."""
    for chapter in chapters(names):
        print(f"executing {chapter.stem}", flush=True)
        notebook = refresh(chapter)
        if name := README_FIGURES.get(chapter.stem):
            write_whole(figure_path(name), figure(notebook, name))
        if module := VECTOR_FIGURES.get(chapter.stem):
            subprocess.run([sys.executable, "-m", module], check=True)
