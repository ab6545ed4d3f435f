"""Measure a contour: every cell of a grid of budgets, attacked or certified."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nsr import certify
from nsr.attack import PAPER, Attack, survivors
from nsr.budget import UNIT, Box, Budget
from nsr.contour.contour import GEOMETRIES, Cell, Contour, check_grids
from nsr.contour.stored import Cells, digest
from nsr.network import Network

Watch = Callable[[int, int], None]  # (cells done, cells in all)


def measure(
    network: Network,
    x: Tensor,
    y: Tensor,
    grid_x: Sequence[float],
    grid_w: Sequence[float],
    *,
    attack: Attack = PAPER,
    images_per_W: int | None = None,
    box: Box | None = UNIT,
    geometry: str = "absolute",
    workers: int | None = None,
    path: Path | None = None,
    watch: Watch | None = None,
) -> Contour:
    """Attacked accuracy over the grid. `geometry` says what grid_w means: eps_w itself, or r with eps_m = r mean|W^m|.

    Each cell runs on one thread, `workers` cells at a time (as many as torch has threads, unless told otherwise), so
    numbers do not depend on `workers`; on CUDA all cells run at once. With a `path` each finished cell is stored there,
    and the same call goes on from it. `watch(done, total)` follows the cells.

    >>> import torch, nsr
    >>> network = nsr.mlp(nsr.mlp_init((4, 8, 3), torch.Generator().manual_seed(0)))
    >>> x = torch.full((5, 4), 0.5)
    >>> contour = nsr.measure(network, x, network(x).argmax(1), (0, 0.3), (0, 0.2), attack=nsr.Attack.pgd(20))
    >>> contour.array.shape, contour.clean, contour.auc < 1
    ((2, 2), 1.0, True)
    """
    shares = partial(attacked, network, x, y, attack=attack, images_per_W=images_per_W, box=box)
    settings = {"attack": asdict(attack), "images_per_W": images_per_W, "box": box, "geometry": geometry}
    cells = _cells(path, network, x, y, grid_x, grid_w, settings)
    how = {"together": x.device.type == "cuda", "workers": workers, "cells": cells, "watch": watch}
    return over_grid(shares, _threat(geometry, network), grid_x, grid_w, geometry, **how)


def certified(
    network: Network,
    x: Tensor,
    y: Tensor,
    grid_x: Sequence[float],
    grid_w: Sequence[float],
    *,
    method: str = "tight",
    box: Box | None = UNIT,
    geometry: str = "absolute",
    workers: int | None = None,
    path: Path | None = None,
    watch: Watch | None = None,
) -> Contour:
    """The share of inputs that no perturbation in the budget can flip, each facing its own W_hat; in float64.

    Whoever the weight attacker is and whatever the attack: certified <= true <= attacked.
    """
    shares = partial(certifiable, network, x, y, method=method, box=box)
    settings = {"certificate": method, "box": box, "geometry": geometry}
    how = {"workers": workers, "cells": _cells(path, network, x, y, grid_x, grid_w, settings), "watch": watch}
    return over_grid(shares, _threat(geometry, network), grid_x, grid_w, geometry, **how)


def attacked(
    network: Network,
    x: Tensor,
    y: Tensor,
    budgets: Sequence[Budget],
    attack: Attack = PAPER,
    *,
    images_per_W: int | None = None,
    box: Box | None = UNIT,
) -> list[float]:
    """The accuracy that an attack leaves inside each budget: the cells of a contour, one by one."""
    _refuse_nothing(x)
    rows = survivors(network, x, y, budgets, attack, box=box, images_per_W=images_per_W)
    return [int(correct.sum()) / len(x) for correct in rows]


def certifiable(
    network: Network,
    x: Tensor,
    y: Tensor,
    budgets: Sequence[Budget],
    *,
    method: str = "tight",
    box: Box | None = UNIT,
) -> list[float]:
    """The share of inputs certified inside each budget, in float64."""
    _refuse_nothing(x)
    network, x = network.to(torch.float64), x.double()
    return [int(certify.certified(network, x, y, xi, method=method, box=box).sum()) / len(x) for xi in budgets]


def _cells(
    path: Path | None,
    network: Network,
    x: Tensor,
    y: Tensor,
    grid_x: Sequence[float],
    grid_w: Sequence[float],
    settings: dict[str, Any],
) -> Cells | None:
    """The stored cells of these inputs, weights, logits and settings."""
    if path is None:
        return None
    network_digest = digest(*network.W, network(x[:8]))
    belongs = {"inputs": digest(x, y), "network": network_digest, "grid": [[*grid_x], [*grid_w]], "settings": settings}
    return Cells(path, belongs, (len(grid_x), len(grid_w)))


def _threat(geometry: str, network: Network) -> Callable[[float, float], Budget]:
    if geometry not in GEOMETRIES:
        raise ValueError(f"unknown geometry {geometry!r}: choose one of {', '.join(GEOMETRIES)}")
    return lambda eps_x, radius: GEOMETRIES[geometry](eps_x, radius, network)


def _refuse_nothing(x: Tensor) -> None:
    if len(x) == 0:
        raise ValueError("accuracy over no images is not a number: x is empty")


def over_grid(
    shares: Callable[[Sequence[Budget]], list[float]],
    threat: Callable[[float, float], Budget],
    grid_x: Sequence[float],
    grid_w: Sequence[float],
    geometry: str = "absolute",
    *,
    together: bool = False,
    workers: int | None = None,
    cells: Cells | None = None,
    watch: Watch | None = None,
) -> Contour:
    """A contour of whatever `shares` says of budgets; `threat` is the budget of each pair of radii.

    Cells that are stored in `cells` are not computed again, and each new one is stored as it is finished.
    """
    check_grids(grid_x, grid_w, geometry)

    def accuracies(batch: Sequence[Cell]) -> list[float]:
        return shares([threat(grid_x[i], grid_w[j]) for i, j in batch])

    found = cells.read() if cells else {}
    everywhere = list(itertools.product(range(len(grid_x)), range(len(grid_w))))
    tell = watch or (lambda done, total: None)
    tell(len(found), len(everywhere))
    todo = [cell for cell in everywhere if cell not in found]
    batches = [todo] if together and todo else [[cell] for cell in todo]
    for cell, accuracy in _finished(accuracies, batches, workers or torch.get_num_threads()):
        found[cell] = accuracy
        if cells:
            cells.write(found)
        tell(len(found), len(everywhere))
    rows = tuple(tuple(found[i, j] for j in range(len(grid_w))) for i in range(len(grid_x)))
    return Contour(tuple(map(float, grid_x)), tuple(map(float, grid_w)), rows, geometry)


def _finished(
    accuracies: Callable[[Sequence[Cell]], list[float]], batches: Sequence[Sequence[Cell]], workers: int
) -> Iterator[tuple[Cell, float]]:
    """Cells as they are finished, each computed on one thread."""
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    try:
        running = {pool.submit(accuracies, batch): batch for batch in batches}
        for future in as_completed(running):
            yield from zip(running[future], future.result(), strict=True)
    finally:
        pool.shutdown(cancel_futures=True)
