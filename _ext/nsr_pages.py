"""What the book's own pages need from Sphinx: docstrings as written, lists made of the code, silent pages, scripts."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from nsr.book import choices, notebooks
from nsr.figures import play
from nsr.runs import MEASUREMENTS, Measurement, Spec
from nsr.study import select

TAG = re.compile(r"# PAPER: (.*)")


def as_written(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Show a docstring as preformatted text: its formulas (|W|, u^k, z*) are no reStructuredText."""
    if lines and lines[0].startswith("Alias for field number"):  # Python's own words about a named tuple
        lines.clear()
    if any(lines):
        lines[:] = [".. code-block:: text", "   :class: docstring", "", *("   " + line for line in lines), ""]


def quiet_page(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    """Drop what would make a page's console complain, or would point outside.

    Jupyter Book loads the start of thebe (live kernels, from a CDN) without being asked, and its scripts once for every
    builder that ran, so that constants are declared twice; and it leaves the theme's mode empty.
    """
    scripts = {}
    for script in context["script_files"]:
        body = getattr(script, "attributes", {}).get("body")
        if "thebe" not in (body or str(script)).lower():
            scripts.setdefault(body or str(script), script)
    context["script_files"] = list(scripts.values())
    context["css_files"] = [sheet for sheet in context["css_files"] if "thebe" not in str(sheet)]
    context["default_mode"] = context.get("default_mode") or "auto"


def no_launch_stub(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Drop the settings of live kernels that sphinx-thebe puts on every page: no button of ours starts one."""
    for node in [node for node in doctree.findall(nodes.raw) if "x-thebe-config" in node.astext()]:
        node.parent.remove(node)


def bring_networks(app: Sphinx, error: Exception | None) -> None:
    """Put the networks that a reader may attack beside the book's scripts, which load the one that is chosen."""
    if error is None and app.builder.format == "html":
        folder = Path(app.outdir, "_static", "networks")
        folder.mkdir(exist_ok=True)
        for name in play.NETWORKS:
            for run in select.stored(name):
                (folder / f"{name}.js").write_text(play.script(name, run.network))


def paper_tags(source: str) -> list[tuple[int, str]]:
    """Every PAPER tag of a module as (line number, text); a tag runs on over the lines of text below it."""
    lines = [line.strip() for line in source.splitlines()]
    found = []
    for at, line in enumerate(lines):
        if match := TAG.search(line):
            text = [match[1]]
            for more in lines[at + 1 :]:
                continues = more.startswith("#") if line.startswith("#") and _in_comment(lines, at) else bool(more)
                if not continues or more.startswith('"""') or TAG.search(more):
                    break
                text.append(more.lstrip("# "))
            found.append((at + 1, " ".join(text).removesuffix('"""')))
    return found


def _in_comment(lines: list[str], at: int) -> bool:
    """Whether line `at` lies outside every docstring: an even number of triple quotes stand above it."""
    return "\n".join(lines[:at]).count('"""') % 2 == 0


class Choices(SphinxDirective):
    """The table of what the text at hand leaves open: our choices, and what hangs on them."""

    def run(self) -> list[nodes.Node]:
        for file in (*Path(self.env.srcdir, "nsr").rglob("*.py"), Path(self.env.srcdir, "data", "claims.json")):
            self.env.note_dependency(str(file))
        return [table(choices.HEAD, (16, 18, 17, 18, 19, 12), [choice.row for choice in choices.choices()])]


class PaperTags(SphinxDirective):
    """A table of the PAPER tags in nsr/ that tell where the code departs from the printed paper."""

    def run(self) -> list[nodes.Node]:
        rows = []
        for module in sorted(Path(self.env.srcdir, "nsr").rglob("*.py")):
            self.env.note_dependency(str(module))
            for line, text in paper_tags(module.read_text()):
                if not text.startswith("unstated"):
                    rows.append((f"`{module.relative_to(self.env.srcdir)}:{line}`", text))
        return [table(("Where", "What"), (30, 70), rows)] if rows else [nodes.paragraph(text="None so far.")]


class StoredRuns(SphinxDirective):
    """A table of the runs in data/runs, read from the runs themselves."""

    def run(self) -> list[nodes.Node]:
        rows = []
        for file in sorted(Path(self.env.srcdir, "data", "runs").glob("*/provenance.json")):
            self.env.note_dependency(str(file))
            content = file.read_bytes()
            made, spec = json.loads(content), Spec.model_validate_json((file.parent / "spec.json").read_bytes())
            contours = ", ".join(sorted(made["contours"])) or "none"
            commit = (made["training"]["commit"] or "unknown")[:7]
            digest = hashlib.sha256(content).hexdigest()[:8]
            what = f"{spec.method.title}, seed {spec.seed}"
            rows.append((f"`{file.parent.name}`", what, spec.differs, contours, commit, digest))
        head = ("Run", "Method and seed", "Differs from its row in", "Contours", "Commit", "Digest")
        return [table(head, (24, 18, 20, 20, 9, 9), rows)] if rows else [nodes.paragraph(text="None so far.")]


class Measurements(SphinxDirective):
    """A table of the kinds of contours: who attacks, over which radii, on how many images."""

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(str(Path(self.env.srcdir, "nsr", "runs", "protocols.py")))
        rows = [(f"`{name}`", _attacker(what), *_grid(what)) for name, what in MEASUREMENTS.items()]
        head = ("Name", "What is measured", "Input radii", "Weight radii", "Images")
        return [table(head, (20, 30, 16, 18, 16), rows)]


def _attacker(what: Measurement) -> str:
    if what.attack is None:
        if what.method == "exact":
            return f"what is true of each image, {what.seconds:g} s a question"
        return {"linear": "what linear bounds certify", "tight": "what linear bounds over tight boxes certify"}[
            what.method
        ]
    who, _, scope = what.words
    return f"left by the {who}" + (f", {scope}" if scope else "")


def _grid(what: Measurement) -> tuple[str, str, str]:
    x, w = what.protocol.grid_x, what.grid_w
    unit = "" if what.geometry == "absolute" else " of the mean weight"
    return f"{len(x)}, up to {x[-1]:g}", f"{len(w)}, up to {w[-1]:g}{unit}", f"{what.protocol.images:,}, {what.part}"


class Verdicts(SphinxDirective):
    """A card for each claim of the ledger: what it says, the paper's number beside ours, the verdict, and a link.

    The claims of a paper are those that begin with its letter.
    """

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        claims = []
        for name in ("claims.json", "companion_claims.json"):
            ledger = Path(self.env.srcdir, "data", name)
            self.env.note_dependency(str(ledger))
            claims += [c for c in json.loads(ledger.read_text())["claims"] if c["name"].startswith(self.arguments[0])]
        return [nodes.container("", *map(self._card, claims), classes=["nsr-verdicts"])]

    def _card(self, claim: dict) -> nodes.container:
        target = {
            "refdomain": "std",
            "reftype": "ref",
            "reftarget": f"claim-{claim['name'].lower()}",
            "refexplicit": True,
        }
        link = addnodes.pending_xref("", nodes.inline(text=claim["name"]), refdoc=self.env.docname, **target)
        verdict = nodes.inline(text=claim["verdict"], classes=["nsr-verdict"])
        head = nodes.paragraph("", "", nodes.strong("", "", link), nodes.Text(" "), verdict)
        on = f"On {' and on '.join(claim['depends on'])}. " if claim["depends on"] else ""
        reported = claim["the paper's number"]
        paper = f"The paper: {reported}. Ours: " if reported else ""
        told = [nodes.paragraph(text=claim["title"]), nodes.paragraph(text=f"{on}{paper}{claim['one difference']}")]
        return nodes.container("", head, *told, classes=[f"nsr-{claim['verdict'].replace(' ', '-')}"])


class ShownByCell(SphinxDirective):
    """What a cell of a chapter shows as HTML, on another page: the chapter, the id of the cell."""

    required_arguments = 2

    def run(self) -> list[nodes.Node]:
        chapter, cell_id = self.arguments
        path = Path(self.env.srcdir, "chapters", f"{chapter}.ipynb")
        self.env.note_dependency(str(path))
        (cell,) = (cell for cell in notebooks.read(path).cells if cell.id == cell_id)
        (shown,) = (output.data["text/html"] for output in cell.outputs if "text/html" in output.get("data", {}))
        return [nodes.raw("", shown, format="html")]


def table(head: Sequence[str], widths: Sequence[int], rows: Iterable[Sequence[str | nodes.Node]]) -> nodes.table:
    """A table of text and nodes; what a text has between backticks stands in letters of one width."""
    group = nodes.tgroup("", *(nodes.colspec(colwidth=width) for width in widths), cols=len(head))
    group += nodes.thead("", _row(head))
    group += nodes.tbody("", *map(_row, rows))
    return nodes.table("", group)


def _words(text: str) -> nodes.paragraph:
    parts = enumerate(text.split("`"))
    return nodes.paragraph("", "", *(nodes.literal(text=part) if k % 2 else nodes.Text(part) for k, part in parts))


def _row(cells: Iterable[str | nodes.Node]) -> nodes.row:
    return nodes.row("", *(nodes.entry("", _words(cell) if isinstance(cell, str) else cell) for cell in cells))


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", as_written)
    app.connect("html-page-context", quiet_page, priority=900)
    app.connect("doctree-resolved", no_launch_stub, priority=900)  # behind sphinx-thebe
    app.connect("build-finished", bring_networks)
    app.add_directive("choices", Choices)
    app.add_directive("paper-tags", PaperTags)
    app.add_directive("stored-runs", StoredRuns)
    app.add_directive("measurements", Measurements)
    app.add_directive("verdicts", Verdicts)
    app.add_directive("shown-by-cell", ShownByCell)
    return {"parallel_read_safe": True}
