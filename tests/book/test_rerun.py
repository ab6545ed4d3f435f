"""Rerun with other parameters: checked first, executed beside the reference, compared with it."""

from __future__ import annotations

import html
import re
import threading
from pathlib import Path

import nbformat
import papermill
import pytest
from papermill.exceptions import PapermillExecutionError
from typer.testing import CliRunner

from nsr import cli, data, paths
from nsr.book import edition, rerun
from nsr.book.headlines import headlines
from nsr.book.notebooks import read

CONFIG = "title: Example\nonly_build_toc_files: true\nexecute: {execute_notebooks: 'off'}\n"
TOC = "format: jb-book\nroot: intro\nparts:\n  - chapters: [{file: chapters/01_first}, {file: chapters/02_second}]\n"
BOX = ":::{admonition} What was seen\nThere are {glue:text}`ex-twice:.1f`.\n:::"
NOT_THE_REFERENCE = "Not the reference."


def chapter(path: Path, title: str, parameters: str, code: str, output: nbformat.NotebookNode, box: str = "") -> None:
    v4 = nbformat.v4
    cells = [
        v4.new_markdown_cell(title),
        v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        v4.new_code_cell(code, metadata={"tags": ["headline"]}, outputs=[output], execution_count=1),
        v4.new_markdown_cell(box),
    ]
    nbformat.write(v4.new_notebook(cells=cells), path)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A book of two chapters: the first takes n and glues 2 n, the second takes m and prints it."""
    (tmp_path / "chapters").mkdir()
    for name, text in {"_config.yml": CONFIG, "_toc.yml": TOC, "intro.md": "# Start\n"}.items():
        (tmp_path / name).write_text(text)
    record, name = {"application/papermill.record/text/plain": "4.0"}, {"scrapbook": {"name": "ex-twice"}}
    chapter(
        tmp_path / "chapters" / "01_first.ipynb",
        "(chapter-first)=\n# First\n\nIts words.",
        "n: int = 2  # how many",
        "from myst_nb import glue\nprint('before')\n1 / n\nglue('ex-twice', 2.0 * n, display=False)",
        nbformat.v4.new_output("display_data", record, metadata=name),
        BOX,
    )
    chapter(
        tmp_path / "chapters" / "02_second.ipynb",
        "# Second",
        "m: int = 3  # how many others",
        "print(f'there are {m} others')",
        nbformat.v4.new_output("stream", name="stdout", text="there are 3 others\n"),
    )
    for name, path in {"ROOT": "", "CHAPTERS": "chapters", "DATA": "data", "BUILD": "_build"}.items():
        monkeypatch.setattr(paths, name, tmp_path / path)
    monkeypatch.setattr(paths, "cache", lambda: tmp_path / "cache")
    return tmp_path


def change(tree: Path, stem: str, old: str, new: str) -> None:
    path = tree / "chapters" / f"{stem}.ipynb"
    path.write_text(path.read_text().replace(old, new))


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


# ---------------------------------------------------------------- before anything runs


@pytest.mark.parametrize(
    "words",
    [
        ("run", "01", "-p", "m", "1"),
        ("run", "01", "-p", "n", "many"),
        ("run", "01", "-p", "n"),
        ("run", "01", "-p", "n", "3", "-p", "n", "4"),
        ("run", "03"),
        ("run", "01", "--params", "missing.yml"),
        ("book", "--set", "k=1"),
        ("book", "--set", "n=1.5"),
        ("book", "--set", "n"),
        ("book", "--set", "n=2"),
        ("book", "--set", "n=3", "--set", "n=3"),
        ("book", "--set", "01.n=3", "--set", "01_first.n=4"),
        ("book", "--set", "01.m=3"),
        ("book", "--set", "3.n=3"),
        ("book",),
        ("run", "x" * 100_000),
        ("run", "01", "-p", "x" * 100_000, "1"),
        ("run", "01", "-p", "n", "x" * 100_000),
        ("run", "01", "-p", "n", "[" * 100_000),
        ("book", "--set", "x" * 100_000),
    ],
    ids=lambda words: " ".join(words)[:40],
)
def test_what_is_refused_costs_one_short_line_and_executes_nothing(
    words: tuple[str, ...], tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(papermill, "execute_notebook", lambda *_, **__: pytest.fail("something was executed"))
    message = nsr(*words, code=cli.REFUSED)
    assert message.startswith("nsr: ") and message.count("\n") == 1 and len(message) < 300
    assert not (tree / "_build").exists()


def test_a_broken_chapter_costs_one_line(tree: Path) -> None:
    (tree / "chapters" / "01_first.ipynb").write_text("null")
    for words in (("run", "01"), ("book", "--set", "m=4")):
        message = nsr(*words, code=cli.REFUSED)
        assert message.count("\n") == 1 and "01_first.ipynb is no notebook" in message


def test_the_parameters_of_a_chapter_are_listed_with_kind_default_and_meaning(tree: Path) -> None:
    head, row = nsr("run", "01", "--help-parameters").splitlines()
    assert head.split() == ["name", "takes", "default", "meaning"]
    assert re.split(r"  +", row) == ["n", "a whole number", "2", "how many"]
    assert not (tree / "_build").exists()


@pytest.mark.parametrize("words", [["-p", "n", "5", "-p", "w", "a=b"], ["-p", "n=5", "--parameter", "w=a=b"]])
def test_pairs_may_be_written_either_way(words: list[str], monkeypatch: pytest.MonkeyPatch, tree: Path) -> None:
    monkeypatch.setattr(rerun, "run", lambda path, given: rerun.Rerun(Path(path.stem), Path(repr(given))))
    assert named(nsr("run", "01", *words), "page") == Path("{'n': '5', 'w': 'a=b'}")


@pytest.mark.parametrize(
    "words", [("run", "01", "-p", "dataset", "fashion-mnist"), ("book", "--set", "dataset=fashion-mnist")]
)
def test_a_data_set_that_is_out_of_reach_costs_one_line_and_executes_nothing(
    words: tuple[str, ...], tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise data.DataError(f"{name} is not here and could not be downloaded")

    change(tree, "01_first", "n: int = 2", 'dataset: str = \\"mnist\\"')
    monkeypatch.setattr(data, "load", missing)
    assert nsr(*words, code=cli.REFUSED) == "nsr: fashion-mnist is not here and could not be downloaded\n"
    assert not (tree / "_build").exists()


def test_the_plan_gives_each_chapter_what_it_declares(tree: Path) -> None:
    assert edition.plan({"n": "5", "m": "3"}) == {"01_first": {"n": 5}}
    assert edition.plan({"n": "5", "m": "4"}) == {"01_first": {"n": 5}, "02_second": {"m": 4}}


def test_a_parameter_may_be_set_in_one_chapter_alone(tree: Path) -> None:
    change(tree, "02_second", "m: int = 3", 'n: str = \\"a\\"')
    assert edition.plan({"n": "5"}) == {"01_first": {"n": 5}, "02_second": {"n": "5"}}
    assert edition.plan({"01.n": "5"}) == {"01_first": {"n": 5}}
    assert edition.plan({"n": "word", "01.n": "5"}) == {"01_first": {"n": 5}, "02_second": {"n": "word"}}
    with pytest.raises(ValueError, match="01_first: n takes a whole number.*; NN.name=value"):
        edition.plan({"n": "word"})


# ---------------------------------------------------------------- what is told


def failed(ename: str, evalue: str, *trace: str) -> list[str]:
    error = PapermillExecutionError(0, 1, "f(x)", ename, evalue, list(trace))
    return rerun.one_screen("01_first", error).splitlines()


def test_an_error_shows_where_it_failed_and_by_which_chain_of_causes() -> None:
    trace = "KeyError    Traceback\nCell In[1], line 1\n----> 1 f(x)\n      2 more\nKeyError: 'a'\n\nValueError: b"
    shown = failed("ValueError", "b", trace)
    assert shown[4:] == ["Cell In[1], line 1", "----> 1 f(x)", "KeyError: 'a'", "ValueError: b"]


@pytest.mark.parametrize("long", ["word " * 5_000, "word\n" * 5_000, "x" * 50_000])
def test_the_excerpt_of_an_error_never_cuts_its_cause_off(long: str) -> None:
    shown = failed("ValueError", f"{long}the cause")
    assert len(shown) <= 24 and max(map(len, shown)) <= 110
    assert "".join(shown).endswith("the cause") and "ValueError: " in "".join(shown)


def test_a_page_says_under_its_title_what_it_was_rerun_with() -> None:
    page = rerun.marked("(chapter-a)=\n# Title\n\nWords.\n# no title", {"n": 5, "rows": ["at"]})
    assert page.startswith("(chapter-a)=\n# Title\n\n:::{warning}\nRerun with `n = 5`, `rows = ['at']`. Not the ref")
    assert page.endswith(":::\n\n\nWords.\n# no title") and page.count(NOT_THE_REFERENCE) == 1


def test_two_reruns_with_the_same_parameters_take_turns(tree: Path) -> None:
    order = []

    def second() -> None:
        with rerun.fresh("runs", "01-", {"n": 5}) as folder:
            order.append(f"second, {len(list(folder.iterdir()))} files")

    other = threading.Thread(target=second)
    with rerun.fresh("runs", "01-", {"n": 5}) as folder:
        other.start()
        (folder / "notebook").touch()
        other.join(0.2)
        order.append("first")
    other.join()
    assert order == ["first", "second, 0 files"]


# ---------------------------------------------------------------- executed


@pytest.mark.slow
def test_a_rerun_leaves_its_notebook_and_its_page_beside_the_reference(tree: Path) -> None:
    reference = (tree / "chapters" / "01_first.ipynb").read_bytes()
    (tree / "my.yml").write_text("n: 7\n")
    output = nsr("run", "01", "--params", str(tree / "my.yml"), "-p", "n", "5")
    made, page = named(output, "notebook"), named(output, "page")
    assert made.parent.parent == tree / "_build" / "runs" and made.parent.name.startswith("01_first-")
    assert {path.name for path in made.parent.iterdir()} == {made.name, "html"}
    assert headlines(read(made)) == {"ex-twice": "10.0"}
    assert "start_time" not in made.read_text() and str(tree) not in made.read_text()
    assert "There are 10.0." in text_of(page) and f"Rerun with n = 5. {NOT_THE_REFERENCE}" in text_of(page)
    assert (tree / "chapters" / "01_first.ipynb").read_bytes() == reference


@pytest.mark.slow
def test_a_failing_cell_shows_its_error_on_one_screen_and_keeps_what_was_done(tree: Path) -> None:
    shown = nsr("run", "01", "-p", "n", "0", code=1)
    assert "1 / n" in shown and "\nZeroDivisionError: division by zero\n" in shown
    kept = named(shown, "partial notebook")
    assert "before" in kept.read_text() and "ZeroDivisionError" in kept.read_text()


@pytest.mark.slow
def test_a_kernel_that_dies_costs_a_line_and_no_traceback(tree: Path) -> None:
    change(tree, "01_first", "1 / n", "import os; os._exit(n)")
    shown = nsr("run", "01", "-p", "n", "9", code=1)
    assert "the kernel of 01_first died" in shown and named(shown, "partial notebook").exists()


@pytest.mark.slow
def test_a_book_that_cannot_be_built_says_why_and_where_the_rest_is(tree: Path) -> None:
    (tree / "_config.yml").write_text(CONFIG + "sphinx: {extra_extensions: [there_is_no_such_one]}\n")
    shown = nsr("run", "01", "-p", "n", "9", code=1)
    assert "there_is_no_such_one" in shown and "log.txt" in shown


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
    assert NOT_THE_REFERENCE in first and NOT_THE_REFERENCE not in second
    assert {path: path.read_bytes() for path in reference} == reference


@pytest.mark.slow
def test_a_chapter_that_fails_does_not_keep_the_others_out_of_the_book(tree: Path) -> None:
    output = nsr("book", "--set", "n=0", "--set", "m=4", code=1)
    assert "ZeroDivisionError" in output
    compared = text_of(named(output, "compared"))
    assert "failed" in compared and "There are #. 4.0 -" in compared and "there are # others 3 4" in compared
