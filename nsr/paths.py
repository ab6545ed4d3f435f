"""Where things lie. The only file that knows the tree."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "data"
CHAPTERS = ROOT / "chapters"
SHIPPED = DATA / "runs"
PACKAGE = ROOT / "nsr"
BUILD = ROOT / "_build"


def data_roots() -> tuple[Path, ...]:
    """The folders to look for data sets in, first to last: the one that NSR_DATA names, if it is set, then `data/`."""
    named = os.environ.get("NSR_DATA")
    return (Path(named).expanduser().absolute(), DATA) if named else (DATA,)


def store() -> Path:
    """Where new runs go: the folder that NSR_RUNS names, or `runs/`."""
    named = os.environ.get("NSR_RUNS")
    return Path(named).expanduser().absolute() if named else ROOT / "runs"
