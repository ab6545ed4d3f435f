"""The numbers that the claims are decided by: what is read off the contours of stored runs, setting by setting."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from operator import attrgetter
from pathlib import Path

import numpy as np

import nsr.runs
from nsr import paths
from nsr.contour import Contour
from nsr.runs import MEASUREMENTS, Run, reproduce
from nsr.study import select, statistics
from nsr.study.claims.verdict import Case, Part, Rules, Setting
from nsr.study.select import AUC, Reading, Runs
from nsr.study.statistics import Estimate
from nsr.theory import counterexamples
from nsr.theory.counterexamples import Instance
from nsr.training import METHODS, PANELS

CONTOURS = {kind: Setting(*MEASUREMENTS[kind].words) for kind in ("paper", "strong", "relative", "per_sample")}
TOP, BOTTOM, BETAS = PANELS[:3], PANELS[3:], PANELS[3:5]  # rows of Figure 1; both AT+beta
SHOWN = (*PANELS, "joint_at")
GAIN = 0.24  # of the best AT+beta over AT, as the paper reports it

# Runs of a row with other numbers than the table of methods has: name -> row, numbers.
_ADAM, _SGD = {"optimiser": "adam", "lr": 0.001}, {"optimiser": "sgd", "lr": 0.2}
VARIANTS: dict[str, tuple[str, dict[str, float | str]]] = {
    "standard_adam": ("standard", _ADAM),
    "weight_perturb_adam": ("weight_perturb", _ADAM),
    "at_adam": ("at", _ADAM),
    "standard_sgd": ("standard", _SGD),
    "at_sgd": ("at", _SGD),
    "at_wide": ("at", {"attack_x": 0.2}),
    "joint_at_weights": ("joint_at", {"attack_x": 0.0}),
}


def shelf(*stores: Path) -> Runs:
    """The runs that the claims are decided by, by default the shipped ones: every row of the table, every variant."""
    stores = stores or (paths.SHIPPED,)
    variants = {name: select.stored(row, range(5), *stores, **numbers) for name, (row, numbers) in VARIANTS.items()}
    return {**select.by_method(nsr.runs.runs(*stores)), **variants}


def missing(*stores: Path) -> list[str]:
    """The runs of the book, and contours of them, that these stores lack: without them a verdict may be another one."""
    known = {folder.name: folder / "contours" for folder in nsr.runs.folders(*(stores or (paths.SHIPPED,)))}
    lacking = set()
    for order in reproduce.orders("paper"):
        name, kinds = order.spec.folder, [kind for kind in order.measurements if kind in CONTOURS]
        if name not in known:
            lacking.add(name)
        else:
            lacking |= {f"{name} {kind}" for kind in kinds if not (known[name] / f"{kind}.json").exists()}
    return sorted(lacking)


def used(runs: Runs) -> tuple[Run, ...]:
    """All runs of a shelf, each once."""
    return tuple({run.folder: run for group in runs.values() for run in group}.values())


# what is read off a contour -----------------------------------------------------------------------------------------

CLEAN, INPUTS, WEIGHTS = map(attrgetter, ("clean", "mean_x", "mean_w"))
WORDS = {INPUTS: "inputs alone", WEIGHTS: "weights alone", AUC: "joint AUC"}


def lost_to_inputs(c: Contour, kept: float = Rules.kept) -> float:
    """By how much accuracy in the middle of the edge eps_w = 0 lies below this share of the clean accuracy."""
    return kept * c.clean - c.within(c.grid_x[-1] / 2, c.grid_w[-1]).edge_x[-1]


def lost_to_weights(c: Contour, kept: float = Rules.kept) -> float:
    """By how much accuracy in the middle of the edge eps_x = 0 lies below this share of the clean accuracy."""
    return kept * c.clean - c.within(c.grid_x[-1], c.grid_w[-1] / 2).edge_w[-1]


def promise(c: Contour) -> float:
    """How far the two edges promise more than the inside keeps: a mean over the cells where both radii are positive.

    If inputs and weights broke samples independently of each other, accuracy as a share of the clean one would be the
    product of the two edges.
    """
    promised = np.outer(c.edge_x, c.edge_w) / c.clean
    return float((promised - np.array(c.accuracy))[1:, 1:].mean())


def ranking(runs: Runs, contour: str, read: Reading = AUC) -> list[tuple[str, Estimate]]:
    """Figure 1's models from best to worst by the mean of what is read off their contours."""
    found = [(_title(name), values) for name in PANELS if (values := _values(runs, name, contour, read))]
    return sorted(((title, statistics.estimate(v.values())) for title, v in found), key=lambda pair: -pair[1].mean)


def mean_contours(runs: Runs, contour: str, names: Sequence[str] = SHOWN) -> dict[str, Contour]:
    """The mean contour of each of these rows that has one, by the row's title."""
    having = {name: select.having(runs.get(name, ()), contour) for name in names}
    return {_title(name): select.mean_contour(group, contour) for name, group in having.items() if group}


def _values(runs: Runs, name: str, contour: str, read: Reading) -> dict[int, float]:
    return select.aucs(runs.get(name, ()), contour, read)


def _title(name: str) -> str:
    row, numbers = VARIANTS.get(name, (name, {}))
    words = ", ".join(str(value) if key == "optimiser" else f"{key} {value:g}" for key, value in numbers.items())
    return METHODS[row].title + (f" ({words})" if words else "")


def _over(runs: Runs, rules: Rules, first: str, second: str, contour: str, read: Reading = AUC) -> Part:
    """first - second."""
    found = rules.paired(_values(runs, first, contour, read), _values(runs, second, contour, read))
    return Part(f"{_title(first)} - {_title(second)}, {WORDS[read]}", found)


def _alone(runs: Runs, rules: Rules, name: str, contour: str, read: Reading, what: str) -> Part:
    values = _values(runs, name, contour, read)
    return Part(f"{_title(name)}: {what}", rules.paired(values, dict.fromkeys(values, 0.0)))


def _best_beta(runs: Runs, contour: str) -> str:
    """The better of the two AT+beta rows by mean AUC, chosen on what is compared, as the paper does: in its favour."""
    means = {name: np.mean([*_values(runs, name, contour, AUC).values()] or [0.0]) for name in BETAS}
    return max(means, key=means.__getitem__)


# the tests, in the order of the claims ------------------------------------------------------------------------------


def weaker_against_weights(runs: Runs, rules: Rules) -> Iterator[Case]:
    """C1; all nets by one optimiser too, and beside them AT with another radius."""
    for contour, setting in CONTOURS.items():
        yield Case(setting, (_over(runs, rules, "standard", "at", contour, WEIGHTS),))
    for name, optimiser in (("adam", "Adam"), ("sgd", "SGD")):
        alike = _over(runs, rules, f"standard_{name}", f"at_{name}", "paper", WEIGHTS)
        yield Case(replace(CONTOURS["paper"], training=f"all nets by {optimiser}"), (alike,))
    beside = _over(runs, rules, "standard", "at_wide", "paper", WEIGHTS)
    yield Case(replace(CONTOURS["paper"], training="AT with a larger radius"), (beside,), decides=False)


def slightly_better(runs: Runs, rules: Rules) -> Iterator[Case]:
    """C2; with the weights at rest their radii play no part."""
    for contour in ("paper", "strong"):
        rows = ("standard", "weight_perturb", "at")
        standard, ours, at = (_values(runs, name, contour, INPUTS) for name in rows)
        both = standard.keys() & at.keys()
        limit = {seed: standard[seed] + rules.slight * (at[seed] - standard[seed]) for seed in both}
        better = _over(runs, rules, "weight_perturb", "standard", contour, INPUTS)
        words = f"{rules.slight:.0%} of AT's gain over Standard - Weight Perturb's gain, inputs alone"
        yield Case(replace(CONTOURS[contour], radii=""), (better, Part(words, rules.paired(limit, ours))))


def vulnerable_to_both(runs: Runs, rules: Rules) -> Iterator[Case]:
    """C3; all three nets by Adam too."""
    for contour, setting in CONTOURS.items():
        yield Case(setting, _vulnerable(runs, rules, contour))
    yield Case(replace(CONTOURS["paper"], training="all nets by Adam"), _vulnerable(runs, rules, "paper", "_adam"))


def _vulnerable(runs: Runs, rules: Rules, contour: str, by: str = "") -> tuple[Part, ...]:
    name, at, ours = (row + by for row in ("standard", "at", "weight_perturb"))
    words = f"{rules.kept:.0%} of clean - middle of the edge, "
    inputs, weights = (partial(read, kept=rules.kept) for read in (lost_to_inputs, lost_to_weights))
    by_inputs = _alone(runs, rules, name, contour, inputs, words + "inputs alone")
    by_weights = _alone(runs, rules, name, contour, weights, words + "weights alone")
    rivals = _over(runs, rules, at, name, contour, INPUTS), _over(runs, rules, ours, name, contour, WEIGHTS)
    return by_inputs, by_weights, *rivals


def bottom_row_better(runs: Runs, rules: Rules) -> Iterator[Case]:
    """C4."""
    pairs = [*itertools.product(BOTTOM, TOP)]
    for contour, setting in CONTOURS.items():
        yield Case(setting, tuple(_over(runs, rules, below, above, contour) for below, above in pairs))


def better_than_at(runs: Runs, rules: Rules) -> Iterator[Case]:
    """C5a; beside it AT with another radius."""
    return _gains(runs, rules)


def quarter_better(runs: Runs, rules: Rules) -> Iterator[Case]:
    """C5b, two one-sided tests; beside it AT with another radius."""
    return _gains(runs, rules, (GAIN - rules.near, GAIN + rules.near))


def _gains(runs: Runs, rules: Rules, inside: tuple[float, float] | None = None) -> Iterator[Case]:
    for contour, setting in CONTOURS.items():
        yield Case(setting, (_gain(runs, rules, "at", contour, inside),))
    beside = _gain(runs, rules, "at_wide", "paper", inside)
    yield Case(replace(CONTOURS["paper"], training="AT with a larger radius"), (beside,), decides=False)


def _gain(runs: Runs, rules: Rules, at: str, contour: str, inside: tuple[float, float] | None) -> Part:
    best, level = _best_beta(runs, contour), statistics.EQUIVALENCE if inside else statistics.CONFIDENCE
    first, second = _values(runs, best, contour, AUC), _values(runs, at, contour, AUC)
    ratio = {seed: first[seed] / second[seed] for seed in first.keys() & second.keys()}
    found = rules.paired(ratio, dict.fromkeys(ratio, 1.0), level)
    return Part(f"{_title(best)} / {_title(at)} - 1, joint AUC", found, inside)


def better_than_jiwp(runs: Runs, rules: Rules) -> Iterator[Case]:
    """C6."""
    for contour, setting in CONTOURS.items():
        yield Case(setting, (_over(runs, rules, _best_beta(runs, contour), "jiwp", contour),))


def false_sense(runs: Runs, rules: Rules) -> Iterator[Case]:
    """C7, two questions: does one edge mislead about the other, and do both edges promise too much?"""
    for contour, setting in CONTOURS.items():
        by_inputs = _over(runs, rules, "at", "weight_perturb", contour, INPUTS)
        by_weights = _over(runs, rules, "weight_perturb", "at", contour, WEIGHTS)
        yield Case(replace(setting, question="one edge"), (by_inputs, by_weights))
    words = "promised by both edges - kept, both attacked"
    for contour, setting in CONTOURS.items():
        broken = (_alone(runs, rules, name, contour, promise, words) for name in ("at", "weight_perturb"))
        yield Case(replace(setting, question="both edges"), tuple(broken))


def min_max_fails(runs: Runs, rules: Rules) -> Iterator[Case]:
    """C8; one way of failing is enough for the claim."""
    for contour, setting in CONTOURS.items():
        weak = [_over(runs, rules, name, "joint_at", contour, WEIGHTS) for name in ("standard", "at")]
        worse = _over(runs, rules, "at", "joint_at", contour)
        yield Case(setting, (_inaccurate(runs, rules, "joint_at", contour), *weak, worse), "any")
    name, setting = "joint_at_weights", replace(CONTOURS["paper"], training="min-max over the weights alone")
    weak = _over(runs, rules, "standard", name, "paper", WEIGHTS)
    yield Case(setting, (_inaccurate(runs, rules, name, "paper"), weak), "any")


def _inaccurate(runs: Runs, rules: Rules, name: str, contour: str) -> Part:
    found = _values(runs, name, contour, CLEAN)
    words = f"{rules.accurate:.0%} - {_title(name)}, clean accuracy"
    return Part(words, rules.paired(dict.fromkeys(found, rules.accurate), found))


EXAMPLES = {
    "counterexample": counterexamples.COUNTEREXAMPLE,
    "with a moving input": counterexamples.COUNTEREXAMPLE_JOINT,
    "false certificate": counterexamples.FALSE_CERTIFICATE,
}


def theorem(runs: Runs, rules: Rules, examples: Mapping[str, Instance] = EXAMPLES) -> Iterator[Case]:
    """C9, in fractions; beside the printed bound the repaired one."""
    for words, bound, decides in (
        ("printed", counterexamples.printed, True),
        ("repaired", counterexamples.repaired, False),
    ):
        room = {name: float(bound(case) - counterexamples.attained(case)) for name, case in examples.items()}
        parts = (
            Part(f"{name}: {words} bound - margin reached", Estimate((by,), by, by, by), exact=True)
            for name, by in room.items()
        )
        yield Case(Setting("", "", question=f"Theorem 1 as {words}"), tuple(parts), decides=decides)


def robust_to_seen_weights(runs: Runs, rules: Rules) -> Iterator[Case]:
    """C10.

    The paper says it in one sentence of (b) and (c) together, without a rival for "robust". Its caption of Figure 1
    compares both with Standard, and so does the test.
    """
    for contour, setting in CONTOURS.items():
        yield Case(setting, (_over(runs, rules, "weight_perturb", "standard", contour, WEIGHTS),))
