"""Floor 4: accuracy over a grid of budgets (eps_x, eps_w), attacked or certified, and its AUC.

Nothing here prints or touches the disk: `on_cell` hands out each cell as it is finished, `done` takes cells back in.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from nsr import certify
from nsr.attack import PAPER, UNIT, Attack, doubled, seeded, survivors
from nsr.budget import Box, Budget
from nsr.network import Network, Weights

Cell = tuple[int, int]  # the indices of (eps_x, eps_w) in their grids
Rows = tuple[tuple[float, ...], ...]

POINT = 0.01  # one percentage point: what counts as a disagreement


@dataclass(frozen=True)
class Protocol:
    """A grid and the number of test images: `grid_w` for absolute radii, `grid_r` for relative ones."""

    grid_x: tuple[float, ...]
    grid_w: tuple[float, ...]
    grid_r: tuple[float, ...]
    images: int


# PAPER: unstated, we chose both ranges and the number of images.
FULL = Protocol(
    grid_x=tuple(3 * k / 100 for k in range(11)),
    grid_w=tuple(k / 1000 for k in range(11)),
    grid_r=tuple(k / 100 for k in range(11)),
    images=10_000,
)
COARSE = Protocol(FULL.grid_x[::2], FULL.grid_w[::2], FULL.grid_r[::2], images=2_000)
# The same grid on fewer images, for attacks that cost several times as much and are run on many networks.
BRIEF = replace(COARSE, images=500)
# Radii at which certificates still say something.
SMALL = Protocol(
    grid_x=tuple(k / 50 for k in range(6)),
    grid_w=tuple(8 * k / 10_000 for k in range(6)),
    grid_r=tuple(k / 100 for k in range(6)),
    images=500,
)

GEOMETRIES: dict[str, Callable[[float, float, Weights], Budget]] = {
    "absolute": lambda eps_x, eps_w, W: Budget.uniform(eps_x, eps_w, len(W)),
    "relative": Budget.relative,
}


@dataclass(frozen=True)
class Contour:
    """Accuracy at every (grid_x[i], grid_w[j]) as it was measured: `accuracy[i][j]`, a share of all images."""

    grid_x: tuple[float, ...]
    grid_w: tuple[float, ...]
    accuracy: Rows
    geometry: str = "absolute"

    def __post_init__(self) -> None:
        _check_grids(self.grid_x, self.grid_w, self.geometry)
        shape = [len(row) for row in self.accuracy]
        if shape != [len(self.grid_w)] * len(self.grid_x):
            raise ValueError(f"accuracy must be {len(self.grid_x)} x {len(self.grid_w)}, one number a cell")

    @property
    def clean(self) -> float:
        """Accuracy without any perturbation."""
        return self.accuracy[0][0]

    @property
    def edge_x(self) -> tuple[float, ...]:
        """The singular curve of input perturbations, eps_w = 0."""
        return tuple(row[0] for row in self.accuracy)

    @property
    def edge_w(self) -> tuple[float, ...]:
        """The singular curve of weight perturbations, eps_x = 0."""
        return self.accuracy[0]

    @property
    def auc(self) -> float:
        """The volume under the accuracy by the trapezoid rule, divided by the area of the grid: in [0, 1]."""
        # PAPER: unstated how AUC is computed; we chose this.
        rows = [_mean(row, self.grid_w) for row in self.accuracy]
        return _mean(rows, self.grid_x)

    @property
    def envelope(self) -> Contour:
        """The lowest accuracy seen inside each budget: what breaks an input in a small ball lies in the larger too."""
        rows = [tuple(itertools.accumulate(row, min)) for row in self.accuracy]
        columns = [tuple(itertools.accumulate(column, min)) for column in zip(*rows, strict=True)]
        return replace(self, accuracy=tuple(zip(*columns, strict=True)))

    def within(self, eps_x: float, eps_w: float) -> Contour:
        """The part with radii up to (eps_x, eps_w), accuracy interpolated linearly where the grid is cut."""
        rows = [_cut(row, self.grid_w, eps_w) for row in self.accuracy]
        columns = [_cut(column, self.grid_x, eps_x) for column in zip(*rows, strict=True)]
        grid_x, grid_w = _cut(self.grid_x, self.grid_x, eps_x), _cut(self.grid_w, self.grid_w, eps_w)
        return Contour(grid_x, grid_w, tuple(zip(*columns, strict=True)), self.geometry)

    def disagreements(self, other: Contour, by: float = POINT) -> tuple[Cell, ...]:
        """The cells of one grid in which two contours differ by more than `by`."""
        if (self.grid_x, self.grid_w) != (other.grid_x, other.grid_w):
            raise ValueError("contours over different grids cannot be compared cell by cell")
        return tuple(c for c in _cells(self) if abs(_at(self, c) - _at(other, c)) > by)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @staticmethod
    def from_json(text: str) -> Contour:
        found = json.loads(text)
        rows = tuple(tuple(row) for row in found["accuracy"])
        return Contour(tuple(found["grid_x"]), tuple(found["grid_w"]), rows, found["geometry"])


@dataclass(frozen=True)
class Reliability:
    """Cells not to be trusted to a point: larger budget but higher accuracy, 2x the steps, other starting points."""

    not_monotone: tuple[Cell, ...]
    not_converged: tuple[Cell, ...]
    restart_spread: tuple[Cell, ...]


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
    _check_grids(grid_x, grid_w, geometry)
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


def _check_grids(grid_x: Sequence[float], grid_w: Sequence[float], geometry: str) -> None:
    if geometry not in GEOMETRIES:
        raise ValueError(f"unknown geometry {geometry!r}: choose one of {', '.join(GEOMETRIES)}")
    for name, grid in (("grid_x", grid_x), ("grid_w", grid_w)):
        rising = all(a < b for a, b in itertools.pairwise(grid))
        if len(grid) < 2 or grid[0] != 0 or not rising or not math.isfinite(grid[-1]):
            raise ValueError(f"{name} must start at 0 and rise, with at least two points; got {tuple(grid)}")


def _cells(contour: Contour) -> Iterator[Cell]:
    return itertools.product(range(len(contour.grid_x)), range(len(contour.grid_w)))


def _at(contour: Contour, cell: Cell) -> float:
    return contour.accuracy[cell[0]][cell[1]]


def _mean(values: Sequence[float], grid: Sequence[float]) -> float:
    """The trapezoid rule's integral divided by the length of the grid."""
    steps = zip(itertools.pairwise(grid), itertools.pairwise(values), strict=True)
    return math.fsum((b - a) * (u + v) / 2 for (a, b), (u, v) in steps) / (grid[-1] - grid[0])


def _cut(values: Sequence[float], grid: Sequence[float], end: float) -> tuple[float, ...]:
    """The values at the grid's points below `end`, and at `end` by interpolation."""
    if not 0 < end <= grid[-1]:
        raise ValueError(f"the range must end inside the grid, in (0, {grid[-1]}], got {end}")
    k = next(k for k, g in enumerate(grid) if g >= end)
    share = (end - grid[k - 1]) / (grid[k] - grid[k - 1])
    last = values[k] if share == 1 else values[k - 1] + share * (values[k] - values[k - 1])
    return (*values[:k], last)
