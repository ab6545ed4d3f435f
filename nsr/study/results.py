"""What stored runs say together: runs by method, AUCs over seeds with their intervals, mean contours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.stats import bootstrap
from scipy.stats import t as student

import nsr.runs
from nsr import paths
from nsr.contour import Contour
from nsr.runs import Run
from nsr.training import METHODS

CONFIDENCE = 0.95

Runs = Mapping[str, tuple[Run, ...]]  # method -> its runs, by seed


@dataclass(frozen=True)
class Estimate:
    """The mean of a few values, one a seed, and the interval that holds the mean of all seeds with 95 % confidence."""

    values: tuple[float, ...]
    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        if len(self.values) == 1:
            return f"{self.mean:.3f} (one seed)"
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


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


def aucs(runs: Sequence[Run], contour: str) -> dict[int, float]:
    """The AUC of each run that has this contour, by seed."""
    return {run.spec.seed: run.shown[contour].auc for run in having(runs, contour)}


def mean_contour(runs: Sequence[Run], contour: str) -> Contour:
    """The mean accuracy over the runs, cell by cell."""
    found = [run.shown[contour] for run in having(runs, contour)]
    if not found:
        raise ValueError(f"none of these runs has the contour {contour!r}")
    rows = np.mean([c.accuracy for c in found], axis=0).tolist()
    return replace(found[0], accuracy=tuple(map(tuple, rows)))


def estimate(values: Iterable[float]) -> Estimate:
    """Mean and Student's t interval over seeds: with so few of them a bootstrap is too narrow."""
    values = tuple(map(float, values))
    if not values:
        raise ValueError("no values: there is nothing to estimate")
    mean = float(np.mean(values))
    half = 0.0
    if len(values) > 1:
        half = float(student.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)
    return Estimate(values, mean, mean - half, mean + half)


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> Estimate:
    """first - second, seed by seed, with the bootstrap's interval of the mean (all of it where one seed is left)."""
    both = sorted(first.keys() & second.keys())
    if not both:
        raise ValueError("the two have no seed in common")
    differences = tuple(first[seed] - second[seed] for seed in both)
    mean = float(np.mean(differences))
    if len(set(differences)) < 2:
        return Estimate(differences, mean, mean, mean)
    interval = bootstrap(
        (differences,), np.mean, confidence_level=CONFIDENCE, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return Estimate(differences, mean, float(interval.low), float(interval.high))
