"""From a term of the paper to the function that computes it, and back; from a chapter to the modules at work in it.

The table of notation.md is the one place that pairs terms with functions. The API entry of every function in it points
back to the equations and pages of its row, and every module to the chapters whose code uses it.
"""

from __future__ import annotations

import ast
import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

NOTATION = "chapters/appendix/notation"
CODE = re.compile(r"\{py:\w+\}`(?:[^`<]*<)?(nsr\.[\w.]+)>?`")
PLACE = re.compile(r"\{(eq|doc|prf:ref|numref)\}`([^`]+)`")


@functools.cache
def places(root: Path) -> dict[str, list[str]]:
    """Function -> where the book defines what it computes, as reStructuredText, from the rows of the notation table."""
    found: dict[str, list[str]] = {}
    for row in (root / f"{NOTATION}.md").read_text().splitlines():
        where = [f":{role}:`{_absolute(role, target)}`" for role, target in PLACE.findall(row)]
        for name in CODE.findall(row) if row.startswith("|") else ():
            found.setdefault(name, []).extend(place for place in where if place not in found.get(name, ()))
    return found


def _absolute(role: str, target: str) -> str:
    return f"/chapters/{target.removeprefix('../')}" if role == "doc" else target


@functools.cache
def used(root: Path) -> dict[str, list[str]]:
    """Chapter -> the modules of nsr that its code names, in the order of the alphabet."""
    packages = {path.stem for path in (root / "nsr").glob("*.py")} | {p.parent.name for p in root.glob("nsr/*/*.py")}
    lent = {  # names that `nsr` itself lends from its modules: Budget -> budget
        alias.name: node.module.removeprefix("nsr.")
        for node in ast.walk(ast.parse((root / "nsr" / "__init__.py").read_text()))
        if isinstance(node, ast.ImportFrom) and node.module != "nsr"
        for alias in node.names
    }
    found = {}
    for chapter in sorted((root / "chapters").glob("*.ipynb")):
        cells = [cell for cell in json.loads(chapter.read_text())["cells"] if cell["cell_type"] == "code"]
        names = {lent.get(name, name) for cell in cells for name in _named("".join(cell["source"]))}
        names -= {"book"}  # it names the kinds of parameters and computes nothing
        found[chapter.stem] = [f"nsr.{name}" for name in sorted(names & packages)]
    return found


def _named(source: str) -> Iterator[str]:
    """What follows `nsr.` or stands behind `from nsr import` in a cell."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module == "nsr":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nsr."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "nsr":
            yield node.attr


def back(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Behind the docstring of a function: where its term is defined; of a module: the chapters that use it."""
    root = Path(app.srcdir)
    if what == "module":
        pages = [f":doc:`/chapters/{chapter}`" for chapter, modules in used(root).items() if name in modules]
        lines += ["", f"*At work in:* {', '.join(pages)}.", ""] if pages else []
    elif name in places(root):
        lines += ["", f"*In the book:* {', '.join([*places(root)[name], f':doc:`/{NOTATION}`'])}.", ""]


def at_work(app: Sphinx, doctree: nodes.document) -> None:
    """The last line of a chapter: the modules that its code uses, each linked to its docstrings."""
    page = app.env.docname
    modules = used(Path(app.srcdir)).get(page.removeprefix("chapters/"), [])
    sections = list(doctree.findall(nodes.section))
    if not modules or not sections:
        return
    line = nodes.paragraph("", "Computed by ", classes=["computed-by"])
    for at, module in enumerate(modules):
        look = {"refdomain": "py", "reftype": "mod", "reftarget": module, "refdoc": page, "refwarn": True}
        line += nodes.Text(", " if at else "")
        line += pending_xref("", nodes.literal(text=module), **look, refexplicit=True)
    sections[0] += line


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", back, priority=900)  # behind the docstring as nsr_pages has put it
    app.connect("doctree-read", at_work)
    return {"parallel_read_safe": True}
