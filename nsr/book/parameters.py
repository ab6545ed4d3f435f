"""What the `parameters` cell of a chapter declares, and whether a value may take a default's place."""

from __future__ import annotations

import ast
import difflib
import io
import json
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nbformat
import yaml
from pydantic import TypeAdapter, ValidationError

from nsr.book import kinds


@dataclass(frozen=True)
class Parameter:
    """One line `name: Kind = default  # meaning` of a parameters cell; the kinds are in `nsr.book.kinds`."""

    name: str
    type: Any
    allowed: str  # in words
    default: object
    meaning: str

    def take(self, given: object) -> object:
        """`given` as a value of this parameter, read from text where need be; ValueError says what is allowed."""
        for candidate in (given, _read(given)):
            try:
                return TypeAdapter(self.type).validate_python(candidate, strict=True)
            except ValidationError:
                continue
        raise ValueError(f"{self.name} takes {self.allowed}; got {given!r:.60}")


def of_chapter(chapter: Path) -> dict[str, Parameter]:
    """The parameters of a notebook, by name, in the order in which its cell tagged `parameters` declares them."""
    try:
        cells = nbformat.read(chapter, as_version=4).cells
        tagged = [c.source for c in cells if c.cell_type == "code" and "parameters" in c.metadata.get("tags", [])]
        return declared(tagged[0]) if tagged else {}
    except Exception as error:  # nbformat, ast and we ourselves each have our own way to say that it is broken
        reason = " ".join(str(error).split())[:120]
        raise ValueError(f"{chapter}: is no notebook with a parameters cell that can be read ({reason})") from None


def declared(source: str) -> dict[str, Parameter]:
    """What a cell declares: papermill's own reader gives up on a Literal and on an equals sign in a comment."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
    found = {}
    for line in ast.parse(source).body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value is not None:
            of_type, words = _kind(line.annotation)
            name, meaning = line.target.id, comments.get(line.end_lineno or 0, "")
            found[name] = Parameter(name, of_type, words, ast.literal_eval(line.value), meaning)
    return found


def _kind(annotation: ast.expr) -> tuple[Any, str]:
    """The type that an annotation names, and what it allows in words: a kind, or a Literal of some words."""
    if isinstance(annotation, ast.Name) and annotation.id in kinds.WORDS:
        return kinds.kind(annotation.id), kinds.WORDS[annotation.id]
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Literal":
        choices = ast.literal_eval(annotation.slice)
        return Literal[choices], " or ".join(f'"{choice}"' for choice in choices)
    raise ValueError(f"{ast.unparse(annotation)} is none of {', '.join(kinds.WORDS)}")


def of_file(path: Path) -> dict[str, object]:
    """The parameters in a YAML file, one `name: value` a line."""
    try:
        given = yaml.load(path.read_text(), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())[:120]}") from None
    if not isinstance(given, dict):
        raise ValueError(f"{path} has to hold lines `name: value`")
    return given


def check(known: Mapping[str, Parameter], given: Mapping[str, object], whose: str) -> dict[str, object]:
    """The given values that differ from the defaults; ValueError in one line for the first that cannot be taken."""
    for name in given:
        if name not in known:
            longer = [other for other in known if name and other.startswith(name)]
            near = longer or difflib.get_close_matches(name, known, n=1)
            nearest = f", did you mean {near[0]}?" if near else "."
            raise ValueError(f"unknown parameter {name:.60}{nearest} {whose} has: {', '.join(known) or 'none'}")
    values = {name: known[name].take(value) for name, value in given.items()}
    return {name: value for name, value in values.items() if value != known[name].default}


def _read(given: object) -> object:
    """A value from text: as Python or JSON writes it, a list also without quotes around its words.

    Not as YAML 1.1 reads scalars, to which 0777 is 511 and 1:30 is 90.
    """
    if isinstance(given, list):
        return [_read(entry) for entry in given]
    if not isinstance(given, str):
        return given
    for read in (ast.literal_eval, json.loads):
        try:
            return read(given.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            pass
    try:
        value = yaml.load(given, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError):
        return given
    return _read(value) if isinstance(value, list) else given
