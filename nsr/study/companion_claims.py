"""The claims of both companion papers in one ledger: B1 to B5 of Wen, Li and Jia, D1 to D4 of Liang and Huang."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from nsr import data, paths
from nsr.runs.companions import RADII
from nsr.study import companions, inside_claims, norm_claims
from nsr.study.claims.page import as_text, other, records
from nsr.study.claims.verdict import Row, Rules

SHIPPED = paths.DATA / "companion_claims.json"
RULES = Rules()


def ledger(rules: Rules = RULES, *stores: Path) -> dict[str, Row]:
    """Every claim decided by the shipped companion runs, or by those of other stores."""
    ladders = {name: radii(name, *stores) for name in RADII}
    known = norm_claims.measured(data.load("mnist").test, *stores)
    return {**inside_claims.over(ladders, rules), **norm_claims.ledger(known, rules)}


def radii(name: str, *stores: Path) -> inside_claims.Ladder:
    """A ladder of radii with all its rungs, also those that have no runs yet."""
    found = companions.insides(companions.ladder(name, "MNIST, dense", *stores))
    return {radius: found.get(radius, {}) for radius in (0.0, *RADII[name])}


def to_json(rules: Rules = RULES, *stores: Path) -> str:
    """The ledger with everything that it rests on, as the text of `data/companion_claims.json`."""
    rows, second = (ledger(by, *stores) for by in (rules, other(rules)))
    return as_text({"rules": asdict(rules), "claims": records(rows, second)})
