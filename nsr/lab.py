"""Floor 5: from a specification to a result, loaded if it exists, else computed and stored.

A contour is stored cell by cell, each write whole or not at all: whatever stops the process, a rerun loses at most the
cells that were in work, and its numbers are those of a run that nothing stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nsr import contour
from nsr.attack import PAPER, UNIT, Attack
from nsr.budget import Box
from nsr.contour import Cell, Contour
from nsr.network import Network


class LabError(RuntimeError):
    """A stored result cannot be used; the message names the file and says what to do."""


def attacked(
    path: Path,
    network: Network,
    x: Tensor,
    y: Tensor,
    grid_x: Sequence[float],
    grid_w: Sequence[float],
    *,
    attack: Attack = PAPER,
    geometry: str = "absolute",
    weights: str = "shared",
    n: int | None = None,
    box: Box | None = UNIT,
    workers: int | None = None,
    watch: Callable[[int, int], None] | None = None,
) -> Contour:
    """`contour.measure`, resumed from `path` and stored there cell by cell. `watch(done, total)` follows it."""
    how = {"attack": asdict(attack), "weights": weights, "n": n, "box": box}
    book = _Cells(path, network, x, y, grid_x, grid_w, geometry, how, watch)
    return contour.measure(
        network,
        x,
        y,
        grid_x,
        grid_w,
        attack=attack,
        geometry=geometry,
        weights=weights,
        n=n,
        box=box,
        workers=workers,
        done=book.done,
        on_cell=book.add,
    )


def certified(
    path: Path,
    network: Network,
    x: Tensor,
    y: Tensor,
    grid_x: Sequence[float],
    grid_w: Sequence[float],
    *,
    method: str = "crown",
    geometry: str = "absolute",
    box: Box | None = UNIT,
    workers: int | None = None,
    watch: Callable[[int, int], None] | None = None,
) -> Contour:
    """`contour.certified`, resumed from `path` and stored there cell by cell."""
    book = _Cells(path, network, x, y, grid_x, grid_w, geometry, {"certificate": method, "box": box}, watch)
    return contour.certified(
        network,
        x,
        y,
        grid_x,
        grid_w,
        method=method,
        geometry=geometry,
        box=box,
        workers=workers,
        done=book.done,
        on_cell=book.add,
    )


class _Cells:
    """The finished cells of one contour on disk, with the digest of everything they depend on."""

    def __init__(
        self,
        path: Path,
        network: Network,
        x: Tensor,
        y: Tensor,
        grid_x: Sequence[float],
        grid_w: Sequence[float],
        geometry: str,
        how: dict[str, Any],
        watch: Callable[[int, int], None] | None,
    ) -> None:
        self.path, self.watch = Path(path), watch
        self.grids = {"grid_x": list(grid_x), "grid_w": list(grid_w), "geometry": geometry}
        self.total = len(grid_x) * len(grid_w)
        self.how = json.loads(json.dumps(how))
        self.made_from = {"inputs": _digest(x, y), "network": _digest(*network.W, network(x[:8]))}
        self.done: dict[Cell, float] = self._read()
        self._tell()

    def add(self, cell: Cell, accuracy: float) -> None:
        self.done[cell] = accuracy
        self._write()
        self._tell()

    def _tell(self) -> None:
        if self.watch:
            self.watch(len(self.done), self.total)

    def _record(self) -> dict[str, Any]:
        return {**self.grids, "how": self.how, "made_from": self.made_from}

    def _read(self) -> dict[Cell, float]:
        if not self.path.exists():
            return {}
        try:
            found = json.loads(self.path.read_text())
            cells = {(int(i), int(j)): float(accuracy) for i, j, accuracy in found.pop("cells")}
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            raise LabError(f"{self.path}: not a stored contour ({error}); remove it to start afresh") from None
        changed = [name for name, value in self._record().items() if found.get(name) != value]
        if changed:
            raise LabError(
                f"{self.path}: holds a contour of another {', '.join(changed)}; name another file or remove this one"
            )
        return cells

    def _write(self) -> None:
        """Write whole or not at all: a reader sees the old file or the new one."""
        cells = [[i, j, accuracy] for (i, j), accuracy in sorted(self.done.items())]
        text = json.dumps({**self._record(), "cells": cells}, indent=1)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}-")
        try:
            with os.fdopen(handle, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(scratch, self.path)
        finally:
            Path(scratch).unlink(missing_ok=True)


@torch.no_grad()
def _digest(*tensors: Tensor) -> str:
    """SHA-256 over shapes, types and bytes."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
