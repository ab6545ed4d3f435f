"""The chapters are rerun in place: the same code gives the same bytes, and a failure changes nothing on disk."""

from __future__ import annotations

import base64
from pathlib import Path

import nbformat
import pytest
from papermill.exceptions import PapermillExecutionError

from nsr import paths
from nsr.book import notebooks

DOT = base64.b64encode(b"a picture").decode()


def write_chapter(folder: Path, *sources: str) -> Path:
    """A chapter 09_example of one code cell per source, never executed."""
    cells = [nbformat.v4.new_code_cell(source, id=f"cell-{at}") for at, source in enumerate(sources)]
    cells[0].metadata["tags"] = ["parameters"]
    path = folder / "09_example.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


@pytest.mark.slow
def test_a_rerun_without_a_change_gives_no_diff_and_holds_no_date_or_path(tmp_path: Path) -> None:
    chapter = write_chapter(tmp_path, "n: int = 3  # how many", "n * 2")
    notebooks.refresh(chapter)
    first = chapter.read_bytes()
    notebooks.refresh(chapter)
    assert chapter.read_bytes() == first
    text = first.decode()
    assert str(tmp_path) not in text and "papermill" not in text and "start_time" not in text
    assert [cell.execution_count for cell in nbformat.reads(text, as_version=4).cells] == [1, 2]
    assert nbformat.reads(text, as_version=4).cells[1].outputs[0].data["text/plain"] == "6"
    taken = nbformat.reads(text, as_version=4).metadata[notebooks.TAKEN]
    assert 0 < taken["seconds"] < 600 and taken["hardware"]


@pytest.mark.parametrize(("now", "kept"), [("6", 14.2), ("7", 0.5)])
def test_the_time_of_an_execution_is_kept_with_what_it_gave(
    now: str, kept: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def given(text: str, seconds: float, path: Path) -> None:
        output = nbformat.v4.new_output("stream", name="stdout", text=text)
        cell = nbformat.v4.new_code_cell("print(n)", id="cell-0", outputs=[output], execution_count=1)
        notebook = nbformat.v4.new_notebook(cells=[cell])
        notebooks.write(path, notebooks.stripped(notebook, {"seconds": seconds, "hardware": "a processor"}))

    chapter = tmp_path / "09_example.ipynb"
    given("6", 14.2, chapter)
    monkeypatch.setattr(notebooks, "execute", lambda _, out: given(now, 0.5, out))
    assert notebooks.refresh(chapter) == notebooks.read(chapter)
    assert notebooks.read(chapter).metadata[notebooks.TAKEN]["seconds"] == kept


def test_a_notebook_that_failed_has_no_time_of_an_earlier_execution() -> None:
    notebook = nbformat.v4.new_notebook(metadata={notebooks.TAKEN: {"seconds": 14.2, "hardware": "a processor"}})
    assert notebooks.stripped(notebook).metadata == notebooks.KEPT_IN_NOTEBOOK


@pytest.mark.slow
def test_a_chapter_that_fails_is_left_as_it_was(tmp_path: Path) -> None:
    chapter = write_chapter(tmp_path, "n: int = 0", "1 / n")
    before = chapter.read_bytes()
    with pytest.raises(PapermillExecutionError, match="ZeroDivisionError"):
        notebooks.refresh(chapter)
    assert chapter.read_bytes() == before
    assert list(tmp_path.iterdir()) == [chapter]


def test_chapters_are_found_by_name_by_number_and_in_reading_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "CHAPTERS", tmp_path)
    for name in ("02_second", "01_first"):
        (tmp_path / f"{name}.ipynb").touch()
    assert [c.stem for c in notebooks.chapters()] == ["01_first", "02_second"]
    assert [c.stem for c in notebooks.chapters(["02"])] == ["02_second"]
    assert [c.stem for c in notebooks.chapters(["chapters/02_second.ipynb", "01_first"])] == ["02_second", "01_first"]


@pytest.mark.parametrize("name", ["3", "0", "theorem"])
def test_an_unknown_or_ambiguous_chapter_is_refused_with_the_known_names(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "CHAPTERS", tmp_path)
    for known in ("01_first", "02_second"):
        (tmp_path / f"{known}.ipynb").touch()
    with pytest.raises(ValueError, match="01_first, 02_second"):
        notebooks.chapters([name])


def test_a_figure_is_found_by_its_name_and_a_missing_one_is_an_error() -> None:
    cell = nbformat.v4.new_code_cell("draw()", metadata={"mystnb": {"figure": {"name": "fig-a"}}})
    cell.outputs = [nbformat.v4.new_output("display_data", {"image/png": DOT, "text/plain": "<Figure>"})]
    notebook = nbformat.v4.new_notebook(cells=[cell])
    assert notebooks.figure(notebook, "fig-a") == b"a picture"
    with pytest.raises(ValueError, match="fig-b"):
        notebooks.figure(notebook, "fig-b")
