"""The finished part of a contour in a file: what a measurement is taken up from, whatever stopped it.

Each write is whole. The file names what its cells, or planes of verdicts, belong to (settings, inputs, weights, code)
and holds a digest of everything in it, so those of something else, or changed ones, are refused and never gone on with.
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


class _Begun:
    """A file of unfinished work that belongs to exactly what `belongs` says, by name."""

    def __init__(self, path: Path, belongs: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self.belongs: dict[str, Any] = json.loads(json.dumps(belongs))

    def _found(self, name: str) -> Any:
        """What is stored under this name, empty before the first write."""
        if not self.path.exists():
            return ()
        content = read_digested(self.path, REMEDY)
        refuse_other(self.path, content, self.belongs)
        return content[name]

    def _put(self, name: str, value: Any) -> None:
        write_whole(self.path, digested({**self.belongs, name: value}))


class Cells(_Begun):
    """The cells at `path`, each an accuracy."""

    def __init__(self, path: Path, belongs: Mapping[str, Any], shape: tuple[int, int]) -> None:
        super().__init__(path, belongs)
        self.shape = shape

    def read(self) -> dict[Cell, float]:
        """The accuracies found so far, none before the first."""
        cells = {(i, j): accuracy for i, j, accuracy in self._found("cells")}
        if not all(0 <= i < self.shape[0] and 0 <= j < self.shape[1] and 0 <= a <= 1 for (i, j), a in cells.items()):
            raise StoreError(f"{self.path}: a cell lies outside the grid; {REMEDY}")
        return cells

    def write(self, cells: Mapping[Cell, float]) -> None:
        self._put("cells", [[i, j, accuracy] for (i, j), accuracy in sorted(cells.items())])


class Planes(_Begun):
    """The planes of verdicts at `path`, each under the digest of its image: a letter for each of `cells` cells."""

    def __init__(self, path: Path, belongs: Mapping[str, Any], cells: int) -> None:
        super().__init__(path, belongs)
        self.cells = cells

    def read(self) -> dict[str, str]:
        """The planes found so far, none before the first."""
        planes = dict(self._found("planes"))
        if not all(len(plane) == self.cells and set(plane) <= set("rbo") for plane in planes.values()):
            raise StoreError(f"{self.path}: a plane has not one verdict a cell; {REMEDY}")
        return planes

    def write(self, planes: Mapping[str, str]) -> None:
        self._put("planes", dict(planes))


def refuse_other(path: Path, found: Mapping[str, Any], belongs: Mapping[str, Any]) -> None:
    """Stop where a file of unfinished work was begun with something else; of the code, the roles that changed."""
    other = []
    for name, value in belongs.items():
        before = found.get(name)
        if before != value:
            parts = name == "code" and isinstance(before, dict)
            roles = sorted(role for role in {*before, *value} if before.get(role) != value.get(role)) if parts else []
            other.append(f"other {name}" + (f" ({', '.join(roles)})" if roles else ""))
    if other:
        raise StoreError(f"{path}: was begun with {' and '.join(other)}; {REMEDY}")


@torch.no_grad()
def digest(*tensors: Tensor) -> str:
    """SHA-256 over shapes, types and bytes."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        found.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
