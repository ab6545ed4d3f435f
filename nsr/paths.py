"""Floor 0: where things lie. The only file that knows the tree."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "data"
CHAPTERS = ROOT / "chapters"


def data_roots() -> tuple[Path, ...]:
    """The folders to look for data sets in, first to last: the one that NSR_DATA names, if it is set, then `data/`."""
    named = os.environ.get("NSR_DATA")
    return (Path(named).expanduser().absolute(), DATA) if named else (DATA,)
