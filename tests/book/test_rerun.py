"""Rerun with other parameters: checked first, executed beside the reference, compared with it."""

from __future__ import annotations

import html
import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import papermill
import pytest
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError
from pydantic import TypeAdapter, ValidationError
from typer.testing import CliRunner

from nsr import book, cli, data, paths
from nsr.book import kinds, rerun
from nsr.book.headlines import headlines, said
from nsr.book.parameters import declared
from nsr.book.rerun import one_screen

CHAPTERS = sorted(paths.CHAPTERS.glob("*.ipynb"))
each_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)

CELL = """
dataset: DataSet = "mnist"  # what to train on
hidden: Widths = [32, 16]  # widths; L is one more (A = c = 1)
factors: Positives = [1, 2]  # on all weights
eps_x: UpToOne = 0.1  # input radius, x in [0, 1]
steps: Count = 50  # of the attack
share: Share = 0.5  # of the images
rows: Rows = ["at"]  # of the table of methods
seed: Seed = 0  # of everything
way: Literal["up", "down"] = "up"  # where to
"""

CONFIG = "title: Example\nonly_build_toc_files: true\nexecute: {execute_notebooks: 'off'}\n"
TOC = "format: jb-book\nroot: intro\nparts:\n  - chapters: [{file: chapters/01_first}, {file: chapters/02_second}]\n"
BOX = ":::{admonition} What was seen\nThere are {glue:text}`ex-twice:.1f`.\n:::"


def notebook(*cells: NotebookNode) -> NotebookNode:
    return nbformat.v4.new_notebook(cells=list(cells))


def code(source: str, *tags: str, **kwargs: object) -> NotebookNode:
    return nbformat.v4.new_code_cell(source, metadata={"tags": list(tags)} if tags else {}, **kwargs)


def printed(text: str) -> list[NotebookNode]:
    return [nbformat.v4.new_output("stream", name="stdout", text=text)]


def glued(name: str, value: str) -> NotebookNode:
    data, metadata = {"application/papermill.record/text/plain": value}, {"scrapbook": {"name": name}}
    return code("", outputs=[nbformat.v4.new_output("display_data", data, metadata=metadata)])


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A book of two chapters: the first takes n and glues 2 n, the second takes m and prints it."""
    (tmp_path / "chapters").mkdir()
    for name, text in {"_config.yml": CONFIG, "_toc.yml": TOC, "intro.md": "# Start\n"}.items():
        (tmp_path / name).write_text(text)
    first = notebook(
        nbformat.v4.new_markdown_cell("# First"),
        code("from nsr.book.kinds import Whole\nn: Whole = 2  # how many", "parameters"),
        code("from myst_nb import glue\nprint('before')\n1 / n\nglue('ex-twice', 2.0 * n, display=False)"),
        nbformat.v4.new_markdown_cell(BOX),
    )
    first.cells[2].outputs = glued("ex-twice", "4.0").outputs
    second = notebook(
        nbformat.v4.new_markdown_cell("# Second"),
        code("from nsr.book.kinds import Whole\nm: Whole = 3  # how many others", "parameters"),
        code("print(f'there are {m} others')", "headline", outputs=printed("there are 3 others\n"), execution_count=1),
    )
    nbformat.write(first, tmp_path / "chapters" / "01_first.ipynb")
    nbformat.write(second, tmp_path / "chapters" / "02_second.ipynb")
    for name, path in {"ROOT": "", "CHAPTERS": "chapters", "DATA": "data", "BUILD": "_build"}.items():
        monkeypatch.setattr(paths, name, tmp_path / path)
    return tmp_path


def nsr(*words: str, code: int = 0) -> str:
    """What the command prints: its answer, or after it has failed, what stderr says after the progress bar."""
    result = CliRunner().invoke(cli.app, words)
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr[result.stderr.index("nsr: ") :] + result.stdout


def named(output: str, what: str) -> Path:
    """The path that the command names as `what`."""
    return Path(re.search(rf"^{what}: +(.*)$", output, re.MULTILINE)[1])


def text_of(page: Path) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", page.read_text())).split())


# ---------------------------------------------------------------- parameters


@each_chapter
def test_every_parameter_of_a_chapter_may_keep_its_default_and_means_something(chapter: Path) -> None:
    known = book.of_chapter(chapter)
    assert known
    for parameter in known.values():
        assert parameter.meaning and parameter.take(parameter.default) == parameter.default


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("dataset", "digits", "digits"),
        ("hidden", "[64]", [64]),
        ("factors", "[0.5, 3]", [0.5, 3.0]),
        ("eps_x", "1e-3", 0.001),
        ("eps_x", "1", 1.0),
        ("steps", "1_000", 1000),
        ("share", "0.25", 0.25),
        ("rows", "[at, jiwp]", ["at", "jiwp"]),
        ("rows", '["at"]', ["at"]),
        ("seed", str(2**63 - 1), 2**63 - 1),
        ("way", "down", "down"),
    ],
)
def test_a_value_is_taken_from_text_or_yaml(name: str, given: object, value: object) -> None:
    assert declared(CELL)[name].take(given) == value


@pytest.mark.parametrize(
    ("name", "given", "allowed"),
    [
        ("dataset", "mnits", '"mnist", "fashion-mnist" or "digits"'),
        ("dataset", 3, "mnist"),
        ("hidden", "64", "a list of whole numbers from 1"),
        ("hidden", "[]", "a list of whole numbers"),
        ("hidden", "[64, 0]", "from 1"),
        ("hidden", "[64, 1.5]", "whole numbers"),
        ("hidden", "[1000000000000]", "to 10**5"),
        ("factors", "[1, 0]", "above 0"),
        ("factors", "[true]", "numbers"),
        ("eps_x", "1.01", "from 0 to 1"),
        ("eps_x", "nan", "a number"),
        ("eps_x", True, "a number"),
        ("steps", "2.0", "a whole number"),
        ("steps", "many", "a whole number"),
        ("steps", "0777", "a whole number"),
        ("steps", "1:30", "a whole number"),
        ("seed", "123456789012345678901234567890", "below 2**63"),
        ("share", "0", "above 0, at most 1"),
        ("rows", "[at, nope]", "rows of the table of methods"),
        ("way", "left", '"up" or "down"'),
    ],
)
def test_a_wrong_type_or_a_value_out_of_range_is_refused_with_what_is_allowed(
    name: str, given: object, allowed: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(allowed)) as refused:
        declared(CELL)[name].take(given)
    assert name in str(refused.value) and len(str(refused.value)) < 200


def test_a_long_value_is_not_echoed_whole() -> None:
    with pytest.raises(ValueError) as refused:
        declared(CELL)["steps"].take("9" * 100_000 + "x")
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("name", list(kinds.WORDS))
def test_every_kind_has_words_and_refuses_what_is_none_of_it(name: str) -> None:
    assert TypeAdapter(kinds.kind(name))
    with pytest.raises(ValidationError):
        TypeAdapter(kinds.kind(name)).validate_python({"no": "value"}, strict=True)


@pytest.mark.parametrize("content", ["null", "{}", "{", "3", '{"cells": 3}'])
def test_what_is_no_notebook_is_refused_in_one_line(content: str, tmp_path: Path) -> None:
    (tmp_path / "01_broken.ipynb").write_text(content)
    with pytest.raises(ValueError, match="01_broken.ipynb: is no notebook") as refused:
        book.of_chapter(tmp_path / "01_broken.ipynb")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("cell", ["n: Count = ", "n: int = 3", "n: Count = f()", "n: Nothing = 1"])
def test_a_parameters_cell_that_cannot_be_read_is_refused_in_one_line(cell: str, tmp_path: Path) -> None:
    nbformat.write(notebook(code(cell, "parameters")), tmp_path / "01_broken.ipynb")
    with pytest.raises(ValueError, match="a parameters cell that can be read") as refused:
        book.of_chapter(tmp_path / "01_broken.ipynb")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("given", "nearest"), [("step", "steps"), ("eps", "eps_x"), ("datset", "dataset")])
def test_an_unknown_name_is_refused_with_the_known_ones_and_the_nearest(given: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=f"unknown parameter {given}, did you mean {nearest}.*hidden, factors"):
        book.check(declared(CELL), {given: "1"}, "the chapter")


def test_what_equals_its_default_is_no_change() -> None:
    assert book.check(declared(CELL), {"eps_x": "0.10", "steps": 5}, "") == {"steps": 5}


# ---------------------------------------------------------------- headline numbers


def test_headline_numbers_are_those_of_the_closing_box_and_of_tagged_cells() -> None:
    found = headlines(
        notebook(
            code("", outputs=printed("not tagged 5\n")),
            code("", "headline", outputs=printed("AUC of W^1: 0.30 [0.28, 0.32]\nAUC of W^1: 1 %\nno number\n")),
            glued("a", "0.12345"),
            glued("b", "'word'"),
            glued("c", "7"),
            nbformat.v4.new_markdown_cell(
                ":::{admonition} What was seen\n{glue:text}`a:.2f` of {glue:text}`b`\n:::\n{glue:text}`c`"
            ),
        )
    )
    assert found == {"a": "0.12", "b": "word", "AUC of W^1: # [#, #]": "0.30, 0.28, 0.32", "AUC of W^1: # %": "1"}


def test_the_words_around_a_number_of_the_box_say_which_it_is() -> None:
    box = "- One.\n- Of $a b$ nets\n  {glue:text}`x` fail, {glue:text}`y:.1f` % do not. Another {glue:text}`z`.\n- Two."
    found = said(notebook(nbformat.v4.new_markdown_cell(f":::{{admonition}} What was seen\n{box}\n:::")))
    assert found["x"] == "Of $a b$ nets **#** fail, # % do ..." and found["z"] == "Another **#**."
    assert found["y"] == "Of $a b$ nets # fail, **#** % do not."


def test_equal_lines_are_told_apart_by_counting() -> None:
    cell = code("", "headline", outputs=printed("row 1\nrow 2\n"))
    assert headlines(notebook(cell)) == {"row #": "1", "row # (2)": "2"}


@each_chapter
def test_every_chapter_has_headline_numbers(chapter: Path) -> None:
    assert headlines(nbformat.read(chapter, as_version=4)), "name glued numbers in the closing box, or tag a cell"


# ---------------------------------------------------------------- nsr run


@pytest.mark.parametrize(
    "words",
    [
        ("run", "01", "-p", "m", "1"),
        ("run", "01", "-p", "n", "-1"),
        ("run", "01", "-p", "n", "many"),
        ("run", "01", "-p", "n"),
        ("run", "03"),
        ("run", "01", "--params", "missing.yml"),
        ("book", "--set", "k=1"),
        ("book", "--set", "n=1.5"),
        ("book", "--set", "n"),
        ("book", "--set", "n=2"),
        ("book",),
    ],
    ids=" ".join,
)
def test_what_is_refused_costs_one_line_and_executes_nothing(
    words: tuple[str, ...], tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("something was executed")

    monkeypatch.setattr(papermill, "execute_notebook", never)
    message = nsr(*words, code=cli.REFUSED)
    assert message.startswith("nsr: ") and message.count("\n") == 1
    assert not (tree / "_build").exists()


@pytest.mark.parametrize("text", ["- 1", "a: ["])
def test_a_file_that_names_no_parameters_is_refused(text: str, tree: Path) -> None:
    (tree / "my.yml").write_text(text)
    assert "my.yml" in nsr("run", "01", "--params", str(tree / "my.yml"), code=cli.REFUSED)


def test_the_parameters_of_a_chapter_are_listed_with_type_default_and_meaning(tree: Path) -> None:
    head, row = nsr("run", "01", "--help-parameters").splitlines()
    assert head.split() == ["name", "takes", "default", "meaning"]
    assert re.split(r"  +", row) == ["n", "a whole number from 0 to 10**7", "2", "how many"]
    assert not (tree / "_build").exists()


@pytest.mark.slow
def test_a_rerun_leaves_its_notebook_and_its_page_beside_the_reference(tree: Path) -> None:
    reference = (tree / "chapters" / "01_first.ipynb").read_bytes()
    (tree / "my.yml").write_text("n: 7\n")
    output = nsr("run", "01", "--params", str(tree / "my.yml"), "-p", "n", "5")
    made, page = named(output, "notebook"), named(output, "page")
    assert made.parent.parent == tree / "_build" / "runs" and made.parent.name.startswith("01_first-")
    again = nbformat.read(made, as_version=4)
    assert headlines(again) == {"ex-twice": "10.0"}
    assert "start_time" not in made.read_text() and str(tree) not in made.read_text()
    assert "There are 10.0." in text_of(page) and "Rerun with n = 5. Not the reference." in text_of(page)
    assert (tree / "chapters" / "01_first.ipynb").read_bytes() == reference


def test_pairs_may_be_written_either_way(monkeypatch: pytest.MonkeyPatch, tree: Path) -> None:
    seen = []

    def run(chapter: Path, given: dict[str, object]) -> book.Rerun:
        seen.append(given)
        return book.Rerun({}, chapter, chapter)

    monkeypatch.setattr(book, "run", run)
    for words in (["-p", "n", "5", "-p", "w", "a=b"], ["-p", "n=5", "--parameter", "w=a=b"]):
        nsr("run", "01", *words)
    assert seen == [{"n": "5", "w": "a=b"}] * 2


@pytest.mark.slow
def test_a_failing_cell_shows_its_error_on_one_screen_and_keeps_what_was_done(tree: Path) -> None:
    shown = nsr("run", "01", "-p", "n", "0", code=1)
    message = shown.splitlines()
    assert len(message) <= 24 and max(map(len, message[:-1])) <= 110
    assert "1 / n" in "\n".join(message) and "ZeroDivisionError: division by zero" in message
    kept = named(shown, "partial notebook")
    assert "before" in kept.read_text() and "ZeroDivisionError" in kept.read_text()


@pytest.mark.parametrize("cause", ["word " * 60 + "at last", "\n".join(f"line {k}" for k in range(30)) + "\nat last"])
def test_what_a_failing_cell_says_last_is_never_cut_off(cause: str) -> None:
    error = PapermillExecutionError(
        1, 1, "f()" + " " * 200 + "# far", "ValueError", cause, ["File a.py:1", "----> 1 f()"]
    )
    shown = one_screen("01_first", error).splitlines()
    assert len(shown) <= 24 and max(map(len, shown)) <= 110
    assert any(line.startswith(f"ValueError: {cause[:6]}") for line in shown) and shown[-1].endswith("at last")


def test_two_runs_with_the_same_parameters_wait_for_each_other(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both, met = threading.Barrier(2), []

    def execute(chapter: Path, out: Path, changes: object) -> None:
        try:
            met.append(both.wait(timeout=1.0))
        except threading.BrokenBarrierError:
            pass  # the other one waits, as it should
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(chapter, out)

    monkeypatch.setattr(rerun, "execute", execute)
    monkeypatch.setattr(rerun, "build", lambda source, out: None)
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda n: book.run(tree / "chapters" / "01_first.ipynb", {"n": n}), ("5", "5")))
    assert not met and done[0] == done[1] and done[0].notebook.exists()


# ---------------------------------------------------------------- nsr book


@pytest.mark.slow
def test_a_book_under_other_parameters_compares_itself_with_the_reference(tree: Path) -> None:
    reference = {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    output = nsr("book", "--set", "n=5")
    index, compared = named(output, "book"), named(output, "compared")
    assert index.exists() and index.is_relative_to(tree / "_build" / "books")
    words = text_of(compared)
    assert "First n 2 5" in words and "There are #. 4.0 10.0" in words and "others" not in words
    first, second = (text_of(index.parent / "chapters" / f"{name}.html") for name in ("01_first", "02_second"))
    assert "There are 10.0." in first and "there are 3 others" in second
    assert "Rerun with n = 5. Not the reference." in first
    assert all("Rerun with" not in text for text in (second, words, text_of(index)))
    assert {path: path.read_bytes() for path in reference} == reference


@pytest.mark.slow
def test_a_chapter_that_fails_does_not_keep_the_others_out_of_the_book(tree: Path) -> None:
    output = nsr("book", "--set", "n=0", "--set", "m=4", code=1)
    assert "ZeroDivisionError" in output
    compared = text_of(named(output, "compared"))
    assert "failed" in compared and "There are #. 4.0 -" in compared and "there are # others 3 4" in compared


def test_the_plan_gives_each_chapter_what_it_declares(tree: Path) -> None:
    assert book.plan({"n": "5", "m": "3"}) == {"01_first": {"n": 5}}
    assert book.plan({"n": "5", "m": 4}) == {"01_first": {"n": 5}, "02_second": {"m": 4}}


def test_a_parameter_may_be_set_in_one_chapter_alone(tree: Path) -> None:
    second = tree / "chapters" / "02_second.ipynb"
    second.write_text(
        second.read_text().replace("m: Whole = 3", "n: Share = 0.5").replace("import Whole", "import Share")
    )
    assert book.plan({"n": "1"}) == {"01_first": {"n": 1}, "02_second": {"n": 1}}
    assert book.plan({"01.n": "5"}) == {"01_first": {"n": 5}}
    assert book.plan({"n": "0.25", "01.n": "5"}) == {"01_first": {"n": 5}, "02_second": {"n": 0.25}}
    with pytest.raises(ValueError, match=r"01_first: n takes a whole number .*; one by one it fits as 02.n=0.25$"):
        book.plan({"n": "0.25"})
    with pytest.raises(ValueError, match="01_first: unknown parameter m"):
        book.plan({"01.m": 1})
    with pytest.raises(ValueError, match="no chapter is called '3'"):
        book.plan({"3.n": 1})


# ---------------------------------------------------------------- data sets


@pytest.mark.parametrize(
    "words", [("run", "01", "-p", "dataset", "fashion-mnist"), ("book", "--set", "dataset=fashion-mnist")]
)
def test_a_data_set_that_is_out_of_reach_costs_one_line_and_executes_nothing(
    words: tuple[str, ...], tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chapter = tree / "chapters" / "01_first.ipynb"
    source = chapter.read_text().replace("import Whole", "import DataSet")
    chapter.write_text(source.replace("n: Whole = 2  # how many", 'dataset: DataSet = \\"mnist\\"  # which'))

    def missing(name: str) -> None:
        raise data.DataError(f"{name} is not here and could not be downloaded")

    monkeypatch.setattr(data, "load", missing)
    message = nsr(*words, code=cli.REFUSED)
    assert message == "nsr: fashion-mnist is not here and could not be downloaded\n"
    assert not (tree / "_build").exists()
