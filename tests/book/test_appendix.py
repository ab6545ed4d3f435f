"""The appendix promises code and commands that work: its Python runs, its commands exist."""

from __future__ import annotations

import re

import pytest
import typer

from nsr import cli, paths
from nsr.book.choices import HEAD, choices, depends

APPENDIX = paths.CHAPTERS / "appendix"
PAGES = sorted(page.name for page in APPENDIX.glob("*.md") if "```python" in page.read_text())


@pytest.mark.parametrize("name", PAGES)
def test_the_python_of_a_page_runs_from_top_to_bottom(name: str) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (APPENDIX / name).read_text(), re.DOTALL | re.MULTILINE)
    scope: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, name, "exec"), scope)


def test_the_commands_and_options_that_the_appendix_shows_exist() -> None:
    commands = typer.main.get_command(cli.app).commands
    text = "".join(page.read_text() for page in APPENDIX.glob("*.md"))
    shown = re.findall(r"^\.venv/bin/nsr ([\w-]+)([^#\n]*)", text, re.MULTILINE)
    assert shown
    for name, rest in shown:
        known = {
            option for parameter in commands[name].params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        assert set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest)) <= known, f"nsr {name}{rest}"


def test_every_unstated_choice_has_one_row_in_the_table_and_every_row_its_tag() -> None:
    found = {
        (str(path.relative_to(paths.PACKAGE)), text)
        for path in paths.PACKAGE.rglob("*.py")
        for text in re.findall(r"# PAPER: (unstated.*)", path.read_text())
    }
    rows = choices()
    matched = [[t for t in found if t[0] == row.tag[0] and t[1].startswith(row.tag[1])] for row in rows]
    assert [len(hits) for hits in matched] == [1] * len(rows)
    assert {hits[0] for hits in matched} == found
    assert all(len(row.row) == len(HEAD) and all(row.row) for row in rows)


def test_what_a_verdict_depends_on_is_read_from_the_ledger() -> None:
    assert depends("how the nets were trained").startswith("yes, C2")
    assert depends("the phase of the moon") == "no"
