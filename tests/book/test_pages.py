"""Claims about the book's own Sphinx extensions: terms and functions lead to each other, numbers follow the book."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from types import SimpleNamespace

import pytest
import yaml

from nsr import paths
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
    page = (paths.CHAPTERS / "appendix" / "api.md").read_text()
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
