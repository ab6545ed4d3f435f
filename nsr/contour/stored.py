"""Contours of any network, stored cell by cell and taken up where they stopped.

A contour is stored cell by cell, each write whole or not at all: whatever stops the process, a rerun loses at most the
cells that were in work, and its numbers are those of a run that nothing stopped.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nsr import contour
from nsr.attack import PAPER, Attack
from nsr.budget import UNIT, Box
from nsr.contour import Cell, Contour
from nsr.files import StoreError, write_whole
from nsr.network import Network


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
    images_per_W: int | None = None,
    box: Box | None = UNIT,
    workers: int | None = None,
    watch: Callable[[int, int], None] | None = None,
) -> Contour:
    """`contour.measure`, resumed from `path` and stored there cell by cell. `watch(done, total)` follows it."""
    settings = {"attack": asdict(attack), "images_per_W": images_per_W, "box": box}
    book = _Cells(path, network, x, y, grid_x, grid_w, geometry, settings, watch)
    return contour.measure(
        network,
        x,
        y,
        grid_x,
        grid_w,
        attack=attack,
        geometry=geometry,
        images_per_W=images_per_W,
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
        settings: dict[str, Any],
        watch: Callable[[int, int], None] | None,
    ) -> None:
        self.path, self.watch = Path(path), watch
        self.shape = len(grid_x), len(grid_w)
        record = {"grid_x": grid_x, "grid_w": grid_w, "geometry": geometry, "settings": settings}
        digests = {"inputs": _digest(x, y), "network": _digest(*network.W, network(x[:8]))}
        self.record: dict[str, Any] = {**json.loads(json.dumps(record)), **digests}
        self.done: dict[Cell, float] = self._read()
        self._tell()

    def add(self, cell: Cell, accuracy: float) -> None:
        self.done[cell] = accuracy
        self._write()
        self._tell()

    def _tell(self) -> None:
        if self.watch:
            self.watch(len(self.done), math.prod(self.shape))

    def _read(self) -> dict[Cell, float]:
        if not self.path.exists():
            return {}
        try:
            found = json.loads(self.path.read_text())
            cells = {(int(i), int(j)): float(accuracy) for i, j, accuracy in found.pop("cells")}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
            raise StoreError(f"{self.path}: not a stored contour ({error}); remove it to start afresh") from None
        changed = [name for name, value in self.record.items() if found.get(name) != value]
        if changed:
            raise StoreError(
                f"{self.path}: holds a contour made with other {', '.join(changed)}; remove it or name another file"
            )
        if strange := [cell for cell in cells.items() if not self._possible(*cell)]:
            raise StoreError(f"{self.path}: not a stored contour (cell {strange[0]}); remove it to start afresh")
        return cells

    def _possible(self, cell: Cell, accuracy: float) -> bool:
        i, j = cell
        return 0 <= i < self.shape[0] and 0 <= j < self.shape[1] and 0 <= accuracy <= 1

    def _write(self) -> None:
        cells = [[i, j, accuracy] for (i, j), accuracy in sorted(self.done.items())]
        write_whole(self.path, json.dumps({**self.record, "cells": cells}, indent=1).encode())


@torch.no_grad()
def _digest(*tensors: Tensor) -> str:
    """SHA-256 over shapes, types and bytes."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
