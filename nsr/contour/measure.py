"""Measure a contour: every cell of a grid of budgets, attacked or certified."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

import torch
from torch import Tensor

from nsr import certify
from nsr.attack import PAPER, UNIT, Attack, doubled, seeded, survivors
from nsr.budget import Box, Budget
from nsr.contour.contour import GEOMETRIES, Cell, Contour, check_grids
from nsr.network import Network


def measure(
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
    done: Mapping[Cell, float] | None = None,
    on_cell: Callable[[Cell, float], None] | None = None,
) -> Contour:
    """Attacked accuracy over the grid. `geometry` says what grid_w means: eps_w itself, or r with eps_m = r mean|W^m|.

    Each cell runs on one thread, `workers` cells at a time (as many as torch has threads, unless told otherwise), so
    numbers do not depend on `workers`; on CUDA all cells run at once.
    """

    def accuracies(cells: Sequence[Cell]) -> list[float]:
        return attacked(
            network, x, y, _budgets(network, cells, grid_x, grid_w, geometry), attack, weights=weights, n=n, box=box
        )

    together = x.device.type == "cuda"
    return _over_grid(accuracies, len(x), grid_x, grid_w, geometry, together, workers, done, on_cell)


def certified(
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
    done: Mapping[Cell, float] | None = None,
    on_cell: Callable[[Cell, float], None] | None = None,
) -> Contour:
    """The share of inputs that no perturbation in the budget can flip, each facing its own W_hat; in float64.

    Whoever the weight attacker is and whatever the attack: certified <= true <= attacked.
    """

    def shares(cells: Sequence[Cell]) -> list[float]:
        return certifiable(network, x, y, _budgets(network, cells, grid_x, grid_w, geometry), method=method, box=box)

    return _over_grid(shares, len(x), grid_x, grid_w, geometry, False, workers, done, on_cell)


def attacked(
    network: Network,
    x: Tensor,
    y: Tensor,
    budgets: Sequence[Budget],
    attack: Attack = PAPER,
    *,
    weights: str = "shared",
    n: int | None = None,
    box: Box | None = UNIT,
) -> list[float]:
    """The accuracy that an attack leaves inside each budget: the cells of a contour, one by one."""
    return [
        int(right.sum()) / len(x) for right in survivors(network, x, y, budgets, attack, box=box, weights=weights, n=n)
    ]


def certifiable(
    network: Network,
    x: Tensor,
    y: Tensor,
    budgets: Sequence[Budget],
    *,
    method: str = "crown",
    box: Box | None = UNIT,
) -> list[float]:
    """The share of inputs certified inside each budget, in float64."""
    if not network.is_mlp:
        raise ValueError("certificates are for dense ReLU networks, which this network is not")
    W, x = network.to(torch.float64).W, x.double()
    return [int(certify.certified(W, x, y, xi, method=method, box=box).sum()) / len(x) for xi in budgets]


@dataclass(frozen=True)
class Reliability:
    """Cells not to be trusted to a point: larger budget but higher accuracy, 2x the steps, other starting points."""

    not_monotone: tuple[Cell, ...]
    not_converged: tuple[Cell, ...]
    restart_spread: tuple[Cell, ...]


def reliability(
    network: Network,
    x: Tensor,
    y: Tensor,
    contour: Contour,
    *,
    attack: Attack = PAPER,
    restarts: int = 2,
    weights: str = "shared",
    n: int | None = None,
    box: Box | None = UNIT,
    workers: int | None = None,
) -> Reliability:
    """Measure again with twice the steps and from `restarts` random points: the cells that move by over a point."""

    def again(how: Attack) -> Contour:
        return measure(
            network,
            x,
            y,
            contour.grid_x,
            contour.grid_w,
            attack=how,
            geometry=contour.geometry,
            weights=weights,
            n=n,
            box=box,
            workers=workers,
        )

    from_elsewhere = [again(seeded(attack, seed)) for seed in range(restarts)]
    moved = {c for one, two in itertools.combinations([contour, *from_elsewhere], 2) for c in one.disagreements(two)}
    return Reliability(
        not_monotone=contour.disagreements(contour.envelope),
        not_converged=contour.disagreements(again(doubled(attack))),
        restart_spread=tuple(sorted(moved)),
    )


def _over_grid(
    accuracies: Callable[[Sequence[Cell]], list[float]],
    images: int,
    grid_x: Sequence[float],
    grid_w: Sequence[float],
    geometry: str,
    together: bool,
    workers: int | None,
    done: Mapping[Cell, float] | None,
    on_cell: Callable[[Cell, float], None] | None,
) -> Contour:
    """Fill the grid, leaving out the cells already `done`."""
    check_grids(grid_x, grid_w, geometry)
    if images == 0:
        raise ValueError("accuracy over no images is not a number: x is empty")
    found = dict(done or {})
    todo = [cell for cell in itertools.product(range(len(grid_x)), range(len(grid_w))) if cell not in found]
    batches = [todo] if together and todo else [[cell] for cell in todo]
    for cell, accuracy in _finished(accuracies, batches, workers or torch.get_num_threads()):
        found[cell] = accuracy
        if on_cell:
            on_cell(cell, accuracy)
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


def _budgets(
    network: Network, cells: Sequence[Cell], grid_x: Sequence[float], grid_w: Sequence[float], geometry: str
) -> list[Budget]:
    return [GEOMETRIES[geometry](grid_x[i], grid_w[j], network.W) for i, j in cells]
