"""From differences to a verdict: what a claim, its settings and its rules are."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from nsr.study import statistics
from nsr.study.statistics import Estimate

HOLDS, FAILS, MISSING = "holds", "does not hold", "too few seeds"
NO_RUNS = "not measured"
UNKNOWN = (MISSING, NO_RUNS)  # what decides nothing
REPRODUCED, NOT_REPRODUCED, DEPENDS, OPEN = "reproduced", "not reproduced", "depends", "open"


@dataclass(frozen=True)
class Rules:
    """What the tests leave to choose; fixed before the runs were there."""

    interval: str = "student"  # of a difference over seeds: "student", or "bootstrap" (percentile, narrower)
    seeds: int = 3  # runs of fewer seeds are shown and decide nothing
    # PAPER: unstated how little "only slightly better" is; we chose a quarter of what AT gains.
    slight: float = 0.25
    # PAPER: unstated when a model is "vulnerable"; we chose that it keeps less than half of its clean accuracy.
    kept: float = 0.5
    # PAPER: unstated how near "about 24%" is; we chose ten points.
    near: float = 0.1
    # PAPER: unstated when a min-max procedure has failed; we chose a clean accuracy, and robustness no better.
    accurate: float = 0.9

    def __post_init__(self) -> None:
        if self.interval not in statistics.INTERVALS:
            raise ValueError(f"unknown interval {self.interval!r}: choose one of {', '.join(statistics.INTERVALS)}")

    def paired(
        self, first: Mapping[int, float], second: Mapping[int, float], level: float = statistics.CONFIDENCE
    ) -> Estimate | None:
        """first - second by seed, with the chosen interval; None where the two have no seed in common."""
        return statistics.paired(first, second, self.interval, level=level)


@dataclass(frozen=True)
class Setting:
    """Where a claim is tested; settings that differ in one field tell what the verdict depends on."""

    attack: str = "paper's attack"
    radii: str = "absolute radii"
    scope: str = ""  # whom one weight set of the attacker serves, if not all images
    extent: str = ""  # how much is measured, if not the radii and images that all rows have
    training: str = ""  # what differs from the table of methods
    question: str = ""
    data: str = ""  # the data set and the network, if not those of the first paper's runs

    def __str__(self) -> str:
        parts = (self.attack, self.extent, self.radii, self.scope, self.training, self.question, self.data)
        return ", ".join(part for part in parts if part)


FACTORS = {
    "attack": "the attack",
    "radii": "the kind of weight radii",
    "scope": "whom one weight attack serves",
    "extent": "how many radii and images are measured",
    "training": "how the nets were trained",
    "question": "what is asked",
    "data": "the data and the network",
}


@dataclass(frozen=True)
class Part:
    """One difference. It is on the claim's side if its whole interval is above zero, or inside a band if one is given.

    With the 90 % interval the second is two one-sided tests at 5 % each: noise makes it harder to pass.
    """

    what: str
    found: Estimate | None
    inside: tuple[float, float] | None = None
    exact: bool = False  # a rational number without an interval, which may be zero

    @property
    def side(self) -> str:
        if self.found is None:
            return NO_RUNS
        if self.inside:
            return _within(self.found, *self.inside)
        if self.found.high < 0:
            return "the other side"
        return "yes" if self.found.low > 0 or self.exact else "undecided"

    def measured(self, seeds: int) -> bool:
        return self.found is not None and (self.exact or len(self.found.values) >= seeds)


def _within(found: Estimate, least: float, most: float) -> str:
    if found.high < least:
        return "too small"
    if found.low > most:
        return "too large"
    return "yes" if least < found.low and found.high < most else "undecided"


@dataclass(frozen=True)
class Case:
    """The differences of one setting. It needs all of them on the claim's side, or any one.

    A setting that lacks one of them is not measured, whatever the others say.
    """

    setting: Setting
    parts: tuple[Part, ...]
    need: str = "all"
    decides: bool = True  # else it is shown beside

    def outcome(self, rules: Rules) -> str:
        if any(part.found is None for part in self.parts):
            return NO_RUNS
        if not all(part.measured(rules.seeds) for part in self.parts):
            return MISSING
        sides = [part.side == "yes" for part in self.parts]
        return HOLDS if (all(sides) if self.need == "all" else any(sides)) else FAILS

    @property
    def telling(self) -> Part:
        """The first difference that settles the outcome."""
        settles = self.need == "any"
        return next((part for part in self.parts if (part.side == "yes") is settles), self.parts[0])


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper and its test in words, which name the fields of `Rules` in braces."""

    name: str
    title: str
    sentence: str
    where: str
    test: str
    cases: Callable[[Any, Rules], Iterator[Case]]  # from what it is measured on: runs, or a ladder
    universal: bool = False  # examples can refute it, and never show it
    number: str = ""  # what the paper reports, where it reports a number


@dataclass(frozen=True)
class Row:
    """A claim with its numbers; the verdict is computed."""

    claim: Claim
    rules: Rules
    cases: tuple[Case, ...]

    @property
    def outcomes(self) -> dict[Setting, str]:
        """What each deciding case says, the paper's own setting first."""
        return {case.setting: case.outcome(self.rules) for case in self.cases if case.decides}

    @property
    def undecided(self) -> tuple[str, ...]:
        """The settings that are not measured, or from too few seeds, if any."""
        return tuple(str(setting) for setting, outcome in self.outcomes.items() if outcome in UNKNOWN)

    @property
    def verdict(self) -> str:
        first, *_ = self.outcomes.values()
        known = set(self.outcomes.values()) - {*UNKNOWN}
        if first in UNKNOWN or (self.claim.universal and known == {HOLDS}):
            return OPEN
        if len(known) == 2:
            return DEPENDS
        return REPRODUCED if known == {HOLDS} else NOT_REPRODUCED

    @property
    def on(self) -> tuple[str, ...]:
        """On what it depends: that in which two settings differ that disagree, if possible in nothing else."""
        if self.verdict != DEPENDS:
            return ()
        apart = [
            {f.name for f in fields(Setting) if getattr(a, f.name) != getattr(b, f.name)}
            for (a, one), (b, two) in itertools.combinations(self.outcomes.items(), 2)
            if {one, two} == {HOLDS, FAILS}
        ]
        fewest = min(map(len, apart))
        names = set().union(*(names for names in apart if len(names) == fewest))
        return tuple(words for name, words in FACTORS.items() if name in names)

    @property
    def words(self) -> str:
        *others, last = [f"on {what}" for what in self.on] or [""]
        return " ".join(filter(None, (self.verdict, ", ".join(others), "and" if others else "", last)))

    @property
    def test(self) -> str:
        return self.claim.test.format(**asdict(self.rules))
