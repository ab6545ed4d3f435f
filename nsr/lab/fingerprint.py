"""The digest of the code that decides a run's numbers, by which a run is known to be stale."""

from __future__ import annotations

import ast
import functools
import io
import tokenize
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nsr import paths
from nsr.lab.seal import sha256

TRAINING = ("network", "dense", "directions", "norms", "data", "budget", "ascent", "bounds", "certify", "loss", "train")
MEASURING = (
    *("network", "dense", "directions", "data", "budget", "ascent", "bounds", "attack", "certify", "contour"),
    "neurons",
)


def fingerprints(modules: Sequence[str]) -> dict[str, str]:
    """The digest of the code of each module: what it does, not what its comments and docstrings say."""
    return {module: sha256(_bare((paths.PACKAGE / f"{module}.py").read_text()).encode())[:16] for module in modules}


@functools.cache
def code_at_first_use(modules: Sequence[str], package: Path) -> dict[str, str]:
    """The fingerprints of the code that this process runs: what is edited while it computes is not what computed."""
    return fingerprints(modules)


def changed_modules(provenance: dict[str, Any]) -> tuple[str, ...]:
    """The modules whose code is not what it was when the run was computed."""
    recorded = [provenance["training"]["code"], *(part["code"] for part in provenance["contours"].values())]
    now = fingerprints(sorted({module for code in recorded for module in code if _exists(module)}))
    changed = {module for code in recorded for module, digest in code.items() if now.get(module) != digest}
    return tuple(sorted(changed))


def _exists(module: str) -> bool:
    return (paths.PACKAGE / f"{module}.py").exists()


@functools.cache  # every run of a store asks for the same dozen files
def _bare(source: str) -> str:
    """Source code without comments, docstrings and empty lines."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False):
            first, last = node.body[0].lineno - 1, node.body[0].end_lineno
            if lines[first].lstrip().startswith(("def ", "class ")):
                continue  # all on one line, and code with it
            for at in range(first, last):
                lines[at] = ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and lines[token.start[0] - 1]:
            lines[token.start[0] - 1] = lines[token.start[0] - 1][: token.start[1]]
    return "\n".join(line.rstrip() for line in lines if line.strip())
