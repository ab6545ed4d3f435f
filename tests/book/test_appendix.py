"""The appendix promises code and commands that work: its Python runs, its commands exist."""

from __future__ import annotations

import re

import pytest
import typer

from nsr import cli, paths

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
    shown = re.findall(r"^\.venv/bin/nsr (\w+)([^#\n]*)", text, re.MULTILINE)
    assert shown
    for name, rest in shown:
        known = {
            option for parameter in commands[name].params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        assert set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest)) <= known, f"nsr {name}{rest}"
