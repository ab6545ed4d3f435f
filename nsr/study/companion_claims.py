"""The claims of both companion papers in one ledger: B1 to B5 of Wen, Li and Jia, D1 to D4 of Liang and Huang."""

from __future__ import annotations

from pathlib import Path

from nsr import data
from nsr.runs.companions import RADII
from nsr.study import companions, inside_claims, norm_claims
from nsr.study.claims.verdict import Row, Rules

RULES = Rules(interval="student")


def ledger(rules: Rules = RULES, *stores: Path) -> dict[str, Row]:
    """Every claim decided by the shipped companion runs, or by those of other stores."""
    ladders = {name: companions.insides(companions.ladder(name, "MNIST, dense", *stores)) for name in RADII}
    known = norm_claims.measured(data.load("mnist").test, *stores)
    return {**inside_claims.over(ladders, rules), **norm_claims.ledger(known, rules)}
