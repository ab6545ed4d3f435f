"""Two methods side by side under one kind of contour, and their difference, over the seeds that both have."""

from __future__ import annotations

from matplotlib.figure import Figure

from nsr.figures import figure_1
from nsr.figures.interactive import Measured, pairs
from nsr.figures.provenance import stamp
from nsr.runs import MEASUREMENTS
from nsr.study import select
from nsr.study.select import Runs
from nsr.training import METHODS


def shared(runs: Runs, kind: str, left: str, right: str) -> Runs:
    """The runs of both methods whose seeds have this kind of contour in both."""
    groups = {name: select.having(runs.get(name, ()), kind) for name in (left, right)}
    seeds = set.intersection(*({run.spec.seed for run in group} for group in groups.values()))
    return {name: tuple(run for run in group if run.spec.seed in seeds) for name, group in groups.items()}


def figure(runs: Runs, left: str, right: str, kind: str = "paper") -> Figure:
    """Both planes, each the mean over the shared seeds, and the second minus the first."""
    found = shared(runs, kind, left, right)
    panels = []
    for name in (left, right):
        mean = select.mean_contour(found[name], kind) if found[name] else None
        told = f"{METHODS[name].title}, n = {len(found[name])}"
        panels.append(figure_1.Panel(told, f"AUC {mean.auc:.3f}" if mean else "", mean))
    return stamp(figure_1.pair(*panels), [run for group in found.values() for run in group])


def interactive(runs: Runs, left: str, right: str) -> str:
    """The same as HTML with a choice of the methods and of the kind of contour, among all that was measured."""
    kinds, used = [], {}
    for kind in MEASUREMENTS:
        groups = {name: group for name in runs if (group := select.having(runs[name], kind))}
        if len(groups) > 1:
            titled = {METHODS[name].title: group for name, group in groups.items()}
            found = {title: {run.spec.seed: run.contour(kind) for run in group} for title, group in titled.items()}
            kinds.append(Measured(words(kind), found))
            used |= {run.spec.folder: run for group in groups.values() for run in group}
    start = METHODS[left].title, METHODS[right].title
    return pairs("Two methods and their difference", kinds, start, [*used.values()])


def words(kind: str) -> str:
    """A kind of contour in words that no other has."""
    what = MEASUREMENTS[kind]
    x, w = what.protocol.grid_x, what.grid_w
    grid = f"{len(x)} x {len(w)} radii, ε_x up to {x[-1]:g}"
    return f"{what.label}: {grid}, {what.protocol.images:,} {what.part} images"
