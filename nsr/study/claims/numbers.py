"""The numbers that the claims are decided by: what is read off the contours of stored runs, setting by setting."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

import numpy as np

import nsr.runs
from nsr import paths
from nsr.contour import Contour
from nsr.runs import MEASUREMENTS, Run, reproduce, tuning
from nsr.runs.reproduce import SHOWN
from nsr.study import select, statistics
from nsr.study.claims.verdict import Case, Part, Rules, Setting
from nsr.study.select import AUC, Reading, Runs
from nsr.study.statistics import Estimate
from nsr.theory import counterexamples
from nsr.theory.counterexamples import Instance
from nsr.training import METHODS, PANELS

COARSE = ("paper", "strong", "relative", "per_sample")  # on the same radii and images, of all rows
CONTOURS = {"full": Setting(*MEASUREMENTS["full"].words, extent="in full")}
CONTOURS |= {kind: Setting(*MEASUREMENTS[kind].words) for kind in COARSE}
TOP, BOTTOM, BETAS = PANELS[:3], PANELS[3:], PANELS[3:5]  # rows of Figure 1; both AT+beta
BY_BOTH = ("paper",)  # contours that the rows have by the other optimiser too
TITLES = {"sgd": "SGD", "adam": "Adam"}
GAIN = 0.24  # of the best AT+beta over AT, as the paper reports it

OTHER = "_other"  # behind the name of a row: by the other optimiser, with the numbers that the search chose for it


@functools.cache
def variants() -> dict[str, tuple[str, dict[str, float | str]]]:
    """Runs of a row with other numbers than the table of methods has: name -> row, numbers."""
    return {
        **{row + OTHER: (row, tuning.by_the_other(row)) for row in SHOWN},
        "at_wide": ("at", {"attack_x": 0.2}),
        "joint_at_weights": ("joint_at", {"attack_x": 0.0}),
    }


def places(kinds: Sequence[str] = tuple(CONTOURS)) -> Iterator[tuple[str, Setting, str]]:
    """Where a claim is tested: the kind of contour, the setting in words, what stands behind the names of its rows."""
    training = f"all nets by {TITLES[tuning.other_optimiser()]}"
    for kind in kinds:
        yield kind, CONTOURS[kind], ""
    for kind in BY_BOTH:
        yield kind, replace(CONTOURS[kind], training=training), OTHER


def shelf(*stores: Path) -> Runs:
    """The runs that the claims are decided by, by default the shipped ones: every row of the table, every variant."""
    stores = stores or (paths.SHIPPED,)
    others = {name: select.stored(row, range(5), *stores, **numbers) for name, (row, numbers) in variants().items()}
    return {**select.by_method(nsr.runs.runs(*stores)), **others}


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
    """The row, and the numbers that make it another one; that all rows are by the other optimiser the setting says."""
    row, changes = variants().get(name, (name, {}))
    told = {} if name.endswith(OTHER) else changes
    words = ", ".join(str(value) if key == "optimiser" else f"{key} {value:g}" for key, value in told.items())
    return METHODS[row].title + (f" ({words})" if words else "")


def _over(runs: Runs, rules: Rules, first: str, second: str, contour: str, read: Reading = AUC, by: str = "") -> Part:
    """first - second."""
    first, second = first + by, second + by
    found = rules.paired(_values(runs, first, contour, read), _values(runs, second, contour, read))
    return Part(f"{_title(first)} - {_title(second)}, {WORDS[read]}", found)


def _alone(runs: Runs, rules: Rules, name: str, contour: str, read: Reading, what: str) -> Part:
    values = _values(runs, name, contour, read)
    return Part(f"{_title(name)}: {what}", rules.paired(values, dict.fromkeys(values, 0.0)))


def _best_beta(runs: Runs, contour: str, by: str) -> str:
    """The better of the two AT+beta rows by mean AUC, chosen on what is compared, as the paper does: in its favour."""
    means = {name: np.mean([*_values(runs, name + by, contour, AUC).values()] or [0.0]) for name in BETAS}
    return max(means, key=means.__getitem__) + by


# the tests, in the order of the claims ------------------------------------------------------------------------------


def weaker_against_weights(runs: Runs, rules: Rules) -> Iterator[Case]:
    """C1; beside it AT with another radius."""
    for contour, setting, by in places():
        yield Case(setting, (_over(runs, rules, "standard", "at", contour, WEIGHTS, by),))
    beside = _over(runs, rules, "standard", "at_wide", "paper", WEIGHTS)
    yield Case(replace(CONTOURS["paper"], training="AT with a larger radius"), (beside,), decides=False)


def slightly_better(runs: Runs, rules: Rules) -> Iterator[Case]:
    """C2; with the weights at rest their radii play no part."""
    for contour, setting, by in places(("full", "paper", "strong")):
        rows = ("standard", "weight_perturb", "at")
        standard, ours, at = (_values(runs, name + by, contour, INPUTS) for name in rows)
        both = standard.keys() & at.keys()
        limit = {seed: standard[seed] + rules.slight * (at[seed] - standard[seed]) for seed in both}
        better = _over(runs, rules, "weight_perturb", "standard", contour, INPUTS, by)
        words = f"{rules.slight:.0%} of AT's gain over Standard - Weight Perturb's gain, inputs alone"
        yield Case(replace(setting, radii=""), (better, Part(words, rules.paired(limit, ours))))


def vulnerable_to_both(runs: Runs, rules: Rules) -> Iterator[Case]:
    """C3."""
    words = f"{rules.kept:.0%} of clean - middle of the edge, "
    inputs, weights = (functools.partial(read, kept=rules.kept) for read in (lost_to_inputs, lost_to_weights))
    for contour, setting, by in places():
        by_inputs = _alone(runs, rules, "standard" + by, contour, inputs, words + "inputs alone")
        by_weights = _alone(runs, rules, "standard" + by, contour, weights, words + "weights alone")
        at = _over(runs, rules, "at", "standard", contour, INPUTS, by)
        ours = _over(runs, rules, "weight_perturb", "standard", contour, WEIGHTS, by)
        yield Case(setting, (by_inputs, by_weights, at, ours))


def bottom_row_better(runs: Runs, rules: Rules) -> Iterator[Case]:
    """C4."""
    pairs = [*itertools.product(BOTTOM, TOP)]
    for contour, setting, by in places():
        yield Case(setting, tuple(_over(runs, rules, below, above, contour, by=by) for below, above in pairs))


def better_than_at(runs: Runs, rules: Rules) -> Iterator[Case]:
    """C5a; beside it AT with another radius."""
    return _gains(runs, rules)


def quarter_better(runs: Runs, rules: Rules) -> Iterator[Case]:
    """C5b, two one-sided tests; beside it AT with another radius."""
    return _gains(runs, rules, (GAIN - rules.near, GAIN + rules.near))


def _gains(runs: Runs, rules: Rules, inside: tuple[float, float] | None = None) -> Iterator[Case]:
    for contour, setting, by in places():
        yield Case(setting, (_gain(runs, rules, "at" + by, contour, by, inside),))
    beside = _gain(runs, rules, "at_wide", "paper", "", inside)
    yield Case(replace(CONTOURS["paper"], training="AT with a larger radius"), (beside,), decides=False)


def _gain(runs: Runs, rules: Rules, at: str, contour: str, by: str, inside: tuple[float, float] | None) -> Part:
    best, level = _best_beta(runs, contour, by), statistics.EQUIVALENCE if inside else statistics.CONFIDENCE
    first, second = _values(runs, best, contour, AUC), _values(runs, at, contour, AUC)
    ratio = {seed: first[seed] / second[seed] for seed in first.keys() & second.keys()}
    found = rules.paired(ratio, dict.fromkeys(ratio, 1.0), level)
    return Part(f"{_title(best)} / {_title(at)} - 1, joint AUC", found, inside)


def better_than_jiwp(runs: Runs, rules: Rules) -> Iterator[Case]:
    """C6."""
    for contour, setting, by in places():
        yield Case(setting, (_over(runs, rules, _best_beta(runs, contour, by), "jiwp" + by, contour),))


def false_sense(runs: Runs, rules: Rules) -> Iterator[Case]:
    """C7, two questions: does one edge mislead about the other, and do both edges promise too much?"""
    for contour, setting, by in places():
        by_inputs = _over(runs, rules, "at", "weight_perturb", contour, INPUTS, by)
        by_weights = _over(runs, rules, "weight_perturb", "at", contour, WEIGHTS, by)
        yield Case(replace(setting, question="one edge"), (by_inputs, by_weights))
    words = "promised by both edges - kept, both attacked"
    for contour, setting, by in places():
        broken = (_alone(runs, rules, name + by, contour, promise, words) for name in ("at", "weight_perturb"))
        yield Case(replace(setting, question="both edges"), tuple(broken))


def min_max_fails(runs: Runs, rules: Rules) -> Iterator[Case]:
    """C8; one way of failing is enough for the claim. Joint AT, no panel of Figure 1, is not measured in full."""
    for contour, setting, by in places(COARSE):
        weak = [_over(runs, rules, name, "joint_at", contour, WEIGHTS, by) for name in ("standard", "at")]
        worse = _over(runs, rules, "at", "joint_at", contour, by=by)
        yield Case(setting, (_inaccurate(runs, rules, "joint_at" + by, contour), *weak, worse), "any")
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
        asked = "" if decides else f"Theorem 1 as {words}"
        yield Case(Setting("exact arithmetic", "", question=asked), tuple(parts), decides=decides)


def robust_to_seen_weights(runs: Runs, rules: Rules) -> Iterator[Case]:
    """C10.

    The paper says it in one sentence of (b) and (c) together, without a rival for "robust". Its caption of Figure 1
    compares both with Standard, and so does the test.
    """
    for contour, setting, by in places():
        yield Case(setting, (_over(runs, rules, "weight_perturb", "standard", contour, WEIGHTS, by),))
