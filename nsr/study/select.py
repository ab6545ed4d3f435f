"""Stored runs chosen and put together: by method, by seed, those that have a contour; AUCs and mean contours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

import numpy as np

import nsr.runs
from nsr import paths
from nsr.contour import Contour
from nsr.runs import Run
from nsr.training import METHODS

Runs = Mapping[str, tuple[Run, ...]]  # method -> its runs, by seed
Reading = Callable[[Contour], float]  # a number that is read off a contour
AUC = attrgetter("auc")


def by_method(runs: Iterable[Run] | None = None) -> Runs:
    """The runs of each row of the table as it stands, every row in the table's order; the shipped ones if not given.

    Runs with other numbers, data or widths are ablations and not among them.
    """
    found: dict[str, list[Run]] = {name: [] for name in METHODS}
    for run in sorted(nsr.runs.runs(paths.SHIPPED) if runs is None else runs, key=lambda run: run.spec.seed):
        if run.spec.name in METHODS and run.spec.key == nsr.runs.spec(run.spec.name, run.spec.seed).key:
            found[run.spec.name].append(run)
    return {name: tuple(group) for name, group in found.items()}


def stored(name: str, seeds: Sequence[int] = (0,), *stores: Path, **changes: object) -> tuple[Run, ...]:
    """The runs of one row with these numbers (or data, or widths) changed, of those seeds that a store has.

    The shipped store comes first, so that what the book shows does not hang on what its reader has run.
    """
    stores = stores or (paths.SHIPPED, paths.store())
    found = (nsr.runs.stored(nsr.runs.spec(name, seed, **changes), *stores) for seed in seeds)
    return tuple(run for run in found if run is not None)


def having(runs: Sequence[Run], contour: str) -> tuple[Run, ...]:
    """Those of the runs for which this contour has been measured."""
    return tuple(run for run in runs if contour in run.contours)


def aucs(runs: Sequence[Run], contour: str, read: Reading = AUC) -> dict[int, float]:
    """The AUC, or another number, of each run that has this contour, by seed."""
    return {run.spec.seed: read(run.contour(contour)) for run in having(runs, contour)}


def scores(runs: Runs, contour: str, read: Reading = AUC) -> dict[str, dict[int, float]]:
    """The same by method and seed; methods without this contour are left out."""
    found = {name: aucs(group, contour, read) for name, group in runs.items()}
    return {name: by_seed for name, by_seed in found.items() if by_seed}


def mean_contour(runs: Sequence[Run], contour: str) -> Contour:
    """The mean accuracy over the runs, cell by cell."""
    found = [run.contour(contour) for run in having(runs, contour)]
    if not found:
        raise ValueError(f"none of these runs has the contour {contour!r}")
    rows = np.mean([c.accuracy for c in found], axis=0).tolist()
    return replace(found[0], accuracy=tuple(map(tuple, rows)))
