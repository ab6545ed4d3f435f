"""Parameters are declared by kinds, read as their kind asks, and checked before anything runs."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from nsr.book import notebooks
from nsr.book.parameters import check, declared, of_chapter, of_file

CELL = """\
dataset: DataSet = "mnist"  # what to train on
hidden: Widths = [32, 16]  # widths; L is one more (A = c = 1)
scales: Positives = [1, 2]  # factors on all weights
eps_x: UpToOne = 0.1  # input radius, x in [0, 1]
steps: Count = 10_000  # of the attack
share: Share = 0.5  # of the samples
rows: Rows = ["at"]  # of the table of methods
seed: Seed = 0  # of everything
way: Literal["up", "down"] = "up"  # where to
word: str = "1"  # any
"""


def broken(folder: Path, text: str) -> Path:
    (folder / "01_broken.ipynb").write_text(text)
    return folder / "01_broken.ipynb"


def test_every_parameter_of_a_chapter_may_keep_its_default_and_means_something() -> None:
    for chapter in notebooks.chapters():
        known = of_chapter(chapter)
        assert known, chapter
        for parameter in known.values():
            assert parameter.meaning and parameter.take(parameter.default) == parameter.default, parameter


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("dataset", "digits", "digits"),
        ("hidden", "[64]", [64]),
        ("hidden", ["64", "32"], [64, 32]),
        ("scales", "[0.5, 3]", [0.5, 3.0]),
        ("eps_x", "1e-3", 0.001),
        ("eps_x", "1", 1.0),
        ("eps_x", 0, 0.0),
        ("steps", "1_000", 1000),
        ("steps", "0777", 777),
        ("share", "1", 1.0),
        ("rows", "[at, jiwp]", ["at", "jiwp"]),
        ("rows", '["at"]', ["at"]),
        ("way", "down", "down"),
        ("word", "2", "2"),
        ("word", "no", "no"),
    ],
)
def test_text_is_read_as_the_kind_asks(name: str, given: object, value: object) -> None:
    taken = declared(CELL)[name].take(given)
    assert taken == value and type(taken) is type(value)


@pytest.mark.parametrize(
    ("name", "given", "allowed"),
    [
        ("dataset", "mnits", "one of mnist, fashion-mnist, digits"),
        ("hidden", "64", "a list of 1 to 20, each a whole number from 1"),
        ("hidden", "[]", "list of 1 to 20"),
        ("hidden", "[64, 0]", "whole number from 1"),
        ("hidden", "[64, 1.5]", "whole number"),
        ("hidden", "[1000000000000]", "up to 5,000"),
        ("hidden", "[64", "list"),
        ("scales", "[1, 0]", "number above 0"),
        ("eps_x", "1.01", "number from 0 up to 1"),
        ("eps_x", "nan", "number"),
        ("eps_x", "1e999", "number"),
        ("steps", "many", "whole number"),
        ("steps", "1:30", "whole number"),
        ("share", "0", "number above 0 up to 1"),
        ("rows", "[at, nope]", "joint_at"),
        ("seed", "123456789012345678901234567890", "up to 1,000,000,000"),
        ("way", "left", "one of up, down"),
        ("steps", "9" * 100_000, "whole number"),
    ],
)
def test_what_is_of_another_kind_is_refused_with_what_is_allowed(name: str, given: str, allowed: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} takes .*{re.escape(allowed)}.*; got '") as refused:
        declared(CELL)[name].take(given)
    assert len(str(refused.value)) < 250


@pytest.mark.parametrize(
    ("chapter", "name", "given"),
    [
        ("04", "budgets", "[[]]"),
        ("04", "hidden", "[]"),
        ("10", "stepped", "[at, att]"),
        ("11", "banded", "[]"),
        ("13", "shown", "[nothing]"),
    ],
)
def test_the_chapters_ask_for_no_less_than_they_need(chapter: str, name: str, given: str) -> None:
    (path,) = notebooks.chapters([chapter])
    with pytest.raises(ValueError, match=f"^{name} takes"):
        of_chapter(path)[name].take(given)


def test_a_kind_is_told_in_words() -> None:
    told = {name: parameter.allowed for name, parameter in declared(CELL).items()}
    assert told["word"] == "a word" and told["share"] == "a number above 0 up to 1"
    assert declared("n: list[int] = []")["n"].allowed == "a list of any length, each a whole number"


@pytest.mark.parametrize(("given", "nearest"), [("step", "steps"), ("eps", "eps_x"), ("datset", "dataset")])
def test_an_unknown_name_is_refused_with_the_known_ones_and_the_nearest(given: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=f"unknown parameter '{given}', did you mean {nearest}.*hidden, scales"):
        check(declared(CELL), {given: "1"}, "the chapter")


def test_what_equals_its_default_is_no_change() -> None:
    assert check(declared(CELL), {"eps_x": "0.10", "word": "1", "steps": "5"}, "") == {"steps": 5}


def test_a_file_gives_every_value_as_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "my.yml").write_text("n: 0777\nt: 1:30\nhidden: [64, no]\n")
    assert of_file(tmp_path / "my.yml") == {"n": "0777", "t": "1:30", "hidden": ["64", "no"]}


@pytest.mark.parametrize("text", ["- 1", "a: [", "n: 1\nn: 2", ""])
def test_a_file_that_names_no_parameters_or_one_twice_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "my.yml").write_text(text)
    with pytest.raises(ValueError, match=r"my\.yml"):
        of_file(tmp_path / "my.yml")


def test_a_file_that_is_not_there_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"my\.yml: there is no such file; it has to hold lines `name: value`"):
        of_file(tmp_path / "my.yml")


@pytest.mark.parametrize("text", ["null", "{}", "[]", "{", "", '{"nbformat": 99}', '{"cells": 3}', "[" * 9999])
def test_what_is_no_notebook_is_refused_in_one_line(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"01_broken\.ipynb is no notebook") as refused:
        of_chapter(broken(tmp_path, text))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "cell", ["n: Count = ", "n: Nothing = 1", "n: Count = f()", "n: Count[0] = 1", "n: 'x' = 1", '"']
)
def test_a_cell_of_parameters_that_cannot_be_read_is_refused_in_one_line(cell: str, tmp_path: Path) -> None:
    tagged = nbformat.v4.new_code_cell(cell, metadata={"tags": ["parameters"]})
    with pytest.raises(ValueError, match=r"01_broken\.ipynb: its cell of parameters cannot be read") as refused:
        of_chapter(broken(tmp_path, nbformat.writes(nbformat.v4.new_notebook(cells=[tagged]))))
    assert "\n" not in str(refused.value)
