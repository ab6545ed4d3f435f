"""Where things lie. The only file that knows the tree, and what stands in for it where the package is installed."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent
CHAPTERS = ROOT / "chapters"
BUILD = ROOT / "_build"


def in_checkout() -> bool:
    """Whether the package lies in its repository, with chapters and shipped runs beside it."""
    return (ROOT / "_toc.yml").is_file() and CHAPTERS.is_dir()


def refuse_without_checkout(what: str) -> None:
    """Stop with one line where `what` needs the repository and the package is installed elsewhere."""
    if not in_checkout():
        raise OSError(f"{what} lie in the repository of this book: run nsr from a clone of it, after make setup")


def refuse_without_shipped(path: Path, what: str = "the shipped runs") -> None:
    """Stop with one line where these data of the book are wanted and the package is installed without them."""
    if not in_checkout() and not path.exists():
        raise OSError(
            f"{what} are not in {path}: they lie in the repository of this book, in its folder data; "
            "download it and set NSR_DATA to that folder before nsr is imported"
        )


def data_roots() -> tuple[Path, ...]:
    """Where data sets are looked for: NSR_DATA if set, then the repository's `data/` or the platform's cache folder."""
    named, usual = _named("NSR_DATA"), ROOT / "data" if in_checkout() else cache() / "data"
    return (named, usual) if named else (usual,)


def store() -> Path:
    """Where new runs go: NSR_RUNS if set, the repository's `runs/`, else the platform's cache folder."""
    return _named("NSR_RUNS") or (ROOT / "runs" if in_checkout() else cache() / "runs")


def _named(variable: str) -> Path | None:
    named = os.environ.get(variable)
    return Path(named).expanduser().absolute() if named else None


def cache() -> Path:
    """The platform's folder for what can be had again."""
    return platformdirs.user_cache_path("nsr", appauthor=False)


DATA = ROOT / "data" if in_checkout() else data_roots()[0]  # what the repository ships, or a copy of it
SHIPPED = DATA / "runs"
COMPANIONS = DATA / "companions"  # the runs of `nsr.runs.companions`, most of them without their weights
