"""Figures on a page: their numbers beside them, a tap opens the full size, lines take the ground of a dark page.

Lines on white can be turned into lines on black with the same hues by a filter of the style sheet. That would turn a
map of accuracies or a handwritten digit into its negative, so they keep their white plate.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import numpy as np
from docutils import nodes
from PIL import Image
from sphinx.addnodes import download_reference
from sphinx.application import Sphinx

from nsr.book import notebooks

GROUND, SHARE = 205, 0.85  # from which value on a pixel is ground or a pale band, and how much of line art is that
TOLD = re.compile(r"\b(black|white|light|dark)\b", re.IGNORECASE)  # words that would be wrong on a dark page


def is_line_art(picture: Image.Image) -> bool:
    """Whether nearly all of a picture is white or pale grey."""
    darkest = np.asarray(picture.convert("RGB")).min(axis=2)
    return bool((darkest >= GROUND).mean() >= SHARE)


def without_numbers(app: Sphinx, docname: str, source: list[str]) -> None:
    """What MyST-NB reads of a notebook: all but the figures' CSV, a kind of output that it does not know."""
    if app.env.doc2path(docname).endswith(".ipynb"):
        notebook = nbformat.reads(source[0], as_version=4)
        for cell in notebook.cells:
            for output in cell.get("outputs", ()):
                output.get("data", {}).pop("text/csv", None)
        source[0] = nbformat.writes(notebook)


def downloads(app: Sphinx, doctree: nodes.document) -> None:
    """Below a figure's caption its numbers as CSV, and the vector graphics that are built of the same picture."""
    page = Path(app.env.doc2path(app.env.docname))
    notebook = notebooks.read(page) if page.suffix == ".ipynb" else None
    known = notebooks.figures(notebook) if notebook else {}
    for figure in doctree.findall(nodes.figure):
        for name in set(figure["names"]) & set(known):
            line = nodes.paragraph(classes=["nsr-figure-files"])
            for words, file in _files(app, name, known[name], notebooks.figure(notebook, name)):
                look = {"reftarget": f"/{os.path.relpath(file, app.srcdir)}", "refdoc": app.env.docname}
                line += [nodes.Text(" · ")] if len(line) else []
                line += download_reference("", "", nodes.inline(text=words), **look)
            figure += nodes.legend("", line)


def _files(app: Sphinx, name: str, shown: dict[str, str], picture: bytes) -> Iterator[tuple[str, Path]]:
    """The words of a link and the file it leads to."""
    if "text/csv" in shown:
        numbers = Path(app.doctreedir, "figures", f"{name}.csv")
        numbers.parent.mkdir(parents=True, exist_ok=True)
        numbers.write_text(shown["text/csv"])
        yield "numbers (CSV)", numbers
    built = Path(app.srcdir, "chapters", "figures", f"{name}.png")
    if built.is_file() and built.read_bytes() == picture:  # not that of a rerun with other parameters
        vectors = (built.with_suffix(suffix) for suffix in (".pdf", ".svg"))
        yield from ((file.suffix[1:].upper(), file) for file in vectors if file.is_file())


def figures(app: Sphinx, doctree: nodes.document) -> None:
    """Mark each picture that a cell shows. Sphinx links what has a width to its full size."""
    for image in doctree.findall(nodes.image):
        path = Path(app.srcdir, image["uri"])
        if _shown_by_a_cell(image) and path.suffix == ".png":
            with Image.open(path) as picture:
                image["width"] = f"{picture.width}px"
                if is_line_art(picture) and not TOLD.search(_words(image)):
                    image["classes"].append("nsr-line-art")


def _shown_by_a_cell(node: nodes.Node) -> bool:
    while node := node.parent:
        if isinstance(node, nodes.container) and node.get("nb_element") == "cell_code_output":
            return True
    return False


def _words(image: nodes.image) -> str:
    """The caption, and the words for who cannot see the picture."""
    around = image.parent
    while around and not isinstance(around, nodes.figure):
        around = around.parent
    captions = around.findall(nodes.caption) if around else ()
    return " ".join([image.get("alt", ""), *(caption.astext() for caption in captions)])


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", without_numbers)
    app.connect("doctree-read", downloads, priority=400)  # before Sphinx collects what can be downloaded
    app.connect("doctree-read", figures, priority=800)  # when Sphinx has collected the pictures
    return {"parallel_read_safe": True}
