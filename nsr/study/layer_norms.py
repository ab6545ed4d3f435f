"""What the chapter on layer norms shows beside its claims: gains over Standard, norms as factors, our own question.

Gains are differences from Standard seed by seed, norms are factors of Standard's: geometric means over the layers and
over the seeds. What has no runs is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from nsr.runs import Run, tuning
from nsr.runs.companions import EQUAL, STRENGTHS
from nsr.study import companions
from nsr.study.claims.numbers import OTHER, TITLES
from nsr.study.claims.verdict import FAILS, HOLDS, UNKNOWN, Case, Row, Rules
from nsr.study.companions import Ladder, Rung, accuracy, more, of_contour
from nsr.study.norm_claims import INPUTS, INPUTS_OF_ROWS, NORMS, RULES, Measured, best, mean_log_ratio
from nsr.study.select import Runs
from nsr.study.statistics import Estimate, estimate, paired
from nsr.theory import dense_norms
from nsr.training import METHODS

CLEAN, ATTACKED = "clean accuracy", "accuracy, inputs attacked"
MEASURES = {"inputs alone": attrgetter("mean_x"), "weights alone": attrgetter("mean_w"), "joint AUC": attrgetter("auc")}
OF_MATRICES = {"linf": dense_norms.linf, "l1": dense_norms.l1, "spectral": dense_norms.spectral}
KINDS = {  # of contours in which our own question is asked
    "coarse": "one weight set for all images",
    "coarse_own": "weights of its own for each image",
    "exact_few": "proved robust",
}
BASE = "zeta alone"
BESIDE = ("at", "trades", "jiwp", "at_beta_low", "at_beta_high", "joint_at", "weight_perturb")  # Standard

Named = Mapping[str, Rung]


class Norm(NamedTuple):
    """Layer norms as factors of Standard's: the mean over the layers with its interval, and each layer by itself."""

    mean: Estimate
    layers: tuple[float, ...]


class Place(NamedTuple):
    """Where a network stands: its layer norms as a factor, and what it gains with attacked inputs."""

    norm: Estimate
    gain: Estimate


def gains(name: str, ladder: Ladder) -> dict[str, dict[int, Estimate]]:
    """What each rung has more than Standard, by the rung's number on the whole ladder, 1 being the weakest."""
    number = {strength: k for k, strength in enumerate(STRENGTHS[name], 1)}
    found: dict[str, dict[int, Estimate]] = {}
    for measure, read, needs in ((CLEAN, accuracy, "inside"), (ATTACKED, INPUTS, "few")):
        known = {number[s]: more(ladder[s], ladder.get(0.0, {}), read, needs) for s in ladder if s > 0}
        found[measure] = {k: gain for k, gain in known.items() if gain}
    return found


def gained(known: Measured) -> dict[str, dict[str, dict[str, dict[int, Estimate]]]]:
    """measure -> place -> regulariser -> rung -> what it has more than Standard."""
    found: dict[str, dict[str, dict[str, dict[int, Estimate]]]] = {CLEAN: {}, ATTACKED: {}}
    for (name, place), ladder in known.ladders.items():
        for measure, by_rung in gains(name, ladder).items():
            if by_rung:
                found[measure].setdefault(place, {})[name] = by_rung
    return found


def at_the_best(known: Measured) -> list[dict[str, float | str]]:
    """A line for each ladder: the strength that the claims are decided at, and what is gained there, in words."""
    lines = []
    for (name, place), ladder in known.ladders.items():
        strength = best(ladder)
        if strength is not None:
            number, found = list(STRENGTHS[name]).index(strength) + 1, gains(name, ladder)
            told = {measure: companions.told(by_rung.get(number)) for measure, by_rung in found.items()}
            lines.append({"regulariser": name, "data and network": place, "strength": strength} | told)
    return lines


def norm_of(first: Rung, standard: Rung, norm: str) -> Norm | None:
    """The layer norms of some runs as factors of Standard's, seed by seed."""
    pairs = [(run, standard[seed]) for seed, run in first.items() if seed in standard]
    pairs = [pair for pair in pairs if all("inside" in run.readings for run in pair)]
    if not pairs:
        return None
    logs = {k: mean_log_ratio(*pair, norm) for k, pair in enumerate(pairs)}
    by_layer = zip(*(_logs(*pair, norm) for pair in pairs), strict=True)
    return Norm(
        factor(paired(logs, dict.fromkeys(logs, 0.0))), tuple(math.exp(sum(logs) / len(logs)) for logs in by_layer)
    )


def _logs(first: Run, second: Run, norm: str) -> list[float]:
    pairs = zip(first.readings["inside"].norms, second.readings["inside"].norms, strict=True)
    return [math.log(getattr(a, norm) / getattr(b, norm)) for a, b in pairs]


def otherwise_trained(runs: Runs) -> dict[str, dict[str, Estimate]]:
    """AT's layer norms as factors of Standard's in the first paper's runs: how both were trained -> norm -> factor."""
    both = {"as the table of methods has them": "", f"both by {TITLES[tuning.other_optimiser()]}": OTHER}
    pairs = {words: ("at" + by, "standard" + by) for words, by in both.items()}
    found = {}
    for words, (at, standard) in pairs.items():
        first, second = ({run.spec.seed: run for run in runs.get(name, ())} for name in (at, standard))
        both = sorted(first.keys() & second.keys())
        logs = {norm: {s: _mean_log(first[s], second[s], of) for s in both} for norm, of in OF_MATRICES.items()}
        found[words] = {norm: factor(estimate(by_seed.values())) for norm, by_seed in logs.items() if by_seed}
    return found


def _mean_log(first: Run, second: Run, norm: Callable[[Tensor], Tensor]) -> float:
    pairs = zip(first.network.W, second.network.W, strict=True)
    logs = [math.log(float(norm(a)) / float(norm(b))) for a, b in pairs]
    return sum(logs) / len(logs)


def factor(logs: Estimate) -> Estimate:
    """From logarithms to factors: the geometric mean with its interval.

    >>> factor(Estimate((0.0,), 0.0, 0.0, 0.0))
    Estimate(values=(1.0,), mean=1.0, low=1.0, high=1.0, level=0.95)
    """
    return Estimate(tuple(map(math.exp, logs.values)), *map(math.exp, (logs.mean, logs.low, logs.high)))


def norms(named: Named, standard: Rung) -> dict[str, dict[str, Norm]]:
    """norm -> name -> the layer norms of all runs that there are."""
    found = {norm: {name: norm_of(rung, standard, norm) for name, rung in named.items()} for norm in NORMS}
    return {norm: {name: each for name, each in of.items() if each} for norm, of in found.items()}


def trained(known: Measured, place: str) -> dict[str, Rung]:
    """The rows beside Standard, by their titles."""
    rows = known.rows[place]
    return {METHODS[name].title: rows[name] for name in BESIDE if name in rows}


def landscape(known: Measured, place: str, norm: str = "linf") -> dict[str, tuple[Place, ...]]:
    """Where the rows stand, and the rungs of each ladder from the weakest on; Standard is at (1, 0)."""
    standard, found = known.rows[place].get("standard", {}), {}
    for name, rung in trained(known, place).items():
        found[name] = [_place(rung, standard, norm, more(rung, standard, INPUTS_OF_ROWS, "coarse"))]
    for name, ladder in ((name, ladder) for (name, where), ladder in known.ladders.items() if where == place):
        foot = ladder.get(0.0, {})
        found[name] = [_place(ladder[s], foot, norm, more(ladder[s], foot, INPUTS, "few")) for s in ladder if s > 0]
    whole = {name: tuple(each for each in places if each) for name, places in found.items()}
    return {name: places for name, places in whole.items() if places}


def _place(rung: Rung, standard: Rung, norm: str, gain: Estimate | None) -> Place | None:
    found = norm_of(rung, standard, norm)
    return None if found is None or gain is None else Place(found.mean, gain)


def settled(row: Row) -> str:
    """The verdict of a claim, and how many of its settings it rests on."""
    decided = len(row.outcomes) - len(row.undecided)
    return f"{row.words}; {decided} of {len(row.outcomes)} settings have enough seeds"


def counted(cases: Iterable[Case], rules: Rules) -> str:
    """In how many of these cases the claim holds, of those with enough seeds."""
    outcomes = [case.outcome(rules) for case in cases]
    known = [outcome for outcome in outcomes if outcome not in UNKNOWN]
    missing = f"; {len(outcomes) - len(known)} more have too few seeds" if len(known) < len(outcomes) else ""
    return f"{known.count(HOLDS)} of {len(known)} settings{missing}"


def opening(row: Row, rules: Rules) -> str:
    """What the second half of D4 says, for the head of the chapter: do small norms do what AT does?"""
    (case,) = (case for case in row.cases if case.setting.question == "effective")
    missing = "the networks that would tell whether norm regularisers replace AT have too few seeds so far"
    return {
        HOLDS: "no norm regulariser, at the strengths compared here, keeps as much accuracy with attacked inputs as AT",
        FAILS: "AT is not shown to keep more accuracy with attacked inputs than every norm regulariser",
    }.get(case.outcome(rules), missing)


def times(found: Norm | None) -> str:
    """The mean factor in words, without its unit."""
    if found is None:
        return "not measured"
    mean, low, high = found.mean.mean, found.mean.low, found.mean.high
    return f"{mean:.2f} (one seed)" if len(found.mean.values) == 1 else f"{mean:.2f} [{low:.2f}, {high:.2f}]"


# our own question: the norms, or the part of zeta that depends on the data? -----------------------------------------


def contenders(*stores: Path) -> dict[str, Rung]:
    """Standard, AT, and each regulariser at the strength of equal clean accuracy, on MNIST."""
    rows = companions.rows("MNIST, dense", *stores)
    found = {METHODS[name].title: rows[name] for name in ("standard", "at") if name in rows}
    found |= {name: companions.ladder(name, "MNIST, dense", *stores).get(EQUAL[name], {}) for name in EQUAL}
    return {name: rung for name, rung in found.items() if rung}


def scores(named: Named, kind: str) -> dict[str, dict[str, Estimate]]:
    """measure -> name -> its mean over the seeds that have this kind of contour."""
    found = {
        measure: {name: companions.over_seeds(rung, of_contour(kind, read), kind) for name, rung in named.items()}
        for measure, read in MEASURES.items()
    }
    return {measure: {name: each for name, each in of.items() if each} for measure, of in found.items()}


def against(named: Named, kind: str, base: str = BASE) -> dict[str, dict[str, Estimate]]:
    """measure -> name -> its difference from `base`, seed by seed."""
    other = named.get(base, {})
    found = {
        measure: {name: more(rung, other, of_contour(kind, read), kind) for name, rung in named.items() if name != base}
        for measure, read in MEASURES.items()
    }
    return {measure: {name: each for name, each in of.items() if each} for measure, of in found.items()}


def sides(differences: Mapping[str, Estimate], seeds: int = RULES.seeds) -> dict[str, tuple[str, ...]]:
    """The names that are ahead, behind, level (the interval holds 0), or have too few seeds for any of these.

    >>> sides({"a": Estimate((1.0,) * 3, 1.0, 0.5, 1.5), "b": Estimate((1.0,), 1.0, 1.0, 1.0)})
    {'ahead': ('a',), 'behind': (), 'level': (), 'too few seeds': ('b',)}
    """
    where = {
        name: "too few seeds" if len(d.values) < seeds else {1: "ahead", -1: "behind", 0: "level"}[d.sign]
        for name, d in differences.items()
    }
    kinds = ("ahead", "behind", "level", "too few seeds")
    return {kind: tuple(name for name, word in where.items() if word == kind) for kind in kinds}


def answer(differences: Mapping[str, Estimate], measure: str) -> str:
    """What the regularisers' differences from zeta alone say, in one sentence."""
    found = sides({name: d for name, d in differences.items() if name in EQUAL})
    missing = len(EQUAL) - 1 - sum(len(found[kind]) for kind in ("ahead", "behind", "level"))
    parts = [f"{_listed(found[kind])} {words}" for kind, words in _WORDS.items() if found[kind]]
    if not parts:
        return f"{measure}: not decided, there are too few seeds"
    rest = f"; {missing} of {len(EQUAL) - 1} not decided" if missing else ""
    return f"{measure}: {'; '.join(parts)}{rest}"


_WORDS = {
    "ahead": "above zeta alone",
    "behind": "below zeta alone",
    "level": "not told apart from zeta alone",
}


def verdict(differences: Mapping[str, Estimate]) -> str:
    """Which part of zeta it is, as far as the five that hold only norms small can tell.

    It is the data-dependent part if all five are behind zeta alone, the norms if one of them is ahead.
    """
    found = sides({name: d for name, d in differences.items() if name in EQUAL})
    others = len(EQUAL) - 1
    if len(found["behind"]) == others:
        return "the part that depends on the data: whatever holds only the norms small keeps less than zeta alone"
    if found["ahead"]:
        return f"not the part that depends on the data: {_listed(found['ahead'])} keeps more than zeta alone"
    if sum(len(found[kind]) for kind in ("behind", "level")) < others:
        return "not decided: some of the regularisers have too few seeds"
    return f"not decided: {_listed(found['level'])} cannot be told from zeta alone"


def _listed(names: tuple[str, ...]) -> str:
    *first, last = (f"“{name}”" if "," in name else name for name in names)
    return f"{', '.join(first)} and {last}" if first else last
