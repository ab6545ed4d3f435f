"""Who is ahead of whom under a contour, what the seeds leave open, and what another contour says of it.

A difference of two methods is taken seed by seed. It counts as decided if Student's interval of its mean leaves out 0:
with three seeds a percentile bootstrap is no wider than the range of the three values, too narrow for 45 pairs.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from scipy.integrate import trapezoid
from scipy.stats import kendalltau

from nsr.contour import Contour
from nsr.study.results import Estimate, Runs, estimate, having

PARTS = ("joint", "x", "w")
GEOMETRIES = {"paper": "paper's attack, absolute", "strong": "strong, absolute", "relative": "strong, relative"}
Scores = Mapping[str, Mapping[int, float]]  # method -> seed -> AUC, or the mean accuracy along one edge


@dataclass(frozen=True)
class Standing:
    """A method's place by its mean, and the places that the decided differences leave it."""

    place: int
    best: int
    worst: int


@dataclass(frozen=True)
class Conclusion:
    """What the paper concludes, as orderings: in each pair the first method is said to be ahead in this part."""

    name: str
    words: str
    part: str
    pairs: tuple[tuple[str, str], ...]


# Chapter 8 has the sentences. AT+beta stands for the better of the two betas under the contour at hand.
CONCLUSIONS = (
    Conclusion("C1", "AT is less robust to weights than Standard", "w", (("standard", "at"),)),
    Conclusion("C2", "Weight Perturb beats Standard on inputs", "x", (("weight_perturb", "standard"),)),
    Conclusion(
        "C4",
        "the three models with the proposed loss beat the three without",
        "joint",
        tuple(itertools.product(("at_beta_low", "at_beta_high", "jiwp"), ("standard", "weight_perturb", "at"))),
    ),
    Conclusion("C5", "the best AT+beta beats AT", "joint", (("at_beta", "at"),)),
    Conclusion("C6", "the best AT+beta beats JIWP", "joint", (("at_beta", "jiwp"),)),
)


def score(contour: Contour, part: str = "joint") -> float:
    """The AUC, or the mean accuracy along one singular edge: inputs alone ("x") or weights alone ("w")."""
    if part == "joint":
        return contour.auc
    if part not in PARTS:
        raise ValueError(f"unknown part {part!r}: choose one of {', '.join(PARTS)}")
    edge, grid = (contour.edge_x, contour.grid_x) if part == "x" else (contour.edge_w, contour.grid_w)
    return float(trapezoid(edge, grid)) / grid[-1]


def scores(runs: Runs, contour: str, part: str = "joint") -> dict[str, dict[int, float]]:
    """The score of every run that has this contour, by method and seed; methods without any are left out."""
    found = {
        name: {run.spec.seed: score(run.shown[contour], part) for run in having(group, contour)}
        for name, group in runs.items()
    }
    return {name: by_seed for name, by_seed in found.items() if by_seed}


def ahead(first: Mapping[int, float], second: Mapping[int, float]) -> Estimate | None:
    """first - second over the seeds that both have, None where there are none."""
    both = sorted(first.keys() & second.keys())
    return estimate(first[seed] - second[seed] for seed in both) if both else None


def sign(difference: Estimate | None) -> int:
    """1 or -1 where the interval lies on one side of 0; 0 where it does not, or where one seed cannot tell."""
    if difference is None or len(difference.values) < 2:
        return 0
    return (difference.low > 0) - (difference.high < 0)


def signs(scores: Scores) -> dict[tuple[str, str], int]:
    """For every two methods whether the first is surely ahead (1), surely behind (-1), or neither (0)."""
    return {(a, b): sign(ahead(scores[a], scores[b])) for a, b in itertools.permutations(scores, 2)}


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


def holds(scores: Scores, conclusion: Conclusion) -> int:
    """1 if every ordering of the conclusion is decided as it says, -1 if one is decided against it, else 0."""
    mean = means(scores)
    betas = [name for name in ("at_beta_low", "at_beta_high") if name in mean]
    best = max(betas, key=mean.__getitem__) if betas else ""
    pairs = [tuple(best if name == "at_beta" else name for name in pair) for pair in conclusion.pairs]
    found = [sign(ahead(scores.get(a, {}), scores.get(b, {}))) for a, b in pairs]
    return min(found)


def reading(found: Sequence[int]) -> str:
    """What a conclusion is about, from whether it holds for the paper's attack, `strong` and relative radii."""
    paper, strong, relative = found
    if paper < 1:
        return "contradicted already in the paper's metric" if paper else "undecided in the paper's metric"
    if strong < 1:
        return "about the attack: a stronger one takes it back" if strong else "not shown beyond the paper's attack"
    if relative < 1:
        return "about the size of the weights: reversed" if relative else "not shown beyond the size of the weights"
    return "about robustness: it holds in both geometries"
