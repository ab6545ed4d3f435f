"""Everything from nothing: the runs of the book, or a small version of them, compared with what is shipped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

import nsr.runs
from nsr import paths
from nsr.files import write_whole
from nsr.runs.sweep import Order
from nsr.training import BEYOND, METHODS, PANELS

QUICK = paths.DATA / "quick.json"  # AUC and clean accuracy of the quick runs, as they were when this was written
TOLERANCE = 0.05  # of an AUC or an accuracy: what another processor's rounding was seen to move, and room
_QUICK_NUMBERS = {"images": 10_000, "epochs": 5}
SCALES = ("quick", "paper")
WHAT = ("validation accuracy", "AUC")  # the numbers of a quick run


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
    if scale != "paper":
        raise ValueError(f"unknown scale {scale!r}: choose one of {', '.join(SCALES)}")
    plain = [_orders(_rows(seed), seed, "paper", "certified") for seed in range(5)]
    strong = [_orders(_rows(seed), seed, "strong") for seed in range(3)]
    relative = [_orders(_rows(seed), seed, "relative") for seed in range(3)]
    per_sample = [_orders((*PANELS, *BEYOND), seed, "per_sample") for seed in range(3)]
    small = [_orders(("weight_perturb", "at_beta_high", "joint_at", "interval"), seed, "small") for seed in range(3)]
    full = [_orders(PANELS, seed, "full") for seed in range(3)]
    return list(chain(*plain, ablations(), *strong, *relative, *per_sample, *small, *full))


def _orders(names: Sequence[str], seed: int, *measurements: str) -> list[Order]:
    return [Order(nsr.runs.spec(name, seed), measurements) for name in names]


def _rows(seed: int) -> tuple[str, ...]:
    return (*PANELS, *BEYOND) if seed < 3 else PANELS


def ablations() -> list[Order]:
    """One number of one row changed at a time: from three seeds where a claim hangs on it, else from one."""
    decisive = [
        ("joint_at", {"attack_x": 0.0}),
        ("at", {"optimiser": "sgd", "lr": 0.2}),
        *((name, {"optimiser": "adam", "lr": 0.001}) for name in ("standard", "at")),
    ]
    others = [
        *(("at_beta_high", {"bound": bound}) for bound in ("repaired", "interval")),
        ("at", {"attack_x": 0.2}),
        ("at", {"sizes": (784, 64, 64, 64, 64, 10)}),
    ]
    return [
        *(Order(nsr.runs.spec(name, seed, **change), ("paper",)) for seed in range(3) for name, change in decisive),
        *(Order(nsr.runs.spec(name, 0, **change), ("paper",)) for name, change in others),
    ]


def reference() -> dict[str, dict[str, float]]:
    """The numbers of the quick runs as they were, by method; a file of another shape is refused."""
    paths.refuse_without_checkout("the reference numbers")
    share = Annotated[float, Field(ge=0, le=1)]
    try:
        found = TypeAdapter(dict[str, dict[str, share]]).validate_json(QUICK.read_bytes(), strict=True)
        odd = {*found} ^ {*METHODS} or {what for row in found.values() for what in {*row} ^ {*WHAT}}
    except (ValidationError, OSError) as error:
        odd = {" ".join(str(error).split())[:120]}
    if odd:
        raise ValueError(f"{QUICK}: is not the reference ({', '.join(sorted(odd))}); git checkout -- data/quick.json")
    return found


def compare(scale: str, store: Path) -> list[Agreement]:
    """Every number of the reproduced runs beside the reference, for the runs that both have."""
    if scale == "quick":
        ours = _numbers(scale, store)
        return [
            Agreement(run, what, ours[run][what], value)
            for run, numbers in reference().items()
            for what, value in numbers.items()
            if run in ours
        ]
    paths.refuse_without_checkout("the shipped runs")
    found = []
    for spec in {order.spec.folder: order.spec for order in orders(scale)}.values():
        run, known = nsr.runs.stored(spec, store), nsr.runs.stored(spec, paths.SHIPPED)
        if run and known:
            found.append(
                Agreement(spec.folder, "validation accuracy", *(r.history[-1]["validation"] for r in (run, known)))
            )
            names = [name for name in run.contours if name in known.contours]
            found += [Agreement(spec.folder, f"AUC {n}", run.contour(n).auc, known.contour(n).auc) for n in names]
    return found


def _numbers(scale: str, store: Path) -> dict[str, dict[str, float]]:
    runs = [nsr.runs.stored(order.spec, store) for order in orders(scale)]
    return {
        run.spec.name: {
            "validation accuracy": run.history[-1]["validation"],
            "AUC": round(run.contour("quick").auc, 4),
        }
        for run in runs
        if run is not None and "quick" in run.contours
    }


def write_reference(store: Path, path: Path = QUICK) -> None:
    """Make the quick runs of this store the reference."""
    write_whole(path, (json.dumps(_numbers("quick", store), indent=1) + "\n").encode())
