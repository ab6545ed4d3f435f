"""The truth over a grid: every image's own plane of budgets, robust, broken or open."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from nsr import certify
from nsr.budget import UNIT, Box, Only
from nsr.contour.contour import GEOMETRIES, check_grids
from nsr.network import Network

BRIEFLY = 1 / 20  # of the limit: what each cell is given before any is given all of it


def plane(
    network: Network,
    x: Tensor,
    y: Tensor,
    grid_x: Sequence[float],
    grid_w: Sequence[float],
    *,
    box: Box | None = UNIT,
    geometry: str = "absolute",
    only: Only = None,
    seconds: float = 10.0,
    watch: Callable[[int], None] = lambda settled: None,
) -> str:
    """The verdicts on one image x [1, d] over the grid, a letter a cell: r(obust), b(roken), o(pen).

    Verdicts are monotone in both radii: what is robust stays so in smaller balls, what is broken in larger ones. So the
    border is a staircase, and about as many questions are asked as the grid has rows and columns, the next always where
    either answer settles most. `seconds` is the limit of one question; `watch(settled)` follows the cells. Which
    tensors move says `only`, see `Budget`.

    >>> import torch, nsr
    >>> network = nsr.mlp((torch.eye(2), torch.eye(2)))
    >>> plane(network, torch.tensor([[0.6, 0.5]]), torch.tensor([0]), (0, 0.02, 0.1), (0, 0.01, 0.2))
    'rrbrrbbbb'
    """
    check_grids(grid_x, grid_w, geometry)
    found = np.full((len(grid_x), len(grid_w)), "?")
    for limit in (BRIEFLY * seconds, seconds):
        asked = found == "?"
        while (asked & (found == "?")).any():
            i, j = _most_telling(asked & (found == "?"), found == "?")
            xi = GEOMETRIES[geometry](grid_x[i], grid_w[j], network, only)
            verdict = certify.exact(network, x, y, xi, box=box, seconds=limit)
            if verdict.interrupted:
                raise KeyboardInterrupt
            if verdict.robust:
                found[: i + 1, : j + 1] = "r"
            elif verdict.broken:
                found[i:, j:] = "b"
            asked[i, j] = False
            watch(int((found != "?").sum()))
    found[found == "?"] = "o"
    return "".join(found.flatten())


def _most_telling(cells: np.ndarray, unknown: np.ndarray) -> tuple[int, int]:
    """Of these cells the one whose worse answer settles most of the unknown ones."""
    below = unknown.cumsum(0).cumsum(1)
    above = unknown[::-1, ::-1].cumsum(0).cumsum(1)[::-1, ::-1]
    worth = np.where(cells, np.minimum(below, above), -1)
    return np.unravel_index(worth.argmax(), worth.shape)
