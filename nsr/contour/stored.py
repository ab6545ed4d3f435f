"""The finished cells of a contour in a file: what a measurement is taken up from, whatever stopped it.

Each write is whole. The file names what its cells belong to (settings, inputs, weights, code) and holds a digest of
everything in it, so cells of something else, or changed ones, are refused and never gone on with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nsr.contour.contour import Cell
from nsr.files import StoreError, digested, read_digested, write_whole

REMEDY = "remove it to start afresh"


class Cells:
    """The cells at `path` that belong to exactly what `belongs` says, by name."""

    def __init__(self, path: Path, belongs: Mapping[str, Any], shape: tuple[int, int]) -> None:
        self.path, self.shape = Path(path), shape
        self.belongs: dict[str, Any] = json.loads(json.dumps(belongs))

    def read(self) -> dict[Cell, float]:
        """The accuracies found so far, none before the first."""
        if not self.path.exists():
            return {}
        content = read_digested(self.path, REMEDY)
        other = [what for what, value in self.belongs.items() if content.get(what) != value]
        if other:
            words = (self._changed(content.get(what), what) for what in other)
            raise StoreError(f"{self.path}: holds cells measured with {' and '.join(words)}; {REMEDY}")
        cells = {(i, j): accuracy for i, j, accuracy in content["cells"]}
        if not all(0 <= i < self.shape[0] and 0 <= j < self.shape[1] and 0 <= a <= 1 for (i, j), a in cells.items()):
            raise StoreError(f"{self.path}: a cell lies outside the grid; {REMEDY}")
        return cells

    def write(self, cells: Mapping[Cell, float]) -> None:
        rows = [[i, j, accuracy] for (i, j), accuracy in sorted(cells.items())]
        write_whole(self.path, digested({**self.belongs, "cells": rows}))

    def _changed(self, found: Any, what: str) -> str:
        """What is another one, with the parts that are, where it has parts."""
        ours = self.belongs[what]
        if what != "code" or not isinstance(found, dict):
            return f"other {what}"
        return f"other {what} ({', '.join(sorted(k for k in {*ours, *found} if ours.get(k) != found.get(k)))})"


@torch.no_grad()
def digest(*tensors: Tensor) -> str:
    """SHA-256 over shapes, types and bytes."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        found.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
