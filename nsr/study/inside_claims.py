"""The five claims of Wen, Li and Jia (ICML 2020), tested on a ladder of training radii.

Each test takes differences on the test samples, seed by seed, that the claim puts above zero, with Student's intervals.
Verdicts are computed as those of the ledger are; what only stands beside a test decides nothing. The claims compare the
ends of a ladder; `along`, `near`, `shares` and `ratios` say what every rung has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import median_low
from typing import NamedTuple

import numpy as np

from nsr.inside import LEVELS, Changes, Inside, Outputs
from nsr.study.claims.verdict import HOLDS, UNKNOWN, Case, Claim, Part, Row, Rules, Setting
from nsr.study.statistics import Estimate, estimate, paired

Rung = Mapping[int, Inside]  # by seed
Ladder = Mapping[float, Rung]  # by training radius
Read = Callable[[Inside], float]

RULES, LAYERS = Rules(interval="student"), "layer by layer"
TEST, BESIDE = Setting("", "", question="test samples"), Setting("", "", question="training samples")
SPLITS: dict[Setting, Callable[[Inside], Outputs]] = {TEST: lambda rung: rung.test, BESIDE: lambda rung: rung.train}
DIRECTIONS: dict[str, Callable[[Inside], Changes]] = {
    "random": lambda rung: rung.random,
    "attacked": lambda rung: rung.attacked,
}


class Ends(NamedTuple):
    """The rungs that are compared: radius 0, the smallest radius above it, the largest."""

    none: Rung
    gentle: Rung
    most: Rung


def ends(ladder: Ladder) -> Ends:
    """The three rungs, the gentle one empty where a ladder has only two; what cannot be compared is refused."""
    radii = sorted(ladder)
    if len(radii) < 2 or radii[0] != 0:
        raise ValueError(f"a ladder starts at radius 0 and has at least one above it, got {radii}")
    for seed in {seed for rung in ladder.values() for seed in rung}:
        sizes = {rung[seed].eps for rung in ladder.values() if seed in rung}
        if len(sizes) > 1:
            raise ValueError(f"seed {seed} was moved by directions of several sizes: {sorted(sizes)}")
    return Ends(ladder[0], ladder[radii[1]] if len(radii) > 2 else {}, ladder[radii[-1]])


def part(what: str, first: Rung, second: Rung, read: Read, rules: Rules) -> Part:
    """read(first) - read(second), seed by seed."""
    sides = ({seed: read(found) for seed, found in rung.items()} for rung in (first, second))
    return Part(what, rules.paired(*sides))


def less_confident(ladder: Ladder, rules: Rules) -> Iterator[Case]:
    """B1: mean confidence and mean normalised margin at radius 0, less those at the largest."""
    rungs = ends(ladder)
    for setting, of in SPLITS.items():
        confidence = part("confidence lost", rungs.none, rungs.most, lambda r, of=of: of(r).confidence, rules)
        margin = part("normalised margin lost", rungs.none, rungs.most, lambda r, of=of: of(r).normalised.mean, rules)
        yield Case(setting, (confidence, margin), decides=setting is TEST)


def smoother(ladder: Ladder, rules: Rules) -> Iterator[Case]:
    """B2: -log(change at the largest radius / change at 0); its low median is above zero if most layers have it so."""
    rungs = ends(ladder)
    found = {name: {seed: _gains(rungs, seed, of) for seed in _seeds(rungs)} for name, of in DIRECTIONS.items()}
    most = [
        Part(f"most layers smoother, {name}", _estimate({seed: median_low(g) for seed, g in gains.items()}, rules))
        for name, gains in found.items()
    ]
    layers = [
        Part(f"layer {k + 1} smoother, {name}", _estimate({seed: g[k] for seed, g in gains.items()}, rules))
        for name, gains in found.items()
        for k in range(min(map(len, gains.values()), default=0))
    ]
    yield Case(TEST, tuple(most))
    if layers:
        yield Case(Setting("", "", question=LAYERS), tuple(layers), decides=False)


def nearer(ladder: Ladder, rules: Rules) -> Iterator[Case]:
    """B3: the share of samples near the boundary at the largest radius, less that at 0.

    Near is what half of the training samples are at radius 0, seed by seed.
    """
    rungs = ends(ladder)
    near = {seed: rungs.none[seed].train.median_size for seed in _seeds(rungs)}
    for setting, of in SPLITS.items():
        most, none = ({seed: of(rung[seed]).near(t) for seed, t in near.items()} for rung in (rungs.most, rungs.none))
        yield Case(
            setting, (Part("share near the boundary gained", rules.paired(most, none)),), decides=setting is TEST
        )


def less_accurate(ladder: Ladder, rules: Rules) -> Iterator[Case]:
    """B4: clean accuracy at radius 0, less that at the largest."""
    rungs = ends(ladder)
    yield Case(TEST, (part("accuracy lost", rungs.none, rungs.most, _accuracy, rules),))


def gentler(ladder: Ladder, rules: Rules) -> Iterator[Case]:
    """B5: what the largest radius loses of clean accuracy, less what the smallest one above 0 loses."""
    rungs = ends(ladder)
    yield Case(TEST, (part("accuracy spared by the gentlest radius", rungs.gentle, rungs.most, _accuracy, rules),))
    lost = part("accuracy lost at the gentlest radius", rungs.none, rungs.gentle, _accuracy, rules)
    yield Case(Setting("", "", question="whether gentle is enough"), (lost,), decides=False)


def _accuracy(found: Inside) -> float:
    return found.test.accuracy


def _seeds(rungs: Ends) -> list[int]:
    return sorted(rungs.none.keys() & rungs.most.keys())


def _gains(rungs: Ends, seed: int, of: Callable[[Inside], Changes]) -> list[float]:
    """-log(mean change at the largest radius / mean change at 0) of every layer."""
    pairs = list(zip(of(rungs.most[seed]), of(rungs.none[seed]), strict=True))
    if not all(most.mean > 0 and none.mean > 0 for most, none in pairs):
        raise ValueError(f"a layer of seed {seed} does not change at all: its ratio has no logarithm")
    return [-math.log(most.mean / none.mean) for most, none in pairs]


def _estimate(values: Mapping[int, float], rules: Rules) -> Estimate | None:
    return rules.paired(values, dict.fromkeys(values, 0.0))


CLAIMS = (
    Claim(
        "B1",
        "robust training biases nets towards less confident solutions",
        "AR is achieved by regularizing/biasing NNs towards less confident solutions",
        "abstract",
        "From radius 0 to the largest, the mean softmax probability of the prediction falls, and so does the mean "
        "margin divided by the product of the spectral norms.",
        less_confident,
    ),
    Claim(
        "B2",
        "the changes of most layers become smoother, in all directions",
        "by making the changes in the feature space (induced by changes in the instance space) of most layers smoother "
        "uniformly in all directions",
        "abstract",
        "From radius 0 to the largest, ||z^k(x + d) - z^k(x)|| / ||d|| falls in more than half of the layers, for "
        "random d and for attacked d: the low median over layers of the negative log ratio is above zero.",
        smoother,
    ),
    Claim(
        "B3",
        "samples concentrate around decision boundaries",
        "the end result of such smoothing concentrates samples around decision boundaries",
        "abstract",
        "From radius 0 to the largest, the share of samples whose absolute normalised margin is within a threshold "
        "rises; the threshold is one for all radii of a seed.",
        nearer,
    ),
    Claim(
        "B4",
        "robust training costs clean accuracy",
        "and leads to worse standard performance",
        "abstract",
        "Clean test accuracy at radius 0 is above that at the largest.",
        less_accurate,
    ),
    Claim(
        "B5",
        "gentler robust training costs less",
        "one might consider ways that build AR into NNs in a gentler way to avoid the problematic regularization",
        "abstract",
        "Gentler is read as a smaller radius: the smallest above 0 loses less clean test accuracy than the largest. "
        "Whether it loses any stands beside, and so decides nothing.",
        gentler,
    ),
)


def ledger(ladder: Ladder, rules: Rules = RULES) -> dict[str, Row]:
    """Every claim decided by this ladder, {training radius: {seed: Inside}}.

    >>> from nsr.inside import LEVELS, Moments
    >>> def rung(c):
    ...     out, changes = Outputs(Moments(c, 0.0), Moments(c, 0.0), c, c, c, tuple(c * LEVELS)), (Moments(c, 0.0),)
    ...     return {seed: Inside(out, out, (), (), (), changes, changes, 0.1) for seed in range(3)}
    >>> {name: row.verdict for name, row in ledger({0: rung(0.9), 0.1: rung(0.8)}).items()}
    {'B1': 'reproduced', 'B2': 'reproduced', 'B3': 'reproduced', 'B4': 'reproduced', 'B5': 'open'}
    """
    return {claim.name: Row(claim, rules, tuple(claim.cases(ladder, rules))) for claim in CLAIMS}


def over(ladders: Mapping[str, Ladder], rules: Rules = RULES) -> dict[str, Row]:
    """Every claim decided by the first of these ladders, by what the training attacks; the others stand beside it."""
    first = next(iter(ladders))
    return {
        claim.name: Row(
            claim,
            rules,
            tuple(
                replace(
                    case,
                    setting=replace(case.setting, training=f"attacked {name}"),
                    decides=case.decides and name == first,
                )
                for name, ladder in ladders.items()
                for case in claim.cases(ladder, rules)
            ),
        )
        for claim in CLAIMS
    }


def by_ladder(rows: Mapping[str, Row]) -> dict[str, dict[str, tuple[str, str]]]:
    """Claim -> what the training attacks -> how its test comes out there, and the difference that tells, in figures.

    Where a claim does not hold, its outcome is the side of that difference.
    """
    return {
        f"{name}: {row.claim.title}": {
            case.setting.training: (_outcome(case, row.rules), _figures(case.telling))
            for case in row.cases
            if case.setting.question == TEST.question
        }
        for name, row in rows.items()
    }


def _outcome(case: Case, rules: Rules) -> str:
    outcome = case.outcome(rules)
    return outcome if outcome in (HOLDS, *UNKNOWN) else case.telling.side


def _figures(part: Part) -> str:
    if part.found is None:
        return ""
    interval = f" [{part.found.low:+.3f}, {part.found.high:+.3f}]" if len(part.found.values) > 1 else ", one seed"
    return f"{part.found.mean:+.3f}{interval}"


def sides(row: Row) -> dict[str, list[str]]:
    """Of B2: direction -> on whose side every layer is, under the first ladder; empty where no layer was measured."""
    case = next((case for case in row.cases if case.setting.question == LAYERS), None)
    parts = case.parts if case else ()
    return {name: [part.side for part in parts if part.what.endswith(name)] for name in DIRECTIONS}


# every rung of a ladder ---------------------------------------------------------------------------------------------


def along(ladder: Ladder, read: Read) -> dict[float, Estimate]:
    """A number at every radius, over the seeds that are there."""
    return {radius: estimate(map(read, rung.values())) for radius, rung in ladder.items() if rung}


def near(ladder: Ladder, of: Callable[[Inside], Outputs]) -> dict[float, Estimate]:
    """The share of samples near the boundary at every radius, as B3 has it."""
    near = {seed: found.train.median_size for seed, found in ladder[0].items()}
    shares = {r: [of(rung[seed]).near(near[seed]) for seed in rung.keys() & near.keys()] for r, rung in ladder.items()}
    return {radius: estimate(found) for radius, found in shares.items() if found}


def shares(ladder: Ladder, of: Callable[[Inside], Outputs], edges: Sequence[float]) -> dict[float, list[float]]:
    """The share of samples whose normalised margin lies between these edges, at every radius, a mean over seeds."""
    return {
        radius: np.mean([np.diff(np.interp(edges, of(f).quantiles, LEVELS)) for f in rung.values()], axis=0).tolist()
        for radius, rung in ladder.items()
        if rung
    }


def ratios(ladder: Ladder, of: str, value: str) -> dict[float, list[Estimate]]:
    """A positive number of every layer as a multiple of that at radius 0: the geometric mean over seeds.

    `of` names a field of `Inside`, `value` what is taken of each of its layers.
    """
    logs = {
        radius: {seed: [math.log(getattr(layer, value)) for layer in getattr(f, of)] for seed, f in rung.items()}
        for radius, rung in ladder.items()
    }
    found = {}
    for radius, rung in logs.items():
        pairs = [np.subtract(rung[seed], logs[0][seed]) for seed in sorted(rung.keys() & logs[0].keys())]
        if pairs:
            found[radius] = [_exp(estimate(layer)) for layer in np.transpose(pairs)]
    return found


def _exp(found: Estimate) -> Estimate:
    return Estimate(tuple(map(math.exp, found.values)), *(math.exp(v) for v in (found.mean, found.low, found.high)))


def by_layer(rung: Rung, of: str, value: str) -> list[float]:
    """A number of every layer, named as in `ratios`, a mean over the seeds of one radius."""
    return np.mean([[getattr(layer, value) for layer in getattr(f, of)] for f in rung.values()], axis=0).tolist()


def reach(found: Inside) -> float:
    """How far in l_2 a test sample has to move before its prediction can flip, if its logits change as under attack.

    The mean margin over sqrt(2) times the mean change of the logits per change of the input: a margin changes by at
    most sqrt(2) ||f(x + d) - f(x)||. A ratio of means, and no bound for any one sample.
    """
    return found.test.margin.mean / (math.sqrt(2) * found.attacked[-1].mean)


def rise(ladder: Ladder, read: Read, rules: Rules = RULES) -> Estimate | None:
    """A number at the largest radius, less that at 0, seed by seed."""
    rungs = ends(ladder)
    return part("", rungs.most, rungs.none, read, rules).found


def apart(first: Ladder, second: Ladder, read: Read) -> dict[float, Estimate]:
    """read(first) - read(second), seed by seed, at every radius above 0 that both ladders have."""
    radii = sorted(radius for radius in first.keys() & second.keys() if radius > 0)
    sides = {r: [{seed: read(f) for seed, f in ladder[r].items()} for ladder in (first, second)] for r in radii}
    found = {radius: paired(*both) for radius, both in sides.items()}
    return {radius: difference for radius, difference in found.items() if difference}


def course(found: Estimate | None, rules: Rules = RULES) -> str:
    """In words what a difference says: that something rises, falls, or that nobody knows."""
    if found is None:
        return "is not measured"
    word = "rises" if found.mean > 0 else "falls"
    if len(found.values) < rules.seeds:
        return f"{word} (too few seeds: {len(found.values)})"
    return word if found.sign else "neither clearly rises nor clearly falls"
