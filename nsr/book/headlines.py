"""The headline numbers of a chapter: those that its closing box speaks of, and what its cells tagged `headline` print.

A chapter's closing box (`:::{admonition} What ...`) names its numbers by glue; each is read from the notebook that
glued it. A number that is printed and not glued counts when the cell that prints it is tagged `headline`.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Sequence

from nbformat import NotebookNode

BOX = re.compile(r"^:::+ *\{admonition\} What (?:we saw|was seen).*?^:::", re.MULTILINE | re.DOTALL)
GLUE = re.compile(r"\{glue:(?:text)?\}`([^`:]+):?([^`]*)`")
MIME = "application/papermill.record/text/plain"
# a word with what belongs together in it: an equation, a role, code
WORD = re.compile(r"(?:\$[^$]*\$|\{[^}]*\}`[^`]*`|`[^`]*`|[^\s`$])+")
ROLE = re.compile(r"\{[^}]*\}`[^`]*`")
BEFORE, AFTER = 8, 4  # words around a number that say what it is
# a number that stands alone: not the 1 of W^1 or of fig-1
NUMBER = re.compile(r"(?<![\w^.-])[-+]?\d+(?:[.,]\d+)*(?:e[-+]?\d+)?(?!\w)")


def headlines(notebook: NotebookNode) -> dict[str, str]:
    """What is measured -> its value as the page shows it."""
    numbers, named = glued(notebook), [pair for box in _boxes(notebook) for pair in GLUE.findall(box)]
    shown = {name: formatted(numbers[name], spec) for name, spec in named if name in numbers}
    return shown | dict(_printed(notebook))


def glued(notebook: NotebookNode) -> dict[str, str]:
    """Name -> value, in Python's words, of everything that was glued."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    records = [output for output in outputs if MIME in output.get("data", {})]
    return {record["metadata"]["scrapbook"]["name"]: record["data"][MIME] for record in records}


def said(notebook: NotebookNode) -> dict[str, str]:
    """Name of a glued headline number -> the words around it in the closing box, the number itself as a bold #."""
    found: dict[str, str] = {}
    for box in _boxes(notebook):
        for sentence in re.split(r"\n *- ", box.removesuffix(":::").replace("*", "")):
            words = WORD.findall(sentence)
            for at, word in enumerate(words):
                for name, _ in GLUE.findall(word):
                    found.setdefault(name, _around(words, at))
    return found


def _around(words: Sequence[str], at: int) -> str:
    """A few words before and behind the one at `at`, of its own sentence; an ellipsis where they are cut."""
    ends = [k for k, word in enumerate(words) if word.endswith((".", "?", "!"))]
    first = max((k + 1 for k in ends if k < at), default=0)
    last = min((k for k in ends if k >= at), default=len(words) - 1)
    start, stop = max(first, at - BEFORE), min(last, at + AFTER)
    shown = [ROLE.sub("**#**" if k == at else "#", words[k]) for k in range(start, stop + 1)]
    return " ".join([*["..."] * (start > first), *shown, *["..."] * (stop < last)])


def _boxes(notebook: NotebookNode) -> list[str]:
    return [box for cell in notebook.cells if cell.cell_type == "markdown" for box in BOX.findall(cell.source)]


def formatted(text: str, format_spec: str) -> str:
    """As MyST-NB shows it: the value in its format, the text where that does not fit."""
    try:
        return format(ast.literal_eval(text), format_spec)
    except (ValueError, SyntaxError, TypeError):
        return text.strip("'\"")


def _printed(notebook: NotebookNode) -> Iterator[tuple[str, str]]:
    """Every printed line with a number: the line without its numbers names them. Equal names are counted."""
    seen: Counter[str] = Counter()
    tagged = (
        cell for cell in notebook.cells if cell.cell_type == "code" and "headline" in cell.metadata.get("tags", [])
    )
    for line in (line for cell in tagged for output in cell.outputs for line in _text(output).splitlines()):
        if numbers := NUMBER.findall(line):
            name = " ".join(NUMBER.sub("#", line).replace("|", " ").split())
            seen[name] += 1
            yield (f"{name} ({seen[name]})" if seen[name] > 1 else name), ", ".join(numbers)


def _text(output: NotebookNode) -> str:
    data = output.get("data", {})
    shown = data.get("text/markdown") or ("" if "image/png" in data else data.get("text/plain", ""))
    return output.text if output.output_type == "stream" else shown
