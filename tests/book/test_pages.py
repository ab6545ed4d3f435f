"""Claims about the book's own Sphinx extensions: terms and functions lead to each other, numbers follow the book."""

from __future__ import annotations

import importlib
import io
import pkgutil
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import yaml
from docutils import nodes
from docutils.utils import new_document
from PIL import Image

from nsr import paths
from nsr.book import notebooks
from nsr.book.parameters import of_chapter
from nsr.runs import MEASUREMENTS

CHAPTERS = sorted(paths.CHAPTERS.glob("*.ipynb"))


@pytest.fixture
def links(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(paths.ROOT / "_ext"))
    yield importlib.import_module("nsr_links")
    sys.modules.pop("nsr_links")


def test_every_function_of_the_notation_page_knows_where_its_term_is_defined(links) -> None:
    places = links.places(paths.ROOT)
    assert ":eq:`eq-printed-2`" in places["nsr.theory.theorem.tau"]
    assert ":eq:`eq-five-loss`" in places["nsr.training.loss.worst_zeta"]
    for name, where in places.items():
        assert where and pkgutil.resolve_name(name), name


def test_a_docstring_ends_with_the_way_back_to_the_book(links) -> None:
    app, function, module = SimpleNamespace(srcdir=str(paths.ROOT)), ["What it is."], ["Rescalings."]
    links.back(app, "function", "nsr.theory.theorem.tau", None, None, function)
    links.back(app, "module", "nsr.study", None, None, module)
    assert function[0] == "What it is." and ":eq:`eq-printed-2`" in function[-2]
    assert module[-2].startswith("*At work in:* :doc:`/chapters/") and "09_claims" in module[-2]


def test_every_chapter_names_the_modules_that_its_code_uses(links) -> None:
    page = "".join(page.read_text() for page in (paths.CHAPTERS / "appendix" / "api").glob("*.md"))
    for chapter in CHAPTERS:
        modules = links.used(paths.ROOT)[chapter.stem]
        assert modules and all(f"automodule:: {module}\n" in page for module in modules), chapter


def test_a_module_is_found_however_a_cell_names_it(links) -> None:
    cell = "import nsr\nfrom nsr import Budget, theory\nfrom nsr.figures.theorem import leak\nnsr.attack.joint_pgd"
    assert set(links._named(cell)) == {"Budget", "theory", "figures", "attack"}


def test_a_chapter_has_the_number_of_its_place_in_the_book() -> None:
    toc = yaml.safe_load((paths.ROOT / "_toc.yml").read_text())
    listed = [entry["file"] for part in toc["parts"] if part.get("numbered") for entry in part["chapters"]]
    assert [int(file.removeprefix("chapters/")[:2]) for file in listed] == [*range(1, 1 + len(listed))]


def test_every_kind_of_contour_is_told_from_every_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(paths.ROOT / "_ext"))
    pages = importlib.import_module("nsr_pages")
    told = {name: (pages._attacker(what), *pages._grid(what)) for name, what in MEASUREMENTS.items()}
    assert len(set(told.values())) == len(told)


@pytest.fixture
def chapter_pages(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(paths.ROOT / "_ext"))
    yield importlib.import_module("nsr_chapters")
    sys.modules.pop("nsr_chapters")


def as_read(chapter: Path) -> tuple[SimpleNamespace, nodes.document]:
    """What Sphinx has in hand after reading a chapter: a section with the cell of its parameters, and nothing else."""
    tagged = {"nb_element": "cell_code", "cell_metadata": {"tags": ["parameters"]}}
    doctree = new_document(chapter.name)
    doctree += nodes.section("", nodes.title(text="A chapter"), nodes.container("", **tagged), ids=["a"])
    env = SimpleNamespace(docname=f"chapters/{chapter.stem}", doc2path=lambda _: str(chapter))
    return SimpleNamespace(env=env), doctree


def test_above_the_cell_of_parameters_stands_a_row_for_each_and_the_cell_is_folded(chapter_pages) -> None:
    for chapter in CHAPTERS:
        app, doctree = as_read(chapter)
        chapter_pages.parameters(app, doctree)
        (shown,) = doctree.findall(nodes.table)
        cell = shown.next_node(nodes.container, ascend=True, descend=False)
        assert cell["hide_mode"] == "input" and cell["prompt_show"]
        _, *rows = ([entry.astext() for entry in row] for row in shown.findall(nodes.row))
        known = of_chapter(chapter).values()
        assert rows == [[one.name, str(one.default), one.meaning, one.allowed] for one in known]


@pytest.mark.parametrize(("seconds", "told"), [(0.2, "1 s"), (14.2, "14 s"), (119.4, "119 s"), (119.6, "2 min")])
def test_a_chapter_says_at_its_end_how_long_it_took(chapter_pages, seconds: float, told: str, tmp_path: Path) -> None:
    taken = {notebooks.TAKEN: {"seconds": seconds, "hardware": "a processor"}}
    notebooks.write(tmp_path / "01_first.ipynb", nbformat.v4.new_notebook(metadata=taken))
    app, doctree = as_read(tmp_path / "01_first.ipynb")
    chapter_pages.time(app, doctree)
    assert doctree[0][-1].astext() == f"Executing this chapter took {told} on one core (a processor)."


def test_a_page_that_was_not_measured_says_no_time(chapter_pages, tmp_path: Path) -> None:
    notebooks.write(tmp_path / "01_first.ipynb", nbformat.v4.new_notebook())
    for page in (tmp_path / "01_first.ipynb", tmp_path / "glossary.md"):
        app, doctree = as_read(page)
        before = len(doctree[0])
        chapter_pages.time(app, doctree)
        assert len(doctree[0]) == before


def test_the_table_of_times_has_the_chapters_that_were_measured_and_no_others(chapter_pages, tmp_path: Path) -> None:
    (tmp_path / "chapters").mkdir()
    for name, taken in {"01_first": {"seconds": 14.2, "hardware": "a processor"}, "02_second": None}.items():
        notebook = nbformat.v4.new_notebook(metadata={notebooks.TAKEN: taken} if taken else {})
        notebooks.write(tmp_path / "chapters" / f"{name}.ipynb", notebook)
    env = SimpleNamespace(srcdir=str(tmp_path), docname="here", note_dependency=lambda _: None)
    page = SimpleNamespace(env=env)
    ((link, *rest),) = chapter_pages.ChapterTimes.rows(page)
    assert link[0]["reftarget"] == "/chapters/01_first" and rest == ["14 s", "a processor"]


@pytest.fixture
def figure_pages(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(paths.ROOT / "_ext"))
    yield importlib.import_module("nsr_figures")
    sys.modules.pop("nsr_figures")


def shown(folder: Path, inked: float, alt: str, caption: str) -> tuple[SimpleNamespace, nodes.document]:
    """A page with one picture of which this share is black, shown by a cell."""
    picture = np.full((10, 100, 3), 255, dtype=np.uint8)
    picture[:, : round(100 * inked)] = 0
    Image.fromarray(picture).save(folder / "picture.png")
    image = nodes.image(uri="picture.png", alt=alt)
    figure = nodes.figure("", image, nodes.caption(text=caption))
    doctree = new_document("a chapter")
    doctree += nodes.container("", figure, nb_element="cell_code_output")
    return SimpleNamespace(srcdir=str(folder)), doctree


@pytest.mark.parametrize(
    ("inked", "alt", "caption", "turned"),
    [
        (0.05, "Two lines", "A line for each method.", True),
        (0.5, "A map", "Accuracy over the plane.", False),
        (0.05, "Lines from light to dark", "Layers.", False),
        (0.05, "Two lines", "At 1 (black line) both meet.", False),
    ],
)
def test_only_line_art_whose_words_hold_on_a_dark_page_is_turned(
    figure_pages, inked: float, alt: str, caption: str, turned: bool, tmp_path: Path
) -> None:
    app, doctree = shown(tmp_path, inked, alt, caption)
    figure_pages.figures(app, doctree)
    (image,) = doctree.findall(nodes.image)
    assert ("nsr-line-art" in image["classes"]) == turned
    assert image["width"] == "100px", "Sphinx links to their full size the pictures that have a width"


def test_maps_and_handwritten_digits_of_the_chapters_keep_their_plate_and_curves_do_not(figure_pages) -> None:
    wanted = {"01": {"fig-one-image": False, "fig-left-out": False, "fig-diagonal": True}}
    wanted["08"] = {"fig-figure-1": False, "fig-figure-crowd": True}
    for chapter, figures in wanted.items():
        notebook = notebooks.read(notebooks.chapters([chapter])[0])
        for name, expected in figures.items():
            with Image.open(io.BytesIO(notebooks.figure(notebook, name))) as picture:
                assert figure_pages.is_line_art(picture) == expected, name
