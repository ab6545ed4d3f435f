"""Accuracy over a grid of budgets (eps_x, eps_w) as a value, its AUC, and the grids of this book."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from nsr.budget import Budget

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Cell = tuple[int, int]  # the indices of (eps_x, eps_w) in their grids
Rows = tuple[tuple[float, ...], ...]

POINT = 0.01  # one percentage point: what counts as a disagreement
ROUNDING = 1e-9  # of a difference of two accuracies: .86 - .85 is no more than a point


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

GEOMETRIES: dict[str, Callable[..., Budget]] = {  # (eps_x, radius, network, only) -> xi
    "absolute": Budget.uniform,
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
        check_grids(self.grid_x, self.grid_w, self.geometry)
        shape = [len(row) for row in self.accuracy]
        if shape != [len(self.grid_w)] * len(self.grid_x):
            raise ValueError(f"accuracy must be {len(self.grid_x)} x {len(self.grid_w)}, one number a cell")

    @property
    def array(self) -> np.ndarray:
        """The accuracies as an array [len(grid_x), len(grid_w)]."""
        return np.array(self.accuracy)

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
    def mean_x(self) -> float:
        """The mean accuracy along the edge eps_w = 0."""
        return _mean(self.edge_x, self.grid_x)

    @property
    def mean_w(self) -> float:
        """The mean accuracy along the edge eps_x = 0."""
        return _mean(self.edge_w, self.grid_w)

    @property
    def envelope(self) -> Contour:
        """The lowest accuracy seen inside each budget: what breaks an input in a small ball lies in the larger too."""
        rows = [tuple(itertools.accumulate(row, min)) for row in self.accuracy]
        columns = [tuple(itertools.accumulate(column, min)) for column in zip(*rows, strict=True)]
        return replace(self, accuracy=tuple(zip(*columns, strict=True)))

    @property
    def split(self) -> tuple[float, ...]:
        """One budget divided: from the largest eps_x alone to the largest eps_w alone, the antidiagonal of the grid."""
        if len(self.grid_x) != len(self.grid_w):
            raise ValueError(f"a grid of {len(self.grid_x)} x {len(self.grid_w)} radii has no antidiagonal")
        return tuple(row[k] for k, row in enumerate(reversed(self.accuracy)))

    @property
    def bend(self) -> tuple[float, ...]:
        """How far `split` lies above the straight line between its two ends, over radii in even steps."""
        return tuple(np.subtract(self.split, np.linspace(self.split[0], self.split[-1], len(self.split))).tolist())

    def plot(self, axes: Axes | None = None) -> Axes:
        """Lines of equal accuracy over the plane of both radii, for a quick look."""
        import matplotlib.pyplot as plt  # slow to import, and only this needs it

        axes = plt.subplots(layout="constrained")[1] if axes is None else axes
        axes.contourf(self.grid_w, self.grid_x, self.array, levels=np.linspace(0, 1, 11), cmap="viridis")
        lines = axes.contour(self.grid_w, self.grid_x, self.array, levels=np.linspace(0.1, 0.9, 9), colors="white")
        axes.clabel(lines, fmt="%.1f")
        words = {"absolute": "weight radius eps_w", "relative": "weight radius r, of mean |W^m|"}
        axes.set(xlabel=words[self.geometry], ylabel="input radius eps_x", title=f"accuracy, AUC {self.auc:.3f}")
        return axes

    def within(self, eps_x: float, eps_w: float) -> Contour:
        """The part with radii up to (eps_x, eps_w), accuracy interpolated linearly where the grid is cut."""
        rows = [_cut(row, self.grid_w, eps_w) for row in self.accuracy]
        columns = [_cut(column, self.grid_x, eps_x) for column in zip(*rows, strict=True)]
        grid_x, grid_w = _cut(self.grid_x, self.grid_x, eps_x), _cut(self.grid_w, self.grid_w, eps_w)
        return Contour(grid_x, grid_w, tuple(zip(*columns, strict=True)), self.geometry)

    def disagreements(self, other: Contour, by: float = POINT) -> tuple[Cell, ...]:
        """The cells of one grid in which two contours differ by more than `by`, rounding aside."""
        if (self.grid_x, self.grid_w) != (other.grid_x, other.grid_w):
            raise ValueError("contours over different grids cannot be compared cell by cell")
        return tuple(c for c in _cells(self) if abs(_at(self, c) - _at(other, c)) > by + ROUNDING)

    def at_most(self, other: Contour) -> Contour:
        """In each cell of one grid the lower of two accuracies."""
        if (self.grid_x, self.grid_w) != (other.grid_x, other.grid_w):
            raise ValueError("contours over different grids cannot be compared cell by cell")
        lower = np.minimum(self.array, other.array)
        return Contour(self.grid_x, self.grid_w, tuple(map(tuple, lower.tolist())), self.geometry)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)

    @staticmethod
    def from_json(text: str) -> Contour:
        found = json.loads(text)
        if "verdicts" in found:
            return Decided.of(found["grid_x"], found["grid_w"], found["verdicts"], found["geometry"])
        rows = tuple(tuple(row) for row in found["accuracy"])
        return Contour(tuple(found["grid_x"]), tuple(found["grid_w"]), rows, found["geometry"])


@dataclass(frozen=True)
class Decided(Contour):
    """A contour of the truth, weights being each image's own: `accuracy` is the share that is proved robust.

    `verdicts[k]` is the plane of image k, cell after cell of grid_x[0], then of grid_x[1]: r(obust), b(roken), o(pen).
    """

    verdicts: tuple[str, ...] = ()

    @staticmethod
    def of(
        grid_x: Sequence[float], grid_w: Sequence[float], verdicts: Sequence[str], geometry: str = "absolute"
    ) -> Decided:
        """The contour of these planes."""
        shape = len(grid_x), len(grid_w)
        rows = tuple(map(tuple, _share(verdicts, "r", shape).tolist()))
        return Decided(tuple(map(float, grid_x)), tuple(map(float, grid_w)), rows, geometry, tuple(verdicts))

    @property
    def possible(self) -> Contour:
        """The share that is robust or open: the truth lies between `accuracy` and this."""
        most = tuple(map(tuple, self.share("ro").tolist()))
        return Contour(self.grid_x, self.grid_w, most, self.geometry)

    @property
    def open(self) -> float:
        """The mean share of images left open, over the cells of the grid."""
        return float(self.share("o").mean())

    def share(self, any_of: str) -> np.ndarray:
        """The share of images with one of these verdicts, r, b or o, in each cell."""
        return _share(self.verdicts, any_of, (len(self.grid_x), len(self.grid_w)))


def _share(verdicts: Sequence[str], any_of: str, shape: tuple[int, int]) -> np.ndarray:
    if not verdicts or {len(plane) for plane in verdicts} != {shape[0] * shape[1]}:
        raise ValueError(f"verdicts must be one letter a cell for each image, {shape[0]} x {shape[1]} cells")
    letters = np.array([list(plane) for plane in verdicts])
    return np.isin(letters, list(any_of)).mean(0).reshape(shape)


def check_grids(grid_x: Sequence[float], grid_w: Sequence[float], geometry: str) -> None:
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


def reach(radii: Sequence[float], shares: Sequence[float], level: float = 0.5) -> float:
    """The radius up to which a falling share is at least `level`: linear in log radius between two measured ones.

    0 where the share is lower at the first radius already, the last radius where it is never lower.

    >>> round(reach((0.01, 0.1, 1.0), (0.9, 0.7, 0.3)), 3)
    0.316
    """
    if len(radii) != len(shares) or any(radius <= 0 for radius in radii):
        raise ValueError("reach takes radii above 0, and one share for each")
    at = next((k for k, share in enumerate(shares) if share < level), len(radii))
    if at in (0, len(radii)):
        return radii[-1] if at else 0.0
    passed = (shares[at - 1] - level) / (shares[at - 1] - shares[at])
    return radii[at - 1] * (radii[at] / radii[at - 1]) ** passed


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
