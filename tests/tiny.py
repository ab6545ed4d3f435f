"""Runs of milliseconds: a tiny network on the digits, contours of four cells, and ways to disturb them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import nsr.runs
from nsr import paths
from nsr.attack import Ascent, Attack
from nsr.contour import Protocol
from nsr.runs import Measurement, Spec

NET: dict = {"dataset": "digits", "sizes": (64, 16, 10), "images": 200, "batch": 50}
GRID = Protocol((0.0, 0.2), (0.0, 0.05), (0.0, 0.5), images=40)
BRIEF = Attack((Ascent(steps=3, step_x=0.1, step_w=0.02),))
KINDS = {
    "paper": Measurement(GRID, BRIEF),
    "relative": Measurement(GRID, BRIEF, "relative"),
    "per_sample": Measurement(GRID, BRIEF, images_per_W=1),
    "certified": Measurement(GRID, method="linear", part="validation"),
}


def spec(name: str = "standard", seed: int = 0, **numbers) -> Spec:
    return nsr.runs.spec(name, seed, **{**NET, "epochs": 3, **numbers})


def contents(folder: Path) -> dict[str, bytes]:
    """What has to be the same however a run came about: all its files but the provenance, which holds the time.

    A process killed while it writes leaves a hidden file behind, for test_files to ask about.
    """
    files = (path for path in folder.rglob("[!.]*") if path.is_file() and path.name != "provenance.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def leaves(value: object) -> list[float]:
    """The numbers in nested dictionaries and tuples, in a row."""
    if not isinstance(value, dict | tuple):
        return [value]
    return [number for part in (value.values() if isinstance(value, dict) else value) for number in leaves(part)]


def step(store: Path, spec: Spec, *measurements: str) -> None:
    """One epoch or one row of cells more."""
    job = nsr.runs.next_job(store, spec, measurements)
    nsr.runs.keep(store, job, *job.result())


def flipped(content: bytes) -> Iterator[bytes]:
    """The content with a byte changed, added or lost, at several places, and nothing of it."""
    for at in sorted({0, len(content) // 3, len(content) // 2, len(content) - 2, len(content) - 1}):
        yield content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
    yield content + b"\n"
    yield content[:-1]
    yield b""


def crash_at(write: int, monkeypatch) -> list[str]:
    """Let the process be interrupted when it is about to put its file number `write` in place; the files so far."""
    written: list[str] = []
    replace = os.replace

    def failing(source: Path, target: Path) -> None:
        if len(written) == write:
            raise KeyboardInterrupt
        replace(source, target)
        written.append(Path(target).name)

    monkeypatch.setattr(os, "replace", failing)
    return written


def other_code(folder: Path) -> Path:
    """A copy of the package in which one line of the training's loss is another."""
    copy = shutil.copytree(paths.PACKAGE, folder / "other" / "nsr", ignore=shutil.ignore_patterns("__pycache__"))
    edit(copy / "training" / "loss.py", "return F.cross_entropy", "x = x\n    return F.cross_entropy")
    return copy


def edit(path: Path, old: str, new: str) -> None:
    source = path.read_text()
    assert old in source
    path.write_text(source.replace(old, new, 1))
