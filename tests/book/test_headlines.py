"""Headline numbers are read from what a notebook shows, and named by the words around them."""

from __future__ import annotations

import nbformat
from nbformat import NotebookNode

from nsr.book.headlines import headlines, said
from nsr.book.notebooks import chapters, read


def notebook(*cells: NotebookNode) -> NotebookNode:
    return nbformat.v4.new_notebook(cells=list(cells))


def printing(text: str, *tags: str) -> NotebookNode:
    outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)]
    return nbformat.v4.new_code_cell("", metadata={"tags": list(tags)}, outputs=outputs)


def glued(name: str, value: str) -> NotebookNode:
    data, metadata = {"application/papermill.record/text/plain": value}, {"scrapbook": {"name": name}}
    return nbformat.v4.new_code_cell("", outputs=[nbformat.v4.new_output("display_data", data, metadata=metadata)])


def box(text: str) -> NotebookNode:
    return nbformat.v4.new_markdown_cell(f":::{{admonition}} What was seen\n{text}\n:::\n{{glue:text}}`c`")


def test_headline_numbers_are_those_of_the_closing_box_and_of_tagged_cells() -> None:
    found = headlines(
        notebook(
            printing("not tagged 5\n"),
            printing("AUC of W^1: 0.30 [0.28, 0.32]\nAUC of W^1: 1 %\nno number\n", "headline"),
            glued("a", "0.12345"),
            glued("b", "'word'"),
            glued("c", "7"),
            box("{glue:text}`a:.2f` of {glue:text}`b`"),
        )
    )
    assert found == {"a": "0.12", "b": "word", "AUC of W^1: # [#, #]": "0.30, 0.28, 0.32", "AUC of W^1: # %": "1"}


def test_the_words_around_a_number_of_the_box_say_which_it_is() -> None:
    text = (
        "- One.\n- Of $a b$ nets\n  {glue:text}`x` fail, {glue:text}`y:.1f` % do not. Another {glue:text}`z`.\n- Two."
    )
    found = said(notebook(box(text)))
    assert found["x"] == "Of $a b$ nets **#** fail, # % do ..." and found["z"] == "Another **#**."
    assert found["y"] == "Of $a b$ nets # fail, **#** % do not."


def test_equal_lines_are_told_apart_by_counting() -> None:
    assert headlines(notebook(printing("row 1\nrow 2\n", "headline"))) == {"row #": "1", "row # (2)": "2"}


def test_every_chapter_has_headline_numbers() -> None:
    without = [chapter.stem for chapter in chapters() if not headlines(read(chapter))]
    assert not without, "name glued numbers in the closing box, or tag a cell"
