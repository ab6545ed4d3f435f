"""What the `parameters` cell of a chapter declares, and whether a value may take a default's place."""

from __future__ import annotations

import ast
import difflib
import io
import math
import operator
import re
import tokenize
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nbformat
import yaml
from pydantic import TypeAdapter, ValidationError

BOUNDS: dict[str, Callable[[float, float], bool]] = {
    "at least": operator.ge,
    "above": operator.gt,
    "at most": operator.le,
    "below": operator.lt,
}
NUMBER = r"[-+]?[\d.]+(?:e[-+]?\d+)?"
TYPES = {t.__name__: t for t in (int, float, str, bool, list, tuple, dict)} | {"Literal": Literal}


@dataclass(frozen=True)
class Limit:
    """What is allowed beyond the type, as a comment says it: '0 to 1', 'above 0, at most 9', '"a", "b" or "c"'."""

    text: str
    choices: tuple[str, ...] = ()
    bounds: tuple[tuple[str, float], ...] = ()

    def allows(self, entry: object) -> bool:
        if isinstance(entry, float) and not math.isfinite(entry):
            return False
        if self.choices:
            return entry in self.choices
        # bounds are for numbers; a None that the type allows is none
        return not isinstance(entry, int | float) or all(BOUNDS[words](entry, end) for words, end in self.bounds)


@dataclass(frozen=True)
class Parameter:
    """One line `name: type = default  # meaning; limit` of a parameters cell."""

    name: str
    type: Any
    default: object
    meaning: str
    limit: Limit

    @property
    def allowed(self) -> str:
        """The type and the limit in words."""
        each = "each entry " if isinstance(self.default, list | tuple) else ""
        return type_name(self.type) + (f", {each}{self.limit.text}" if self.limit.text else "")

    def take(self, given: object) -> object:
        """`given` as a value of this parameter, read from text where need be; ValueError says what is allowed."""
        for candidate in (given, _read(given)):
            try:
                value = TypeAdapter(self.type).validate_python(candidate, strict=True)
            except ValidationError:
                continue
            if all(self.limit.allows(entry) for entry in _entries(value)):
                return value
        raise ValueError(f"{self.name} takes {self.allowed}; got {given!r}")


def of_chapter(chapter: Path) -> dict[str, Parameter]:
    """The parameters of a notebook, by name, in the order in which its cell tagged `parameters` declares them."""
    cells = nbformat.read(chapter, as_version=4).cells
    tagged = [c.source for c in cells if c.cell_type == "code" and "parameters" in c.metadata.get("tags", [])]
    return declared(tagged[0]) if tagged else {}


def declared(source: str) -> dict[str, Parameter]:
    """What a cell declares.

    papermill.inspect_notebook reads such cells too, but line by line with a regular expression, which gives up on a
    Literal and on an equals sign in the comment; Python's own parser does not.
    """
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
    found = {}
    for line in ast.parse(source).body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value is not None:
            default = ast.literal_eval(line.value)
            annotation = eval(ast.unparse(line.annotation), {"__builtins__": {}}, TYPES)  # of our own chapter's cell
            meaning, limit = _split(comments.get(line.end_lineno or 0, ""))
            of_type = _like(default) if annotation is list else annotation
            found[line.target.id] = Parameter(line.target.id, of_type, default, meaning, limit)
    return found


def of_file(path: Path) -> dict[str, object]:
    """The parameters in a YAML file, one `name: value` a line."""
    try:
        given = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML: {error}") from None
    if not isinstance(given, dict) or not all(isinstance(name, str) for name in given):
        raise ValueError(f"{path} has to hold lines `name: value`")
    return given


def check(known: Mapping[str, Parameter], given: Mapping[str, object], whose: str) -> dict[str, object]:
    """The given values that differ from the defaults; ValueError in one line for the first that cannot be taken."""
    for name in given:
        if name not in known:
            longer = [other for other in known if name and other.startswith(name)]
            near = longer or difflib.get_close_matches(name, known, n=1)
            nearest = f", did you mean {near[0]}?" if near else "."
            raise ValueError(f"unknown parameter {name}{nearest} {whose} has: {', '.join(known) or 'none'}")
    values = {name: known[name].take(value) for name, value in given.items()}
    return {name: value for name, value in values.items() if value != known[name].default}


def type_name(of: Any) -> str:
    """`int` or `list[int]` as an annotation has it, the choices of a Literal."""
    return of.__name__ if isinstance(of, type) and not hasattr(of, "__args__") else str(of).removeprefix("typing.")


def _split(comment: str) -> tuple[str, Limit]:
    """Meaning and limit: the limit stands behind the last semicolon, or is the whole comment."""
    meaning, _, last = comment.rpartition(";")
    limit = _limit(last.strip())
    return (comment, Limit("")) if limit is None else (meaning.strip() or comment, limit)


def _limit(text: str) -> Limit | None:
    if re.fullmatch(r'"[^"]*"(?:(?:, | or )"[^"]*")*', text):
        return Limit(text, choices=tuple(re.findall(r'"([^"]*)"', text)))
    if match := re.fullmatch(rf"({NUMBER}) to ({NUMBER})", text):
        return Limit(text, bounds=(("at least", float(match[1])), ("at most", float(match[2]))))
    one = rf"({'|'.join(BOUNDS)}) ({NUMBER})"
    if re.fullmatch(rf"{one}(?:(?:, | and ){one})*", text):
        return Limit(text, bounds=tuple((words, float(number)) for words, number in re.findall(one, text)))
    return None


def _read(given: object) -> object:
    """A value from text: as Python writes it (YAML 1.1 takes 1e-3 for a word), else as YAML does (true, [a, b])."""
    if isinstance(given, list):
        return [_read(entry) for entry in given]
    if not isinstance(given, str):
        return given
    try:
        return ast.literal_eval(given.strip())
    except (ValueError, SyntaxError):
        pass
    try:
        value = yaml.safe_load(given)
    except yaml.YAMLError:
        return given
    return value if isinstance(value, str) else _read(value)


def _entries(value: object) -> Iterator[object]:
    if isinstance(value, list | tuple):
        for entry in value:
            yield from _entries(entry)
    else:
        yield value


def _like(default: object) -> Any:
    """The type of a bare `list`, read off its default; where a whole number stands, any number may."""
    if isinstance(default, list):
        return list[_like(default[0])] if default else list
    return int | float if type(default) in (int, float) else type(default)
