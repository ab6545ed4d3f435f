"""What the `parameters` cell of a chapter declares, and whether a value may take a default's place.

A cell has lines `name: Type = default  # meaning`. The types are those of `nsr.book.kinds`; pydantic checks them.
"""

from __future__ import annotations

import ast
import builtins
import difflib
import io
import reprlib
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from nsr.book import kinds
from nsr.book.notebooks import read

BOUNDS = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "up to"}
BROKEN = (SyntaxError, ValueError, KeyError, TypeError, tokenize.TokenError, PydanticUserError)


@dataclass(frozen=True)
class Parameter:
    """One line of a parameters cell."""

    name: str
    type: TypeAdapter[Any]
    default: object
    meaning: str

    @property
    def allowed(self) -> str:
        """The type and its limits in words."""
        return worded(self.type.json_schema())

    def take(self, given: object) -> object:
        """`given` as a value of this parameter; ValueError says what is allowed.

        Text is read as the type asks: "0777" is the number 777 or a word. YAML only parts [a, b] into its entries: of
        0777, 1:30 and no, YAML 1.1 would make 511, 90 and False.
        """
        try:
            is_list = isinstance(given, str) and given.lstrip().startswith("[")
            return self.type.validate_python(yaml.load(given, yaml.BaseLoader) if is_list else given)
        except (ValidationError, yaml.YAMLError):
            raise ValueError(f"{self.name} takes {self.allowed}; got {reprlib.repr(given)}") from None


def worded(schema: Mapping[str, Any]) -> str:
    """A JSON schema in words."""
    if "enum" in schema:
        return f"one of {', '.join(schema['enum'])}"
    if "items" in schema:
        sizes = dict.fromkeys(str(schema[end]) for end in ("minItems", "maxItems") if end in schema)
        return f"a list of {' to '.join(sizes) or 'any length'}, each {worded(schema['items'])}"
    kind = {"integer": "a whole number", "string": "a word", "boolean": "true or false"}.get(schema["type"], "a number")
    return " ".join([kind, *(f"{words} {schema[end]:,}" for end, words in BOUNDS.items() if end in schema)])


def of_chapter(chapter: Path) -> dict[str, Parameter]:
    """The parameters of a notebook, by name, in the order in which its cell tagged `parameters` declares them."""
    cells = read(chapter).cells
    tagged = [c.source for c in cells if c.cell_type == "code" and "parameters" in c.metadata.get("tags", [])]
    try:
        return declared(tagged[0]) if tagged else {}
    except BROKEN as error:
        raise ValueError(f"{chapter}: its cell of parameters cannot be read: {reprlib.repr(str(error))}") from None


def declared(source: str) -> dict[str, Parameter]:
    """What a cell declares.

    papermill.inspect_notebook reads such cells too, but line by line with a regular expression, which gives up on an
    equals sign in the comment; Python's own parser does not.
    """
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
    found = {}
    for line in ast.parse(source).body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value is not None:
            of_type = TypeAdapter(_type(line.annotation), config=ConfigDict(allow_inf_nan=False))
            default, meaning = ast.literal_eval(line.value), comments.get(line.end_lineno or 0, "")
            found[line.target.id] = Parameter(line.target.id, of_type, default, meaning)
    return found


def _type(annotation: ast.expr) -> Any:
    """What an annotation names: `Count`, `list[int]`, `Literal["paper", "strong"]`; nothing is run."""
    match annotation:
        case ast.Name(id=name):
            return {**vars(builtins), **vars(kinds)}[name]
        case ast.Subscript(value=of, slice=ast.Name() | ast.Subscript() as entry):
            return _type(of)[_type(entry)]
        case ast.Subscript(value=of, slice=choices):
            return _type(of)[ast.literal_eval(choices)]
    raise ValueError(f"{ast.unparse(annotation)} is no kind of nsr.book.kinds")


def of_file(path: Path) -> dict[str, object]:
    """The parameters in a YAML file, one `name: value` a line, every value still text."""
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file; it has to hold lines `name: value`")
    try:
        lines, given = (read(path.read_text(), yaml.BaseLoader) for read in (yaml.compose, yaml.load))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML: {error}") from None
    if not isinstance(given, dict):
        raise ValueError(f"{path} has to hold lines `name: value`")
    if len(lines.value) > len(given):
        raise ValueError(f"{path} gives a parameter twice")
    return given


def check(known: Mapping[str, Parameter], given: Mapping[str, object], whose: str) -> dict[str, object]:
    """The given values that differ from the defaults; ValueError in one line for the first that cannot be taken."""
    for name in given:
        if name not in known:
            longer = [other for other in known if name and other.startswith(name)]
            near = longer or difflib.get_close_matches(name[:99], known, n=1)
            nearest = f", did you mean {near[0]}?" if near else "."
            there = ", ".join(known) or "none"
            raise ValueError(f"unknown parameter {reprlib.repr(name)}{nearest} {whose} has: {there}")
    values = {name: known[name].take(value) for name, value in given.items()}
    return {name: value for name, value in values.items() if value != known[name].default}
