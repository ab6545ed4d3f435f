"""Who is ahead of whom under a contour, what the seeds leave open, and what another contour says of it.

A difference of two methods is taken seed by seed. It counts as decided if Student's interval of its mean leaves out 0:
with three seeds a percentile bootstrap is no wider than the range of the three values, too narrow for 45 pairs.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace

from scipy.stats import kendalltau

from nsr.study.statistics import Estimate, estimate, paired

Scores = Mapping[str, Mapping[int, float]]  # method -> seed -> AUC, as `select.scores` has it


@dataclass(frozen=True)
class Standing:
    """A method's place by its mean, and the places that the decided differences leave it."""

    place: int
    best: int
    worst: int


def signs(scores: Scores) -> dict[tuple[str, str], int]:
    """For every two methods whether the first is surely ahead (1), surely behind (-1), or neither (0)."""
    found = {(a, b): paired(scores[a], scores[b]) for a, b in itertools.permutations(scores, 2)}
    return {pair: difference.sign if difference else 0 for pair, difference in found.items()}


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
