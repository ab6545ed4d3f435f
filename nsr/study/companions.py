"""The runs of the companion papers as ladders: by what stands on a rung, then by seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import nsr.runs
from nsr import paths
from nsr.contour import Contour
from nsr.inside import Inside
from nsr.runs import Run, companions
from nsr.runs.companions import PLACES
from nsr.study import claims
from nsr.study.claims.verdict import MISSING, UNKNOWN
from nsr.study.select import Runs
from nsr.study.statistics import Estimate, estimate, paired
from nsr.training import METHODS

Rung = Mapping[int, Run]  # by seed
Ladder = Mapping[float, Rung]  # by strength or radius; 0 is Standard
Read = Callable[[Run], float]
DIFFERS = "differs"  # between places

TITLES = {name: METHODS[name].title for name in companions.ROWS}


def ladder(name: str, place: str = "MNIST, dense", *stores: Path) -> Ladder:
    """The stored runs of this ladder of radii or strengths; rungs without runs are left out."""
    steps = {**companions.RADII, **companions.STRENGTHS}[name]
    by_seed = {seed: companions.rungs(steps, seed, **PLACES[place]) for seed in companions.SEEDS}
    strengths = next(iter(by_seed.values()))
    found = {s: _stored({seed: specs[s] for seed, specs in by_seed.items()}, stores) for s in strengths}
    return {strength: rung for strength, rung in found.items() if rung}


def rows(place: str = "MNIST, dense", *stores: Path) -> dict[str, Rung]:
    """The stored runs of the rows of the table of methods, on the common terms."""
    specs = {
        name: {seed: companions.spec(name, seed, **PLACES[place]) for seed in companions.SEEDS}
        for name in companions.ROWS
    }
    found = {name: _stored(by_seed, stores) for name, by_seed in specs.items()}
    return {name: rung for name, rung in found.items() if rung}


def _stored(specs: Mapping[int, nsr.runs.Spec], stores: Sequence[Path]) -> Rung:
    """What the shipped store has, or the user's own, unless others are named."""
    where = stores or (paths.COMPANIONS, paths.store())
    found = {seed: nsr.runs.stored(spec, *where) for seed, spec in specs.items()}
    return {seed: run for seed, run in found.items() if run}


def insides(of: Mapping[float, Rung]) -> dict[float, dict[int, Inside]]:
    """What was read off the networks of a ladder, where it was."""
    return {
        key: {s: run.readings["inside"] for s, run in rung.items() if "inside" in run.readings}
        for key, rung in of.items()
    }


def values(rung: Rung, read: Read, needs: str) -> dict[int, float]:
    """A number of each run that has this contour or reading, by seed."""
    return {seed: read(run) for seed, run in rung.items() if needs in run.contours or needs in run.readings}


def over_seeds(rung: Rung, read: Read, needs: str) -> Estimate | None:
    """The same as a mean with its interval."""
    found = values(rung, read, needs)
    return estimate(found.values()) if found else None


def more(first: Rung, second: Rung, read: Read, needs: str) -> Estimate | None:
    """first - second, seed by seed."""
    return paired(values(first, read, needs), values(second, read, needs))


def of_contour(kind: str, read: Callable[[Contour], float]) -> Read:
    """A number that is read off one kind of contour of a run."""
    return lambda run: read(run.contour(kind))


def accuracy(run: Run) -> float:
    """Clean accuracy on all test images."""
    return run.readings["inside"].test.accuracy


def validation(rung: Rung) -> float:
    """The mean validation accuracy at the end of the training, by which a rung may be chosen."""
    return sum(run.history[-1]["validation"] for run in rung.values()) / len(rung)


def with_weights(rung: Rung) -> Run | None:
    """The first run of a rung that is stored with its weights."""
    return next((run for run in rung.values() if run.has_weights), None)


def told(found: Estimate | None, unit: str = "points", factor: float = 100) -> str:
    """A difference in words, with its interval and the number of seeds behind it.

    >>> told(estimate([0.01, 0.02, 0.03])), told(None)
    ('+2.0 points [-0.5, +4.5], n = 3', 'not measured')
    """
    if found is None:
        return "not measured"
    mean, low, high = (factor * value for value in (found.mean, found.low, found.high))
    if len(found.values) == 1:
        return f"{mean:+.1f} {unit}, one seed"
    return f"{mean:+.1f} {unit} [{low:+.1f}, {high:+.1f}], n = {len(found.values)}"


def shelf(place: str, *stores: Path) -> Runs:
    """The rows of a place as the ledger of the first paper reads them: coarse contours stand for the strong ones."""
    renamed = {"paper": "paper", "strong": "coarse", "per_sample": "coarse_own"}
    found = {}
    for name, rung in rows(place, *stores).items():
        seen = [
            (run, {new: run.contours[old] for new, old in renamed.items() if old in run.contours})
            for run in rung.values()
        ]
        found[name] = tuple(replace(run, contours=contours) for run, contours in seen)
    return found


def elsewhere(shelves: Mapping[str, Runs], kind: str, rules: claims.Rules) -> dict[str, dict[str, str]]:
    """test of the first paper -> place -> what it comes to under this kind of contour; left out where not measured."""
    setting = str(claims.CONTOURS[kind])
    found: dict[str, dict[str, str]] = {}
    for place, runs in shelves.items():
        for test, outcomes in claims.matrix(claims.ledger(runs, rules)).items():
            if outcomes.get(setting, MISSING) not in UNKNOWN:
                found.setdefault(test, {})[place] = outcomes[setting]
    return found


def carried(found: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    """The tests that are measured in two places at least, by what they come to in all of them; DIFFERS if that differs.

    >>> found = {"C1": {"here": "holds", "there": "holds"}, "C2": {"here": "holds"}}
    >>> carried(found | {"C3": {"here": "holds", "there": "fails"}})
    {'holds': ['C1'], 'differs': ['C3']}
    """
    by_outcome: dict[str, list[str]] = {}
    for test, outcomes in found.items():
        if len(outcomes) > 1:
            one, *others = {*outcomes.values()}
            by_outcome.setdefault(DIFFERS if others else one, []).append(test)
    return by_outcome
