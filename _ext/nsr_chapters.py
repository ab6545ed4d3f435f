"""What the page of a chapter shows besides its cells: its parameters as a table, and how long executing it took."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from docutils import nodes
from nsr_pages import table
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from nsr.book.notebooks import TAKEN, read
from nsr.book.parameters import of_chapter

HOW = "chapters/appendix/reproduce"
LABEL = "The cell that declares them"  # above it, folded or not; on paper it is open
FOLDED = {"hide_mode": "input", "prompt_show": LABEL, "prompt_hide": LABEL}


class Taken(NamedTuple):
    """How long executing a chapter took, and on which processor."""

    seconds: float
    hardware: str

    @property
    def told(self) -> str:
        """Seconds below two minutes, whole minutes above."""
        return f"{max(1, round(self.seconds))} s" if self.seconds < 119.5 else f"{round(self.seconds / 60)} min"


def taken(page: Path) -> Taken | None:
    """What a notebook says of its execution; None for a page without code and a notebook that says nothing."""
    found = read(page).metadata.get(TAKEN) if page.suffix == ".ipynb" else None
    return Taken(**found) if found else None


def parameters(app: Sphinx, doctree: nodes.document) -> None:
    """Above the cell that declares a chapter's parameters a table of them; the cell itself is folded."""
    for cell in list(doctree.findall(_declares)):
        chapter = Path(app.env.doc2path(app.env.docname))
        known = of_chapter(chapter).values()
        rows = [(f"`{one.name}`", f"`{one.default}`", one.meaning, one.allowed) for one in known]
        shown = table(("Parameter", "Default", "Meaning", "Takes"), (16, 18, 40, 26), rows)
        shown["classes"].append("nsr-parameters")
        number = chapter.stem.partition("_")[0]
        words = nodes.paragraph("", "What can be changed in this chapter, by ", classes=["nsr-parameters-lead"])
        how = _to(HOW, app.env.docname, "how to reproduce")
        words += [nodes.literal(text=f"nsr run {number} -p NAME VALUE"), nodes.Text(" ("), how, nodes.Text("):")]
        cell.parent.insert(cell.parent.index(cell), [words, shown])
        cell.attributes.update(FOLDED)


def _declares(node: nodes.Node) -> bool:
    """Whether a node is the cell tagged `parameters`."""
    is_cell = isinstance(node, nodes.container) and node.get("nb_element") == "cell_code"
    return is_cell and "parameters" in node["cell_metadata"].get("tags", [])


def _to(page: str, here: str, words: str = "") -> pending_xref:
    """A link to a page of the book by these words, or by its title."""
    look = {"refdomain": "std", "reftype": "doc", "reftarget": f"/{page}", "refdoc": here, "refwarn": True}
    return pending_xref("", nodes.inline(text=words), **look, refexplicit=bool(words))


def time(app: Sphinx, doctree: nodes.document) -> None:
    """The last line of a chapter: how long executing it took, if that was measured."""
    found = taken(Path(app.env.doc2path(app.env.docname)))
    sections = list(doctree.findall(nodes.section))
    if found and sections:
        words = f"Executing this chapter took {found.told} on one core ({found.hardware})."
        sections[0] += nodes.paragraph(text=words, classes=["computed-by"])


class ChapterTimes(SphinxDirective):
    """A table of how long executing each chapter took; nothing where no chapter was measured."""

    def run(self) -> list[nodes.Node]:
        rows = list(self.rows())
        return [table(("Chapter", "Time", "On one core of"), (50, 12, 38), rows)] if rows else []

    def rows(self) -> Iterator[tuple[nodes.Node | str, ...]]:
        for chapter in sorted(Path(self.env.srcdir, "chapters").glob("*.ipynb")):
            self.env.note_dependency(str(chapter))
            if found := taken(chapter):
                link = _to(f"chapters/{chapter.stem}", self.env.docname)
                yield nodes.paragraph("", "", link), found.told, found.hardware


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-read", parameters)
    app.connect("doctree-read", time, priority=600)  # behind the line of nsr_links
    app.add_directive("chapter-times", ChapterTimes)
    return {"parallel_read_safe": True}
