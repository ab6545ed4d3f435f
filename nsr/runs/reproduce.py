"""Everything from nothing: the runs of the book, or a small version of them, compared with what is shipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

import nsr.runs
from nsr import paths
from nsr.files import as_json, write_whole
from nsr.runs import companions, tuning
from nsr.runs.sweep import Order
from nsr.training import BEYOND, METHODS, PANELS

QUICK = paths.DATA / "quick.json"  # AUC and clean accuracy of the quick runs, as they were when this was written
TOLERANCE = 0.05  # of an AUC or an accuracy: what another processor's rounding was seen to move, and room
_QUICK_NUMBERS = {"images": 10_000, "epochs": 5}
SCALES = ("quick", "paper", "companions")
SEEDS = range(5)
FEWER = range(3)  # seeds of what is dear to measure, or decides no more than whether a claim depends on it
SHOWN = (*PANELS, "joint_at")  # rows of Figure 1 and the one it is held against: those that the claims speak of
Numbers = dict[str, dict[str, Annotated[float, Field(ge=0, le=1)]]]  # run -> what -> its value
_WHAT = ("validation accuracy", "AUC")  # of a quick run


@dataclass(frozen=True)
class Agreement:
    """One number of a reproduced run beside the shipped one."""

    run: str
    what: str
    ours: float
    reference: float

    @property
    def agrees(self) -> bool:
        return abs(self.ours - self.reference) <= TOLERANCE


def orders(scale: str) -> list[Order]:
    """What a scale computes: all rows of one seed before the next seed."""
    if scale == "quick":
        return [Order(nsr.runs.spec(name, 0, **_QUICK_NUMBERS), ("quick",)) for name in METHODS]
    if scale == "companions":
        return companions.orders()
    if scale != "paper":
        raise ValueError(f"unknown scale {scale!r}: choose one of {', '.join(SCALES)}")
    rows = (*PANELS, *BEYOND)
    plain = [_orders(rows, seed, "paper", "strong", "certified") for seed in SEEDS]
    own = [_orders(rows, seed, "per_sample") for seed in SEEDS]
    relative = [_orders(rows, seed, "relative") for seed in FEWER]
    small = [_orders(("weight_perturb", "at_beta_high", "joint_at", "interval"), seed, "small") for seed in FEWER]
    full = [_orders(PANELS, seed, "full") for seed in FEWER]
    truth = _orders(rows, 0, "tight", "own", "exact")
    many = [_orders(("interval",), seed, "own_many", "exact_many") for seed in FEWER]
    return list(chain(*plain, *own, *relative, otherwise(), ablations(), *small, truth, *many, *full))


def _orders(names: Sequence[str], seed: int, *measurements: str) -> list[Order]:
    return [Order(nsr.runs.spec(name, seed), measurements) for name in names]


def otherwise() -> list[Order]:
    """All rows by the other optimiser, with the numbers that the search chose for it."""
    several = ((name, seed, tuning.by_the_other(name)) for seed in FEWER for name in (*PANELS, *BEYOND))
    return [Order(nsr.runs.spec(name, seed, **numbers), ("paper", "certified")) for name, seed, numbers in several]


def ablations() -> list[Order]:
    """One number of one row changed at a time: from three seeds where a claim hangs on it, else from one."""
    decisive = [
        ("joint_at", {"attack_x": 0.0}),
        ("at", {"attack_x": 0.2}),
        *((name, {"optimiser": "adam", "lr": 0.001}) for name in ("standard", "at")),
    ]
    others = [
        *(("at_beta_high", {"bound": bound}) for bound in ("repaired", "interval")),
        ("at", {"sizes": (784, 64, 64, 64, 64, 10)}),
    ]
    fast = [Order(nsr.runs.spec("standard", seed, lr=0.05), ("paper", "strong")) for seed in FEWER]
    return [
        *fast,  # at the rate of the largest joint AUC on validation images, where the paper's attack is blind
        *(Order(nsr.runs.spec(name, seed, **change), ("paper",)) for seed in FEWER for name, change in decisive),
        *(Order(nsr.runs.spec(name, 0, **change), ("paper",)) for name, change in others),
    ]


def reference(scale: str) -> Numbers:
    """What the runs of a scale are compared with, checked before anything is computed."""
    paths.refuse_without_checkout("the reference numbers")
    if scale != "quick":
        return numbers(scale, paths.COMPANIONS if scale == "companions" else paths.SHIPPED)
    try:
        found = TypeAdapter(Numbers).validate_json(QUICK.read_bytes(), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = " of ".join(str(part) for part in reversed(first["loc"])) or "content"
        raise ValueError(
            f"{QUICK}: {place:.80}: {first['msg']}; git checkout -- data/quick.json brings it back"
        ) from None
    ours = {order.spec.name for order in orders(scale)}
    if other := sorted(ours ^ found.keys()) or [run for run, of in found.items() if of.keys() != set(_WHAT)]:
        raise ValueError(
            f"{QUICK}: {other[0]:.80}: is missing, unknown or not whole; git checkout -- data/quick.json brings it back"
        )
    return found


def numbers(scale: str, store: Path) -> Numbers:
    """Clean accuracy and AUCs of the runs of this scale that a store has: the quick ones by the name of their row."""
    specs = {order.spec.folder: order.spec for order in orders(scale)}
    runs = filter(None, (nsr.runs.stored(spec, store) for spec in specs.values()))
    if scale == "quick":
        return {run.spec.name: _of(run, {"AUC": "quick"}) for run in runs if "quick" in run.contours}
    return {run.folder.name: _of(run, {f"AUC {name}": name for name in run.contours}) for run in runs}


def _of(run: nsr.runs.Run, contours: dict[str, str]) -> dict[str, float]:
    aucs = {what: round(run.contour(name).auc, 4) for what, name in contours.items()}
    return {"validation accuracy": run.history[-1]["validation"], **aucs}


def compare(ours: Numbers, reference: Numbers) -> list[Agreement]:
    """Every number that both have, beside each other."""
    return [
        Agreement(run, what, ours[run][what], value)
        for run, known in reference.items()
        for what, value in known.items()
        if what in ours.get(run, {})
    ]


def write_reference(store: Path, path: Path = QUICK) -> None:
    """Make the quick runs of this store the reference."""
    write_whole(path, as_json(numbers("quick", store)))
