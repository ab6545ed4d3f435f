"""Who is ahead of whom under a contour, what the seeds leave open, and what another contour says of it.

A difference of two methods is taken seed by seed. It counts as decided if Student's interval of its mean leaves out 0:
with three seeds a percentile bootstrap is no wider than the range of the three values, too narrow for 45 pairs.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace

from scipy.stats import kendalltau

from nsr.contour import Contour
from nsr.study.select import Runs, having
from nsr.study.statistics import Estimate, estimate, paired

PARTS = {"joint": "auc", "x": "mean_x", "w": "mean_w"}
GEOMETRIES = {"paper": "paper's attack, absolute", "strong": "strong, absolute", "relative": "strong, relative"}
Scores = Mapping[str, Mapping[int, float]]  # method -> seed -> AUC, or the mean accuracy along one edge


@dataclass(frozen=True)
class Standing:
    """A method's place by its mean, and the places that the decided differences leave it."""

    place: int
    best: int
    worst: int


def score(contour: Contour, part: str = "joint") -> float:
    """The AUC, or the mean accuracy along one singular edge: inputs alone ("x") or weights alone ("w")."""
    if part not in PARTS:
        raise ValueError(f"unknown part {part!r}: choose one of {', '.join(PARTS)}")
    return float(getattr(contour, PARTS[part]))


def scores(runs: Runs, contour: str, part: str = "joint") -> dict[str, dict[int, float]]:
    """The score of every run that has this contour, by method and seed; methods without any are left out."""
    found = {
        name: {run.spec.seed: score(run.contour(contour), part) for run in having(group, contour)}
        for name, group in runs.items()
    }
    return {name: by_seed for name, by_seed in found.items() if by_seed}


def signs(scores: Scores) -> dict[tuple[str, str], int]:
    """For every two methods whether the first is surely ahead (1), surely behind (-1), or neither (0)."""
    return {(a, b): _sign(paired(scores[a], scores[b])) for a, b in itertools.permutations(scores, 2)}


def means(scores: Scores) -> dict[str, float]:
    return {name: sum(by_seed.values()) / len(by_seed) for name, by_seed in scores.items()}


def standings(scores: Scores) -> dict[str, Standing]:
    """Every method's place, the first one first; nobody is ranked above who is surely ahead, or below who is behind."""
    order, mean = signs(scores), means(scores)
    found = {}
    for place, a in enumerate(sorted(mean, key=mean.__getitem__, reverse=True), start=1):
        above, below = (sum(order[a, b] == s for b in scores if b != a) for s in (-1, 1))
        found[a] = Standing(place, 1 + above, len(scores) - below)
    return found


def survive(first: Scores, second: Scores) -> dict[tuple[str, str], str]:
    """What becomes of the order of two methods from one contour to another, each pair of methods once.

    "same" and "flipped" are decided in both; "lost" and "gained" in the first or the second alone; "open" in neither.
    """
    one, two = signs(first), signs(second)
    names = [name for name in first if name in second]
    return {pair: _fate(one[pair], two[pair]) for pair in itertools.combinations(names, 2)}


def _fate(one: int, two: int) -> str:
    if one and two:
        return "same" if one == two else "flipped"
    return "lost" if one else "gained" if two else "open"


def tau(first: Scores, second: Scores) -> Estimate | None:
    """Kendall's tau between the orders of the methods under two contours, seed by seed; 1 is the same order."""
    names = [name for name in first if name in second]
    seeds = {seed for name in names for seed in first[name].keys() & second[name].keys()}
    found = []
    for seed in sorted(seeds):
        here = [name for name in names if seed in first[name] and seed in second[name]]
        if len(here) > 2:
            statistic = kendalltau([first[n][seed] for n in here], [second[n][seed] for n in here]).statistic
            found.append(float(statistic))
    if not found:
        return None
    mean = estimate(found)
    return replace(mean, low=max(-1.0, mean.low), high=min(1.0, mean.high))


def _sign(difference: Estimate | None) -> int:
    return 0 if difference is None else difference.sign
