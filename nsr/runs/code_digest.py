"""The digest of the code that decides a run's numbers, by which a run is known to be stale.

Code is named by its role, not by its file: a module that moves keeps its role, and a run computed by it stays valid.
What counts is the syntax tree without docstrings, imports, annotations and the names of the modules it calls into.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nsr import paths
from nsr.files import sha256

# role -> where the code lies today
ROLES = {
    "network": "network.py",
    "network.steps": "steps.py",
    "budget": "budget.py",
    "data": "data.py",
    "attack.losses": "attack/losses.py",
    "attack.gradients": "attack/mlp_gradients.py",
    "attack.recipes": "attack/recipes.py",
    "attack.engine": "attack/engine.py",
    "attack.joint": "attack/joint.py",
    "attack.offsets": "attack/offsets.py",
    "theory.norms": "theory/dense_norms.py",
    "theory.conv_norms": "theory/norms.py",
    "theory.boxes": "theory/boxes.py",
    "theory.convolutions": "theory/convolutions.py",
    "theory.folding": "theory/folding.py",
    "theory.theorem": "theory/theorem.py",
    "certify.margins": "certify/margins.py",
    "certify.linear": "certify/linear.py",
    "certify.branching": "certify/branching.py",
    "certify.leaf": "certify/leaf.py",
    "certify.witness": "certify/witness.py",
    "certify.exact": "certify/verdicts.py",
    "contour.measure": "contour/measuring.py",
    "contour.decide": "contour/deciding.py",
    "inside": "inside.py",
    "training.loss": "training/loss.py",
    "training.regularisers": "training/regularisers.py",
    "training.loop": "training/loop.py",
}
_COMMON = ("network", "network.steps", "budget", "data")
_ASCENT = ("attack.losses", "attack.gradients", "attack.recipes", "attack.engine")
_CHAINS = ("theory.boxes", "theory.convolutions", "theory.folding")
_BOUNDS = ("theory.norms", *_CHAINS, "theory.theorem", "certify.margins")
_TRAINING = ("theory.conv_norms", "training.loss", "training.regularisers", "training.loop")
TRAINING = (*_COMMON, *_ASCENT, "attack.offsets", *_BOUNDS, *_TRAINING)
ATTACKING = (*_COMMON, *_ASCENT, "attack.joint", "attack.offsets", "contour.measure")
CERTIFYING = (*_COMMON, *_BOUNDS, "certify.linear", "contour.measure")
READING = (*_COMMON, *_ASCENT, "attack.joint", "inside")
_SEARCH = ("certify.branching", "certify.leaf", "certify.witness", "certify.exact", "attack.offsets", "contour.decide")
DECIDING = (*_COMMON, *_BOUNDS, "certify.linear", *_SEARCH)


def code_digests(roles: Sequence[str]) -> dict[str, str]:
    """The digest of the code in each of these roles: what it does, not where it lies or what its comments say."""
    return {role: sha256(bare((paths.PACKAGE / ROLES[role]).read_text()).encode())[:16] for role in roles}


@functools.cache
def code_at_first_use(roles: Sequence[str], package: Path) -> dict[str, str]:
    """The digests of the code that this process runs: what is edited while it computes is not what computed."""
    return code_digests(roles)


def changed_roles(provenance: dict[str, Any]) -> tuple[str, ...]:
    """The roles whose code is not what it was when the run was computed."""
    found = (provenance["training"], *provenance["contours"].values(), *provenance.get("readings", {}).values())
    recorded = [part["code"] for part in found]
    now = code_digests(sorted({role for code in recorded for role in code if role in ROLES}))
    changed = {role for code in recorded for role, digest in code.items() if now.get(role) != digest}
    return tuple(sorted(changed))


@functools.cache  # every run of a store asks for the same dozen files
def bare(source: str) -> str:
    """The syntax tree of a module as text, without what decides no number."""
    tree = ast.parse(source)
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    ours = {a.asname or a.name for node in imports if (node.module or "").startswith("nsr") for a in node.names}
    return _text(tree, ours)


_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)
_IDLE = {"annotation", "returns", "ctx", "kind", "type_comment", "type_params", "type_ignores"}  # decide nothing


def _text(node: Any, ours: set[str]) -> str:
    """Not `ast.dump`, whose text hangs on Python's release."""
    if isinstance(node, list):
        return ",".join(filter(None, (_text(entry, ours) for entry in node)))
    if not isinstance(node, ast.AST):
        return repr(node)
    if isinstance(node, ast.Import | ast.ImportFrom):
        return ""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ours:
        return _text(ast.Name(node.attr), ours)  # `theorem.tau` and an imported `tau` are the same code
    if (
        isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and ast.get_docstring(node, clean=False) is not None
    ):
        node.body = node.body[1:]
    fields = (
        f"{name}={_text(value, ours)}"
        for name, value in ast.iter_fields(node)
        if name not in _IDLE and value not in (None, [])
    )
    return f"{type(node).__name__}({' '.join(fields)})"
