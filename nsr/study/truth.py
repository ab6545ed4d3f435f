"""What is certified, true and attacked of stored networks, on the same images: layers between which the truth lies."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from nsr import contour, data
from nsr.contour import Contour
from nsr.runs import MEASUREMENTS, Run
from nsr.study import select
from nsr.study.select import Runs

Layers = Mapping[str, Contour]  # lowest first


def decided(runs: Runs) -> dict[str, Run]:
    """Of each method the first run whose images have been decided, where there is one."""
    having = {name: select.having(group, "exact") for name, group in runs.items()}
    return {name: found[0] for name, found in having.items() if found}


def layers(run: Run, methods: Sequence[str] = ("repaired", "linear")) -> Layers:
    """The accuracies that bound each other, lowest first: certified by these methods (computed now), then what is
    stored of "tight", "exact", "possible" and "own" (left by an attack with weights of its own). "possible" is what is
    robust or open, and at most "own": the attack breaks some images that the search left open."""
    what, exact = MEASUREMENTS["exact"], run.contour("exact")
    few = getattr(data.load(run.spec.dataset), what.part).first(len(exact.verdicts))
    grids = {"grid_x": exact.grid_x, "grid_w": exact.grid_w, "geometry": exact.geometry}
    found = {m: contour.certified(run.network, few.x, few.y, **grids, method=m, workers=1) for m in methods}
    there = {name: run.contour(name) for name in ("tight", "exact", "own") if name in run.contours}
    there["possible"] = exact.possible.at_most(there["own"]) if "own" in there else exact.possible
    return found | {name: there[name] for name in ("tight", "exact", "possible", "own") if name in there}


def ordered(found: Layers) -> bool:
    """Whether each layer is at most the next, in every cell."""
    return all((a.array <= b.array + 1e-12).all() for a, b in itertools.pairwise(found.values()))


def undecided(low: Contour, high: Contour) -> float:
    """The mean share of images between two layers, over the cells of the grid."""
    return float((high.array - low.array).mean())


def moving_both(found: Contour) -> float:
    """The mean accuracy over the cells in which inputs and weights both move."""
    return float(found.array[1:, 1:].mean())
