"""What a reader downloads: a chapter's notebook, which runs and reads where the package is installed; the whole book.

Jupyter knows nothing of the book: numbers in the text, code that is shown from `nsr`, captions and references are
written out. The address to install from is `repository: url` of _config.yml, or is left to the reader where that names
none.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from itertools import takewhile
from pathlib import Path
from types import SimpleNamespace

from docutils import nodes
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell
from sphinx.application import Sphinx
from sphinx.directives.code import LiteralIncludeReader

from nsr import paths
from nsr.book import notebooks, pdf
from nsr.book.headlines import GLUE, formatted, glued

ARCHIVE = "ARCHIVE"  # stands for what _config.yml does not say
INSTALL = """\
# This notebook runs with the package of its book. {how}
{mark}%pip install --quiet "nsr[book] @ {archive}"
# The trained networks lie in the folder `data` of the same archive. Unpack it, name that folder here, and start anew:
# %env NSR_DATA=data
# Tables and figures follow the parameters that you change; numbers inside sentences stay those of the default ones."""
KNOWN = "Installing takes some minutes, once."
UNKNOWN = f"Where it is not installed, put the address of the\n# book's archive in the place of {ARCHIVE} and run:"
ROLE = re.compile(r"\{([\w:]+)\}`([^`<]*?)\s*(?:<([^`>]*)>)?`")
LABEL = re.compile(r"\([\w-]+\)=\s*")
FENCE = re.compile(r"(:{3,}|`{3,})\{([\w:-]+)\} *(.*)")
OPTION = re.compile(r":([\w-]+): *(.*)")


def portable(notebook: NotebookNode, page: Path, repository: str = "") -> NotebookNode:
    """The notebook of a page as it is downloaded: a cell that installs first, the text without directives and roles."""
    archive = f"{repository.rstrip('/')}/archive/HEAD.zip" if repository else ARCHIVE
    how, mark = (KNOWN, "") if repository else (UNKNOWN, "# ")
    cells, numbers = [new_code_cell(INSTALL.format(how=how, mark=mark, archive=archive), id="install")], glued(notebook)
    for cell in notebook.cells:
        cells.append(cell)
        if cell.cell_type == "markdown":
            cell.source = text(cell.source, page, numbers)
        elif figure := cell.metadata.get("mystnb", {}).get("figure"):
            caption = f"*{figure['name']}.* {text(figure['caption'], page, numbers)}"
            cells.append(new_markdown_cell(caption, id=f"caption-{cell.id}"[:64]))
    notebook.cells = cells
    return notebook


def text(source: str, page: Path, numbers: Mapping[str, str]) -> str:
    """A cell's text as plain Markdown."""
    plain = "\n".join(_lines(iter(source.splitlines()), page))
    plain = GLUE.sub(lambda found: formatted(numbers[found[1]], found[2]) if found[1] in numbers else "?", plain)
    return ROLE.sub(lambda found: _role(*found.groups(), page), plain).strip()


def _role(kind: str, words: str, target: str | None, page: Path) -> str:
    match kind:
        case "doc":
            there = (page.parent / (target or words)).resolve()
            pages = [] if target else list(there.parent.glob(f"{there.name}.*"))
            return notebooks.title(pages[0]) if pages else words
        case "eq" | "cite" | "cite:t":
            return f"({target or words})"
        case "py:func" | "py:mod" | "py:class" | "py:meth":
            return f"`{target or words}`"
        case "numref" | "prf:ref":
            return f"*{target or words}*"
    return words


def _lines(lines: Iterator[str], page: Path) -> Iterator[str]:
    for line in lines:
        if found := FENCE.fullmatch(line.rstrip()):
            fence, name, words = found.groups()
            body = list(takewhile(lambda other, fence=fence: other.rstrip() != fence, lines))
            options = dict(found.groups() for found in takewhile(bool, map(OPTION.fullmatch, body)))
            yield from _directive(name, words, options, iter(body[len(options) :]), page)
        elif not LABEL.fullmatch(line):
            yield line


def _directive(name: str, words: str, options: Mapping[str, str], body: Iterator[str], page: Path) -> Iterator[str]:
    """What a directive shows; of a box its title and its text."""
    if name == "literalinclude":
        reader = LiteralIncludeReader(str(page.parent / words), options, SimpleNamespace(source_encoding="utf-8"))
        yield from ("```python", reader.read()[0].rstrip(), "```")
    elif name == "verdicts":
        data = page.parent.parent / "data"
        claims = [one for file in sorted(data.glob("*claims.json")) for one in json.loads(file.read_text())["claims"]]
        yield from (f"- **{c['name']} {c['verdict']}** {c['title']}" for c in claims if c["name"].startswith(words))
    else:
        title = words if name in ("admonition", "dropdown") else name.removeprefix("prf:").capitalize()
        title += f" ({words})" if words and title != words else ""
        yield from (f"**{title}**" + (f" *{options['label']}*" if "label" in options else ""), "")
        yield from _lines(body, page)


def printed(app: Sphinx) -> Path | None:
    """The printed book, where it has been made from these pages as they stand; not beside a rerun."""
    book, pages = pdf.FOLDER / "book.pdf", map(Path, map(app.env.doc2path, app.env.found_docs))
    if Path(app.srcdir) != paths.ROOT or not book.is_file():
        return None
    return book if all(page.stat().st_mtime <= book.stat().st_mtime for page in pages) else None


def offer_book(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    """The printed book among the downloads of every page."""
    if printed(app):
        look = {"text": "book.pdf", "tooltip": "The whole book", "icon": "fas fa-book", "label": "download-book-button"}
        for group in context.get("header_buttons", ()):
            if group["label"] == "download-buttons":
                group["buttons"].append({"type": "link", "url": context["pathto"]("book.pdf", 1), **look})


def downloads(app: Sphinx, error: Exception | None) -> None:
    """Put these notebooks in the place of the sources that the pages link to."""
    repository = app.config.html_theme_options.get("repository_url", "")
    for name in app.env.found_docs if error is None and app.builder.format == "html" else ():
        page, copied = Path(app.env.doc2path(name)), Path(app.outdir, "_sources", f"{name}.ipynb")
        if page.suffix == ".ipynb" and copied.is_file():
            notebooks.write(copied, portable(notebooks.read(page), page, repository))
    if error is None and app.builder.name == "html" and (book := printed(app)):
        shutil.copy(book, app.outdir)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("html-page-context", offer_book, priority=900)  # behind the theme's own buttons
    app.connect("build-finished", downloads)
    return {"parallel_read_safe": True}
