"""Claims about what a page lets its reader download: notebooks that read and run without the book, figures' files."""

from __future__ import annotations

import base64
import importlib
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import yaml
from docutils import nodes
from docutils.utils import new_document
from sphinx.addnodes import download_reference

from nsr import paths
from nsr.book import notebooks
from nsr.book.headlines import GLUE, glued

CHAPTERS = sorted(paths.CHAPTERS.glob("*.ipynb"))
# a role, the first or last line of a directive, a label: of no meaning to Jupyter
LEFT = re.compile(r"\{[\w:]+\}`|^(?::{3,}|`{3,}\{).*|^\([\w-]+\)=", re.MULTILINE)


@pytest.fixture
def extension(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(paths.ROOT / "_ext"))
    yield importlib.import_module
    for name in ("nsr_downloads", "nsr_figures"):
        sys.modules.pop(name, None)


def words(notebook: nbformat.NotebookNode) -> str:
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.stem)
def test_a_downloaded_chapter_has_no_directive_or_role_left_and_all_its_code(chapter: Path, extension):
    before, given = notebooks.read(chapter), extension("nsr_downloads").portable(notebooks.read(chapter), chapter)
    nbformat.validate(given)
    assert LEFT.search(words(before)) and not LEFT.search(words(given))
    install, *code = (cell for cell in given.cells if cell.cell_type == "code")
    assert given.cells[0] is install and code == [cell for cell in before.cells if cell.cell_type == "code"]
    assert {name for name, _ in GLUE.findall(words(before))} <= set(glued(before)), "a number would be missing"


@pytest.mark.parametrize(
    ("source", "plain"),
    [
        ("(label)=\n# Title", "# Title"),
        ("{glue:text}`share:.1f` % of {glue:text}`name`", "12.3 % of AT"),
        (
            "as {doc}`05_five_models` and {doc}`the words <appendix/protocol>` say",
            "as Five ways to train and the words say",
        ),
        ("{eq}`eq-a`, {numref}`fig-a`, {cite}`b,c`, {term}`AUC <joint AUC>`", "(eq-a), *fig-a*, (b,c), AUC"),
        (":::{prf:theorem} All layers\n:label: thm-a\nIt holds.\n:::", "**Theorem (All layers)** *thm-a*\n\nIt holds."),
        (":::{prf:proof}\nClear.\n:::\nNext.", "**Proof**\n\nClear.\nNext."),
        (":::{admonition} What we saw\n:class: dropdown\n- {glue:text}`share`\n:::", "**What we saw**\n\n- 12.34"),
        ("````{dropdown} In code\n```python\nx = 1\n```\n````", "**In code**\n\n```python\nx = 1\n```"),
    ],
)
def test_what_jupyter_does_not_know_is_written_out(source: str, plain: str, extension):
    numbers = {"share": "12.34", "name": "'AT'"}
    assert extension("nsr_downloads").text(source, CHAPTERS[0], numbers) == plain


def test_code_that_the_book_shows_stands_in_the_text(extension):
    shown = "```{literalinclude} ../nsr/paths.py\n:language: python\n:pyobject: cache\n```"
    plain = extension("nsr_downloads").text(shown, CHAPTERS[0], {})
    function = paths.PACKAGE.joinpath("paths.py").read_text().partition("def cache()")[2].partition("\n\n\n")[0]
    assert plain == f"```python\ndef cache(){function.rstrip()}\n```"


def test_a_caption_stands_below_its_figure(extension):
    cell = nbformat.v4.new_code_cell(
        "draw()", metadata={"mystnb": {"figure": {"name": "fig-a", "caption": "See {eq}`b`."}}}
    )
    given = extension("nsr_downloads").portable(nbformat.v4.new_notebook(cells=[cell]), CHAPTERS[0])
    assert [cell.source for cell in given.cells[1:]] == ["draw()", "*fig-a.* See (b)."]


def test_the_notebook_installs_from_the_repository_that_the_book_names_or_says_what_to_put_there(extension):
    portable, nothing = extension("nsr_downloads").portable, nbformat.v4.new_notebook()
    named, unnamed = (portable(nothing, CHAPTERS[0], url).cells[0].source for url in ("https://a.org/b", ""))
    assert '\n%pip install --quiet "nsr[book] @ https://a.org/b/archive/HEAD.zip"\n' in named
    assert not re.search("^%", unnamed, re.MULTILINE) and "address" in unnamed and "ARCHIVE" in unnamed
    assert "NSR_DATA" in named and "NSR_DATA" in unnamed


def test_the_pages_link_to_these_notebooks(tmp_path: Path, extension):
    made = tmp_path / "_sources" / "chapters" / CHAPTERS[0].name
    made.parent.mkdir(parents=True)
    shutil.copy(CHAPTERS[0], made)
    name = f"chapters/{CHAPTERS[0].stem}"
    env = SimpleNamespace(found_docs=[name, "intro"], doc2path=lambda name: str(paths.ROOT / f"{name}.ipynb"))
    url = yaml.safe_load((paths.ROOT / "_config.yml").read_text())["repository"]["url"]
    app = SimpleNamespace(
        **{"env": env, "outdir": str(tmp_path), "srcdir": str(tmp_path)},
        builder=SimpleNamespace(format="html", name="html"),
        config=SimpleNamespace(html_theme_options={"repository_url": url}),
    )
    extension("nsr_downloads").downloads(app, None)
    assert notebooks.read(made) == extension("nsr_downloads").portable(notebooks.read(CHAPTERS[0]), CHAPTERS[0], url)


@pytest.mark.parametrize(("age", "offered"), [(-60, False), (60, True)])
def test_the_printed_book_is_offered_where_it_is_not_older_than_its_pages(
    age: int, offered: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extension
):
    downloads = extension("nsr_downloads")
    page, book = tmp_path / "intro.md", tmp_path / "book.pdf"
    for path, seconds in ((page, 1000), (book, 1000 + age)):
        path.touch()
        downloads.shutil.os.utime(path, (seconds, seconds))
    monkeypatch.setattr(downloads.pdf, "FOLDER", tmp_path)
    monkeypatch.setattr(downloads.paths, "ROOT", tmp_path)
    app = SimpleNamespace(srcdir=str(tmp_path), env=SimpleNamespace(found_docs=["intro"], doc2path=lambda _: str(page)))
    context = {"header_buttons": [{"label": "download-buttons", "buttons": []}], "pathto": lambda name, _: f"../{name}"}
    downloads.offer_book(app, "chapters/a", "", context, None)
    assert [button["url"] for button in context["header_buttons"][0]["buttons"]] == ["../book.pdf"] * offered


# files of a figure --------------------------------------------------------------------------------------------------


def page_with_a_figure(folder: Path, picture: bytes, numbers: str = "") -> tuple[SimpleNamespace, nodes.document]:
    """A chapter that shows the figure fig-a, and what Sphinx has in hand after reading it."""
    data = {"image/png": base64.b64encode(picture).decode()} | ({"text/csv": numbers} if numbers else {})
    output = nbformat.v4.new_output("display_data", data)
    cell = nbformat.v4.new_code_cell("draw()", metadata={"mystnb": {"figure": {"name": "fig-a"}}}, outputs=[output])
    page = folder / "chapters" / "01_first.ipynb"
    page.parent.mkdir()
    notebooks.write(page, nbformat.v4.new_notebook(cells=[cell]))
    doctree = new_document("a chapter")
    doctree += nodes.figure("", nodes.image(uri="a.png"), nodes.caption(text="A."), names=["fig-a"])
    env = SimpleNamespace(docname="chapters/01_first", doc2path=lambda _: str(page))
    return SimpleNamespace(env=env, srcdir=str(folder), doctreedir=str(folder / "made")), doctree


def links(doctree: nodes.document, folder: Path) -> dict[str, bytes]:
    """The words of each link below the figures, and what it leads to."""
    found = doctree.findall(download_reference)
    return {link.astext(): (folder / link["reftarget"].removeprefix("/")).read_bytes() for link in found}


def test_below_a_figure_stand_its_numbers(tmp_path: Path, extension):
    app, doctree = page_with_a_figure(tmp_path, b"picture", "x,y\n1,2\n")
    extension("nsr_figures").downloads(app, doctree)
    assert links(doctree, tmp_path) == {"numbers (CSV)": b"x,y\n1,2\n"}
    assert isinstance(doctree[0][-1], nodes.legend) and isinstance(doctree[0][-2], nodes.caption)


@pytest.mark.parametrize(("built", "linked"), [(b"picture", {"PDF": b"pdf", "SVG": b"svg"}), (b"of other runs", {})])
def test_vector_graphics_are_linked_where_they_are_those_of_the_picture(
    built: bytes, linked: dict[str, bytes], tmp_path: Path, extension
):
    app, doctree = page_with_a_figure(tmp_path, b"picture")
    (tmp_path / "chapters" / "figures").mkdir()
    for suffix, content in ((".png", built), (".pdf", b"pdf"), (".svg", b"svg")):
        (tmp_path / "chapters" / "figures" / f"fig-a{suffix}").write_bytes(content)
    extension("nsr_figures").downloads(app, doctree)
    assert links(doctree, tmp_path) == linked
