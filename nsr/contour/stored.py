"""Contours of any network, stored cell by cell and taken up where they stopped.

A contour is stored cell by cell, each write whole or not at all: whatever stops the process, a rerun loses at most the
cells that were in work, and its numbers are those of a run that nothing stopped.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nsr import contour
from nsr.attack import PAPER, UNIT, Attack
from nsr.budget import Box, Budget
from nsr.contour import GEOMETRIES, Cell, Contour
from nsr.files import StoreError, write_whole
from nsr.network import Network, layers, mlp


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
    settings = {"attack": asdict(attack), "weights": weights, "n": n, "box": box}
    book = _Cells(path, network, x, y, grid_x, grid_w, geometry, settings, watch)
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
    """`contour.certified`, resumed from `path` and stored there cell by cell; a network of one layer has it, too."""
    book = _Cells(path, network, x, y, grid_x, grid_w, geometry, {"certificate": method, "box": box}, watch)
    if _is_one_layer(network):
        for i, j in itertools.product(range(len(grid_x)), range(len(grid_w))):
            if (i, j) not in book.done:
                xi = GEOMETRIES[geometry](grid_x[i], grid_w[j], network.W)
                book.add((i, j), *certifiable(network, x, y, [xi], method=method, box=box))
        rows = tuple(tuple(book.done[i, j] for j in range(len(grid_w))) for i in range(len(grid_x)))
        return Contour(tuple(map(float, grid_x)), tuple(map(float, grid_w)), rows, geometry)
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


def certifiable(
    network: Network, x: Tensor, y: Tensor, budgets: Sequence[Budget], *, method: str = "crown", box: Box | None = UNIT
) -> list[float]:
    """`contour.certifiable` for networks of one layer as well, which the certificates, made for L >= 2, do not take.

    On inputs that stay at 0 or above, an identity that nothing perturbs is a hidden layer that changes nothing; what
    the last layer then adds is exact.
    """
    if _is_one_layer(network):
        if box is None or box[0] < 0:
            raise ValueError(f"a network of one layer is certified for inputs of at least 0 only, got the box {box}")
        first = network.W[0]
        network = mlp((torch.eye(first.shape[1], dtype=first.dtype, device=first.device), *network.W))
        budgets = [Budget(xi.eps_x, (0.0, *xi.eps_w)) for xi in budgets]
    return contour.certifiable(network, x, y, budgets, method=method, box=box)


def _is_one_layer(network: Network) -> bool:
    return network.is_mlp and len(layers(network.W)) == 1


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
