"""The four claims of Liang and Huang (AAAI 2021) on norms of layers, tested on ladders of regularisers.

Each test takes differences, seed by seed, that the claim puts above zero, with Student's intervals, and computes its
verdict as the ledger does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import torch

from nsr.data import Split
from nsr.network import Network
from nsr.runs import Run
from nsr.runs.companions import EQUAL, OF_KERNELS, STRENGTHS, TERMS_OF_THE_LOSS
from nsr.study import companions
from nsr.study.claims.verdict import Case, Claim, Part, Row, Rules, Setting
from nsr.study.companions import PLACES, Ladder, Rung, accuracy, more, of_contour
from nsr.study.statistics import Estimate
from nsr.training import METHODS

RULES = Rules()
REGULARISERS = tuple(name for name in STRENGTHS if name not in TERMS_OF_THE_LOSS)
NORMS = {"linf": "l_inf", "l1": "l_1", "spectral": "spectral"}
COMPARABLE = 0.9  # Liang and Huang do not say how near that is; we chose norms that are at most a tenth smaller
SCALE = 1000.0  # of the last layer, so of the Lipschitz constant

INPUTS = of_contour("few", attrgetter("mean_x"))  # the mean accuracy along the edge eps_w = 0
# of rows, whose contours are another kind: the same edge, over the same radii
INPUTS_OF_ROWS = of_contour("coarse", lambda c: c.within(0.2, c.grid_w[-1]).mean_x)


@dataclass(frozen=True)
class Measured:
    """What the claims are decided by: ladders by regulariser and place, rows by place, and how often D4's net errs.

    `changed` is the number of test images that AT decides otherwise once its last layer is multiplied.
    """

    ladders: Mapping[tuple[str, str], Ladder]
    rows: Mapping[str, Mapping[str, Rung]]
    changed: int | None


def measured(test: Split, *stores: Path) -> Measured:
    """What the shipped runs have, or these stores."""
    pairs = [
        (name, place) for name in REGULARISERS for place in PLACES if "net" not in PLACES[place] or name in OF_KERNELS
    ]
    ladders = {(name, place): companions.ladder(name, place, *stores) for name, place in pairs}
    rows = {place: companions.rows(place, *stores) for place in PLACES}
    at = companions.with_weights(rows["MNIST, dense"].get("at", {}))
    return Measured(ladders, rows, None if at is None else changed(at.network, test))


@torch.no_grad()
def changed(network: Network, test: Split, scale: float = SCALE) -> int:
    """How many images get another class once the last layer, and so the Lipschitz constant, is `scale` times as large.

    >>> changed(Network((torch.eye(2),), lambda W, x: x @ W[0].T), Split(torch.eye(2), torch.tensor([0, 1])))
    0
    """
    *before, last = network.W
    larger = network.at((*before, scale * last))
    return int((larger(test.x).argmax(1) != network(test.x).argmax(1)).sum())


def best(ladder: Ladder) -> float | None:
    """The strength above 0 with the largest mean validation accuracy; None before there is one."""
    return max((s for s in ladder if s > 0), key=lambda s: companions.validation(ladder[s]), default=None)


def mean_log_ratio(first: Run, second: Run, norm: str) -> float:
    """Over the layers, the mean of log(norm of the first / norm of the second)."""
    pairs = zip(first.readings["inside"].norms, second.readings["inside"].norms, strict=True)
    ratios = [math.log(getattr(a, norm) / getattr(b, norm)) for a, b in pairs]
    return sum(ratios) / len(ratios)


# the tests ----------------------------------------------------------------------------------------------------------


def generalises(known: Measured, rules: Rules) -> Iterator[Case]:
    """D1."""
    for (name, place), ladder in known.ladders.items():
        gained = more(_at(ladder, best(ladder)), _at(ladder, 0.0), accuracy, "inside")
        yield Case(Setting("", "", training=name, data=place), (Part("clean accuracy gained", gained),))


def hurts(known: Measured, rules: Rules) -> Iterator[Case]:
    """D2; the strongest rung stands beside."""
    for (name, place), ladder in known.ladders.items():
        for strength, words in ((best(ladder), ""), (max(ladder, default=None), "the strongest")):
            lost = more(_at(ladder, 0.0), _at(ladder, strength), INPUTS, "few")
            where = Setting("strong attack", "", training=name, question=words, data=place)
            yield Case(where, (Part("accuracy lost, inputs attacked", lost),), decides=not words)


def _at(ladder: Ladder, strength: float | None) -> Rung:
    return ladder.get(strength, {})


def as_large(known: Measured, rules: Rules) -> Iterator[Case]:
    """D3; beside AT the other rows that were trained on the same terms."""
    for place, rows in known.rows.items():
        for name in ("at", *(row for row in rows if row not in ("standard", "at"))):
            for norm in NORMS:
                ratio = _ratio(rows.get(name, {}), rows.get("standard", {}), norm, rules)
                title, words = METHODS[name].title, f"{NORMS[norm]} norms"
                part = Part(f"mean log({title} / Standard) - log {COMPARABLE:g}", ratio)
                yield Case(Setting("", "", training=title, question=words, data=place), (part,), decides=name == "at")


def _ratio(first: Rung, second: Rung, norm: str, rules: Rules) -> Estimate | None:
    both = [s for s in first if s in second and all("inside" in rung[s].readings for rung in (first, second))]
    found = {s: mean_log_ratio(first[s], second[s], norm) - math.log(COMPARABLE) for s in both}
    return rules.paired(found, dict.fromkeys(found, 0.0))


def neither(known: Measured, rules: Rules) -> Iterator[Case]:
    """D4, two questions: are small norms necessary, and are they effective?"""
    if known.changed is not None:
        by = 0.0 - known.changed  # no -0
        part = Part(
            f"images that AT decides otherwise with its last layer times {SCALE:g}",
            Estimate((by,), by, by, by),
            exact=True,
        )
        yield Case(Setting("", "", question="necessary"), (part,))
    at = known.rows.get("MNIST, dense", {}).get("at", {})
    parts = tuple(
        Part(f"AT - {name}, accuracy with inputs attacked", more(at, equal(known, name), INPUTS_OF_ROWS, "coarse"))
        for name in REGULARISERS
    )
    yield Case(Setting("strong attack", "", question="effective"), parts)


def equal(known: Measured, name: str) -> Rung:
    """The runs of a regulariser at the strength of equal clean accuracy."""
    return known.ladders.get((name, "MNIST, dense"), {}).get(EQUAL[name], {})


CLAIMS = (
    Claim(
        "D1",
        "norm regularisation can improve generalisation",
        "norm-regularization methods, including norm decay, weight decay, and singular value clipping, can improve "
        "generalization of CNNs.",
        "abstract",
        "At the strength with the best validation accuracy, clean test accuracy is above that of Standard: for each "
        "regulariser, data set and network.",
        generalises,
    ),
    Claim(
        "D2",
        "norm regularisation can slightly hurt adversarial robustness",
        "However, they can slightly hurt adversarial robustness.",
        "abstract",
        "At the same strength, mean accuracy with attacked inputs is below that of Standard.",
        hurts,
    ),
    Claim(
        "D3",
        "adversarially trained networks have comparable or larger layer norms",
        "adversarially robust CNNs have comparable or even larger layer norms than their non-adversarially robust "
        "counterparts.",
        "abstract",
        f"Over the layers, the mean of log(AT's norm / Standard's norm) is above log {COMPARABLE:g}: for l_inf, l_1 "
        "and spectral norms, each data set and network.",
        as_large,
    ),
    Claim(
        "D4",
        "small norms are neither necessary nor effective for robustness",
        "an adversarially robust neural network can have an arbitrarily large Lipschitz constant. For this reason, "
        "enforcing small norms on CNN layers may be neither necessary nor effective in achieving adversarial "
        "robustness.",
        "abstract",
        f"Necessary: AT's last layer times {SCALE:,.0f} decides every test image as before. Effective: AT "
        "keeps more with attacked inputs than each norm regulariser at the strength of equal clean accuracy.",
        neither,
    ),
)


def ledger(known: Measured, rules: Rules = RULES) -> dict[str, Row]:
    """Every claim decided by what is measured."""
    return {claim.name: Row(claim, rules, tuple(claim.cases(known, rules))) for claim in CLAIMS}
