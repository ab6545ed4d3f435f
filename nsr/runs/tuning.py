"""How the numbers in the table of methods are chosen: on validation images, by one written procedure.

Every row is searched twice, by SGD and by Adam, with the same gradient clipping, batch and epochs. Its free numbers lie
on ladders, and the search climbs them (`nsr.runs.climb`) until every neighbour of the best candidate has been tried and
none is better: no choice stands at an edge of what was tried. AT, the baseline, is tried at all of five radii besides.
One number moves at a time, so a trade of one for another that stays above the floor of accuracy is not seen.

Every candidate is trained once, for half as many epochs as the runs, from one seed that no reported run uses. Of
those that classify at least `FLOOR` of the validation images the one with the largest joint AUC on validation images
wins, under a brief attack that does not see the network's scale. A row made for certificates is chosen by its
certified AUC, a row trained against weights of each image's own by its AUC under such weights, and the undefended row
by clean accuracy. Test images are never looked at.

How many epochs the runs have is measured beside it: `settled`. Which of the two optimisers is the main one is one
choice for all rows: `main_optimiser`. The record holds both, and what combinations come to that no row has: `beside`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from dask.distributed import Client

import nsr.runs
from nsr import paths
from nsr.files import as_json, parsed, write_whole
from nsr.runs import ATTACKING, CERTIFYING, TRAINING, Spec, sweep
from nsr.runs.climb import REACH, Climb, Free, Ladder, Point, follow
from nsr.runs.code_digest import code_at_first_use
from nsr.runs.store import CHECKPOINT
from nsr.runs.sweep import Order, Report, Watch
from nsr.training import METHODS, CollapseError, Method

SEED, EPOCHS, BATCH, CLIP, FLOOR = 100, 16, 256, 1.0, 0.95
OPTIMISERS = {"sgd": 0.5, "adam": 0.02}  # with the rate at which the climb of each starts
LENGTHS = (4, 8, 16, 32)  # epochs; of the last it is only asked whether it is better than the one before
STEADY = 0.01  # what doubling the epochs may still bring
TRAINED_LONG = {"standard": {}, "at": {"attack_x": 0.1}, "joint_at": {"attack_x": 0.1, "attack_w": 0.01}}
LONG_RATES = {"sgd": 0.2, "adam": 0.01}
# one ingredient more on rows that were found best: no ladder of theirs leads there
_BOUND, _CERTIFIED = {"beta": 0.03, "xi_w": 0.002}, {"certified": 0.25, "xi_x": 0.05, "xi_w": 0.0005}
BESIDE: tuple[tuple[str, dict[str, float]], ...] = (
    *(
        (row, more)
        for row in ("joint_at", "joint_at_own")
        for more in ({"attack_steps": 10}, {"trades": 1.0}, _BOUND, _CERTIFIED)
    ),
    ("joint_at", {"awp": 0.02}),
    ("interval", {"certified": 0.75}),
    ("interval", {"attack_x": 0.15, "attack_w": 0.005}),
)
TABLE = paths.DATA / "tuning.json"
CODE = tuple(dict.fromkeys((*TRAINING, *ATTACKING, *CERTIFYING)))  # what decides a candidate's numbers
COLLAPSED, TAKEN = "collapsed.json", "taken.json"  # notes in the place of a run
# what is found of a candidate -> the contour whose AUC it is
WHAT = {"auc": "validation", "certified": "validation_certified", "own": "validation_own"}

_RATES, _RADII, _WEIGHTS = Ladder((1, 2, 5)), Ladder((1, 1.5, 2, 3, 5)), Ladder((1, 3))
_AT = {"attack_x": Free(_RADII, 0.1)}
Found = dict[str, float | None]  # "clean", and the AUCs by their names in WHAT; None where the training collapsed


@dataclass(frozen=True)
class Search:
    """What is searched of a row: the free numbers beside the learning rate, and what decides among accurate ones."""

    free: Mapping[str, Free] = field(default_factory=dict)
    by: str = "auc"
    starts: Mapping[str, float] = field(default_factory=dict)  # other rates to start at than those of `OPTIMISERS`
    beta_of: str = ""  # a row: beta is a tenth of what was best there, so the search waits for that row's

    @property
    def measured(self) -> tuple[str, ...]:
        """What is found of each candidate, whatever it is chosen by."""
        return tuple(what for what in dict.fromkeys(("auc", "certified", self.by)) if what in WHAT)


# One search a row of METHODS.
SEARCHES: dict[str, Search] = {
    # what an undefended network is trained for, and smaller rates for it
    "standard": Search(by="clean", starts={"sgd": 0.1, "adam": 0.005}),
    "weight_perturb": Search({"beta": Free(_WEIGHTS, 0.03)}),
    "at": Search({"attack_x": Free(_RADII, 0.1, always=(0.05, 0.1, 0.15, 0.2, 0.3))}),
    "at_beta_low": Search(_AT, beta_of="at_beta_high"),
    "at_beta_high": Search({**_AT, "beta": Free(_WEIGHTS, 0.03)}),
    "jiwp": Search({"alpha": Free(_WEIGHTS, 0.001), "beta": Free(_WEIGHTS, 0.03)}),
    "joint_at": Search({**_AT, "attack_w": Free(_RATES, 0.01)}),
    "joint_at_own": Search({**_AT, "attack_w": Free(_RATES, 0.005)}, "own"),
    "interval": Search({"xi_x": Free(_RADII, 0.05), "xi_w": Free(_RATES, 0.001)}, "certified"),
    "awp": Search({**_AT, "awp": Free(_RATES, 0.02)}),
    "trades": Search({**_AT, "trades": Free(_WEIGHTS, 3.0)}),
}


# the rule -----------------------------------------------------------------------------------------------------------


def worth(found: Found, by: str, lr: float) -> tuple[int, float]:
    """How good a candidate is: the larger, the better.

    One that is accurate enough is worth what the row is chosen by, and more than any other. Of two others the more
    accurate is better.
    One that collapsed is the worst; of two such the slower is better, so that the climb walks to where nets train.
    """
    if found["clean"] is None:
        return 0, -lr
    if found["clean"] < FLOOR:
        return 1, found["clean"]
    return 2, found[by]


def main_optimiser(aucs: Mapping[str, Sequence[float]]) -> str:
    """The optimiser whose chosen candidates, one a row, have the larger mean AUC; the first of equals."""
    return max(aucs, key=lambda optimiser: fmean(aucs[optimiser]))


def settled(aucs: Mapping[int, Sequence[float]]) -> int | None:
    """The smallest number of epochs from which doubling brings none of these AUCs up by more than `STEADY`.

    >>> settled({4: [0.1, 0.3], 8: [0.1, 0.4], 16: [0.1, 0.4]})
    8
    """
    doubled = ((n, zip(aucs[n], aucs[2 * n], strict=True)) for n in sorted(aucs) if 2 * n in aucs)
    return next((n for n, pairs in doubled if all(after - before <= STEADY for before, after in pairs)), None)


def procedure() -> dict[str, Any]:
    """The rule of the search, as it is recorded beside its table."""
    return {
        "seed": SEED,
        "epochs": EPOCHS,
        "batch": BATCH,
        "clip": CLIP,
        "least clean accuracy": FLOOR,
        "by clean accuracy": [name for name, search in SEARCHES.items() if search.by == "clean"],
        "by certificates": [name for name, search in SEARCHES.items() if search.by == "certified"],
        "by weights of each image's own": [name for name, search in SEARCHES.items() if search.by == "own"],
        "most rungs from a start": REACH,
        "most that doubling the epochs may bring": STEADY,
    }


# how many epochs are enough -----------------------------------------------------------------------------------------


def lengths() -> list[Order]:
    """Three rows, trained for ever longer by both optimisers, the shorter ones first."""
    several = itertools.product(LENGTHS, TRAINED_LONG, LONG_RATES)
    return [Order(_long(name, optimiser, epochs), (WHAT["auc"],)) for epochs, name, optimiser in several]


def _long(name: str, optimiser: str, epochs: int) -> Spec:
    return _spec(name, {"optimiser": optimiser, "lr": LONG_RATES[optimiser], "epochs": epochs, **TRAINED_LONG[name]})


def _of_lengths(store: Path) -> list[dict[str, Any]]:
    """What each of them has come to, of those that this store has."""
    return [
        {"method": order.spec.name, "optimiser": method.optimiser, "lr": method.lr, "epochs": method.epochs, **found}
        for order in lengths()
        if (method := order.spec.method) and (found := _found(order.spec, ("auc",), store))
    ]


def _settled(records: Sequence[Mapping[str, Any]]) -> int | None:
    """The length that these records come to; None where even the longest is not enough, or before all are there."""
    aucs: dict[int, list[float]] = {}
    for record in records:
        aucs.setdefault(record["epochs"], []).append(record["auc"])
    return settled(aucs) if len(records) == len(lengths()) else None


# combinations ------------------------------------------------------------------------------------------------------


def beside() -> list[Order]:
    """The rows of `BESIDE` at the numbers of the table of methods, trained as long as candidates are."""
    return [Order(_with(row, more), tuple(WHAT.values())) for row, more in BESIDE]


def _with(row: str, more: Mapping[str, float]) -> Spec:
    return nsr.runs.spec(row, SEED, epochs=EPOCHS, **more)


def _of_beside(store: Path) -> list[dict[str, Any]]:
    """What each of them has come to, of those that this store has."""
    return [
        {"method": row, "with": more, **found}
        for (row, more), order in zip(BESIDE, beside(), strict=True)
        if (found := _found(order.spec, tuple(WHAT), store))
    ]


# the search, as far as a store has it -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Searched:
    """What the search of one row by one optimiser has come to: every candidate tried, in their order."""

    name: str
    optimiser: str
    climb: Climb
    fixed: dict[str, float]  # the same for all its candidates
    found: dict[Point, Found]
    missing: list[Point]  # what is to be had before it goes on
    best: Point | None  # where it has ended

    @property
    def ended(self) -> bool:
        return self.best is not None

    @property
    def edges(self) -> list[str]:
        """The numbers that may be better still: the search has ended at its limit."""
        return self.climb.edges(self.best) if self.best is not None else []

    @property
    def chosen(self) -> Found | None:
        """What was found of the chosen candidate; there is none where all have collapsed, or before the end."""
        found = self.found.get(self.best)
        return found if found and found["clean"] is not None else None

    def numbers(self, point: Point) -> dict[str, float | str]:
        """The numbers of a candidate that are not the same for all rows."""
        return {"optimiser": self.optimiser, **self.climb.numbers(point), **self.fixed}

    def order(self, point: Point) -> Order:
        """A candidate as a run to be had."""
        return Order(_spec(self.name, self.numbers(point)), tuple(WHAT[w] for w in SEARCHES[self.name].measured))


def _spec(name: str, numbers: Mapping[str, float | str]) -> Spec:
    """The run of a candidate of this search, or of one that is trained longer."""
    common = {"epochs": EPOCHS, "batch": BATCH, "clip": CLIP}
    return nsr.runs.spec(name, SEED, **{**common, **numbers})


def searched(name: str, optimiser: str, store: Path) -> Searched | None:
    """The search as far as this store has its candidates; None where it waits for that of another row."""
    search = SEARCHES[name]
    climb = Climb({"lr": Free(_RATES, search.starts.get(optimiser, OPTIMISERS[optimiser])), **search.free})
    fixed = {}
    if search.beta_of:
        other = searched(search.beta_of, optimiser, store)
        if other is None or other.best is None:
            return None
        fixed["beta"] = float(f"{other.numbers(other.best)['beta'] / 10:g}")
    begun = Searched(name, optimiser, climb, fixed, {}, [], None)

    def look(point: Point) -> tuple[int, float] | None:
        found = _found(begun.order(point).spec, search.measured, store)
        if found is None:
            return None
        begun.found[point] = found
        return worth(found, search.by, climb.numbers(point)["lr"])

    trail = follow(climb, look)
    return replace(begun, missing=trail.missing, best=climb.summit(trail.worths) if trail.ended else None)


def _found(spec: Spec, measured: Sequence[str], store: Path) -> Found | None:
    """None where it is not stored, or was computed by other code: then the sweep is to say so."""
    run = nsr.runs.stored(spec, store)
    if run is None and _has_collapsed(spec, store):
        return dict.fromkeys(("clean", *measured))
    if run is None:
        taken = _noted(store / spec.folder / TAKEN, CODE).get("found", {})
        return taken if {"clean", *measured} <= taken.keys() else None
    if run.stale or not {WHAT[what] for what in measured} <= set(run.contours):
        return None
    return {
        "clean": run.history[-1]["validation"],
        **{what: round(run.contour(WHAT[what]).auc, 4) for what in measured},
    }


def _has_collapsed(spec: Spec, store: Path) -> bool:
    """Whether its training is known to collapse under the present code."""
    return bool(_noted(store / spec.folder / COLLAPSED, TRAINING))


def _noted(note: Path, roles: Sequence[str]) -> dict[str, Any]:
    """What is noted in the place of a run, if that was computed by the present code."""
    known = parsed(note) if note.exists() else {}
    return known if known.get("code") == code_at_first_use(roles, paths.PACKAGE) else {}


def _keep_collapse(spec: Spec, store: Path, reason: str) -> None:
    """A note in the place of the run, so that it is not trained again when the search is taken up."""
    note = {"reason": reason, "code": code_at_first_use(TRAINING, paths.PACKAGE)}
    write_whole(store / spec.folder / COLLAPSED, as_json(note))
    (store / spec.folder / CHECKPOINT).unlink(missing_ok=True)


def take(path: Path, store: Path) -> int:
    """Go on from a record: note in the store what it says of candidates, so that none of them is trained again.

    Nothing is taken from a record by another procedure or by other code. How many were taken is returned.
    """
    known = parsed(path) if path.exists() else {}
    if known.get("procedure") != procedure() or known.get("code") != code_at_first_use(CODE, paths.PACKAGE):
        return 0
    # a candidate may have been one of these as well, of which more is known: it comes last
    for length in known["lengths"]:
        found = {what: length[what] for what in ("clean", "auc")}
        folder = store / _long(length["method"], length["optimiser"], length["epochs"]).folder
        write_whole(folder / TAKEN, as_json({"found": found, "code": known["code"]}))
    for tried in known["beside"]:
        found = {what: tried[what] for what in ("clean", *WHAT)}
        folder = store / _with(tried["method"], tried["with"]).folder
        write_whole(folder / TAKEN, as_json({"found": found, "code": known["code"]}))
    for candidate in known["candidates"]:
        search = SEARCHES[candidate["method"]]
        found = {what: candidate[what] for what in ("clean", *search.measured)}
        folder = store / _spec(candidate["method"], candidate["numbers"]).folder
        write_whole(folder / TAKEN, as_json({"found": found, "code": known["code"]}))
    return sum(len(known[part]) for part in ("candidates", "lengths", "beside"))


# to go on -----------------------------------------------------------------------------------------------------------


def orders(store: Path, names: Sequence[str] = tuple(SEARCHES)) -> list[Order]:
    """The next round of the searches of these rows, and of those they wait for: every candidate that one lacks.

    Where all rows are searched, the trainings of ever more epochs and the combinations beside belong to it.
    """
    asked = {*names, *(SEARCHES[name].beta_of for name in names)}
    found = [searched(name, optimiser, store) for name in SEARCHES if name in asked for optimiser in OPTIMISERS]
    nexts = [search.order(point) for search in found if search for point in search.missing]
    if set(names) == set(SEARCHES):
        nexts += [order for order in lengths() if _found(order.spec, ("auc",), store) is None]
        nexts += [order for order in beside() if _found(order.spec, tuple(WHAT), store) is None]
    return nexts


def run(
    store: Path,
    out: Path,
    client: Client,
    *,
    names: Sequence[str] = tuple(SEARCHES),
    watch: Watch = lambda job, done: None,
    grow: Callable[[int], None] = lambda jobs: None,
) -> Report:
    """Search these rows to their ends, round by round, the table written to `out` after each.

    `grow` hears how many jobs a round adds. A training that collapses is a result and no failure; the search of a row
    that lacks a candidate for another reason stands still, and the others go on.
    """
    whole = Report()
    while due := [order for order in orders(store, names) if order.spec.folder not in whole.failed]:
        grow(sum(order.jobs for order in due))
        report = sweep.run(due, store, client, watch)
        specs = {order.spec.folder: order.spec for order in due}
        for folder, reason in report.failed.items():
            if reason.startswith(f"{CollapseError.__name__}:"):
                _keep_collapse(specs[folder], store, reason)
            else:
                whole.failed[folder] = reason
        whole.finished += report.finished
        write(store, out)
    write(store, out)  # also where nothing was due
    return whole


# the record ---------------------------------------------------------------------------------------------------------


def table(store: Path) -> list[dict[str, Any]]:
    """One record a candidate: its numbers, what was found on the validation images, and whether it was chosen."""
    return record(store)["candidates"]


def record(store: Path) -> dict[str, Any]:
    """The procedure, the searches with how each has ended, their candidates, and the main optimiser once all have."""
    pairs = [(name, optimiser) for name in SEARCHES for optimiser in OPTIMISERS]
    found = {pair: searched(*pair, store) for pair in pairs}
    whole = all(search and search.ended for search in found.values())
    longer = _of_lengths(store)
    return {
        "procedure": procedure(),
        "lengths": longer,
        "epochs that are enough": _settled(longer),
        "beside": _of_beside(store),
        "code": code_at_first_use(CODE, paths.PACKAGE),
        "main optimiser": main_optimiser(_aucs(found)) if whole else None,
        "searches": [_end(*pair, search) for pair, search in found.items()],
        "candidates": [candidate for search in found.values() if search for candidate in _candidates(search)],
    }


def _aucs(found: Mapping[tuple[str, str], Searched]) -> dict[str, list[float]]:
    """optimiser -> the AUC of each row's chosen candidate, 0 where all have collapsed: one attack for all rows."""
    aucs: dict[str, list[float]] = {optimiser: [] for optimiser in OPTIMISERS}
    for (_, optimiser), search in found.items():
        aucs[optimiser].append(search.chosen["auc"] if search.chosen else 0.0)
    return aucs


def _end(name: str, optimiser: str, search: Searched | None) -> dict[str, Any]:
    start = search.numbers(search.climb.start) if search else None
    ended, edges = (search.ended, search.edges) if search else (False, [])
    return {"method": name, "optimiser": optimiser, "start": start, "ended": ended, "edges": edges}


def _candidates(search: Searched) -> list[dict[str, Any]]:
    return [
        {
            "method": search.name,
            "numbers": search.numbers(point),
            **found,
            "chosen": point == search.best and search.chosen is not None,
        }
        for point, found in search.found.items()
    ]


def write(store: Path, path: Path = TABLE) -> dict[str, Any]:
    """The record as JSON."""
    found = record(store)
    write_whole(path, as_json(found))
    return found


def recorded(part: str = "candidates", path: Path = TABLE) -> list[dict[str, Any]]:
    """The candidates as the search has left them, one record each; or its "lengths", or what was tried "beside"."""
    return _known(path)[part]


def chosen(path: Path = TABLE, optimiser: str | None = None) -> dict[str, Method]:
    """The table of methods as the recorded choice has it: by the main optimiser, or by the one that is named."""
    known = _known(path)
    if known["main optimiser"] is None and optimiser is None:
        raise ValueError(f"{path}: the search has not ended, so it has no main optimiser yet; nsr tune goes on with it")
    optimiser, common = optimiser or known["main optimiser"], {n: known["procedure"][n] for n in ("batch", "clip")}
    return {
        r["method"]: replace(METHODS[r["method"]], **common, **r["numbers"])
        for r in known["candidates"]
        if r["chosen"] and r["numbers"]["optimiser"] == optimiser
    }


def other_optimiser(path: Path = TABLE) -> str:
    """The one that the table of methods is not trained by."""
    main = _known(path)["main optimiser"]
    return next(optimiser for optimiser in OPTIMISERS if optimiser != main)


def by_the_other(name: str, path: Path = TABLE) -> dict[str, float | str]:
    """The numbers that the search chose for a row by the other optimiser."""
    other, known = other_optimiser(path), recorded(path=path)
    (found,) = (r for r in known if r["chosen"] and (r["method"], r["numbers"]["optimiser"]) == (name, other))
    return found["numbers"]


def _known(path: Path) -> dict[str, Any]:
    paths.refuse_without_shipped(path, "the records of the search")
    return json.loads(path.read_text())
