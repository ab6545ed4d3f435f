"""How the numbers in the table of methods were chosen: on validation images, by one written procedure.

Every candidate of a row is trained once, for a few epochs, from one seed that no reported run uses. Of those that
classify at least `FLOOR` of the validation images (the most accurate one if none does), the one with the largest joint
AUC on validation images wins, under a brief attack that does not see the network's scale; rows made for certificates
are chosen by their certified AUC. Test images are never looked at.

The rule was fixed first, the list of candidates was not: after validation results of the first ones, the setting that
won for `at` was added to AT+beta, to `joint_at` a smaller input radius, to `jiwp` a higher rate, and the lists of
`interval`, `awp` and `trades` were replaced before any candidate of theirs had been measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dask.distributed import Client

import nsr.runs
from nsr import paths
from nsr.files import write_whole
from nsr.runs import Run, sweep
from nsr.runs.sweep import Order, Report, Watch
from nsr.training import METHODS, Method

SEED, EPOCHS, FLOOR = 100, 6, 0.95
TABLE = paths.DATA / "tuning.json"
MEASURED = ("validation", "validation_certified")
BY_CERTIFICATES = {"interval"}

_LOW, _HIGH = {"optimiser": "sgd", "lr": 0.1}, {"optimiser": "sgd", "lr": 0.2}
_ADAM = {"optimiser": "adam", "lr": 0.01}
_AT = ({**_LOW, "attack_x": 0.2}, {**_HIGH, "attack_x": 0.2}, {**_ADAM, "attack_x": 0.1})
CANDIDATES: dict[str, Sequence[Mapping[str, float | str]]] = {
    "standard": [{**_LOW, "lr": 0.05}, _LOW, _HIGH],
    "weight_perturb": [{**rate, "beta": beta} for rate in (_LOW, _HIGH) for beta in (0.03, 0.1)],
    "at": [{**rate, "attack_x": eps} for rate in (_LOW, _HIGH, _ADAM) for eps in (0.1, 0.2)],
    "at_beta_low": [{**setting, "beta": beta} for setting in _AT for beta in (0.001, 0.003)],
    "at_beta_high": [{**setting, "beta": beta} for setting in _AT for beta in (0.01, 0.03)],
    "jiwp": [
        *({**_LOW, "alpha": alpha, "beta": beta} for alpha in (0.0003, 0.001) for beta in (0.03, 0.1)),
        *({**_HIGH, "alpha": alpha, "beta": 0.03} for alpha in (0.0003, 0.001)),
    ],
    "joint_at": [
        *({**_ADAM, "lr": lr, "attack_x": 0.2, "attack_w": eps} for lr in (0.005, 0.01) for eps in (0.005, 0.01)),
        *({**_ADAM, "attack_x": 0.1, "attack_w": eps} for eps in (0.005, 0.01)),
    ],
    "interval": [
        {**rate, "xi_x": eps_x, "xi_w": eps_w}
        for rate in (_HIGH, {"optimiser": "adam", "lr": 0.003})
        for eps_x, eps_w in ((0.05, 0.001), (0.1, 0.002))
    ],
    "awp": [{**_AT[-1], "awp": radius} for radius in (0.005, 0.02)],
    "trades": [{**_AT[-1], "trades": weight} for weight in (3.0, 6.0)],
}


def orders(names: Sequence[str] = tuple(CANDIDATES)) -> list[Order]:
    """Every candidate of these rows, as a run to be had."""
    return [
        Order(nsr.runs.spec(name, SEED, **{**change, "epochs": EPOCHS}), MEASURED)
        for name in names
        for change in CANDIDATES[name]
    ]


def run(store: Path, client: Client, watch: Watch = lambda job, done: None) -> Report:
    """Train and measure every candidate that `store` does not have."""
    return sweep.run(orders(), store, client, watch)


def procedure() -> dict[str, Any]:
    """The rule of the search, as it is recorded beside its table."""
    return {
        "seed": SEED,
        "epochs": EPOCHS,
        "least clean accuracy": FLOOR,
        "by certificates": sorted(BY_CERTIFICATES),
    }


def table(store: Path) -> list[dict[str, Any]]:
    """One record a candidate: its numbers, what was found on the validation images, and whether it was chosen."""
    return [record for name in CANDIDATES for record in _row(name, store)]


def _row(name: str, store: Path) -> Iterator[dict[str, Any]]:
    records = []
    for change, order in zip(CANDIDATES[name], orders([name]), strict=True):
        run = nsr.runs.stored(order.spec, store)
        whole = run is not None and set(MEASURED) <= set(run.contours)
        found = _found(run) if whole else {"clean": None, "auc": None, "certified": None}
        records.append({"method": name, "numbers": dict(change), **found, "chosen": False})
    fit = [r for r in records if r["clean"] is not None]
    criterion = "certified" if name in BY_CERTIFICATES else "auc"
    accurate = [r for r in fit if r["clean"] >= FLOOR]
    if fit:
        best = max(accurate, key=lambda r: r[criterion]) if accurate else max(fit, key=lambda r: r["clean"])
        best["chosen"] = True
    return iter(records)


def _found(run: Run) -> dict[str, float]:
    return {
        "clean": run.history[-1]["validation"],
        "auc": round(run.contour("validation").auc, 4),
        "certified": round(run.contour("validation_certified").auc, 4),
    }


def write(store: Path, path: Path = TABLE) -> list[dict[str, Any]]:
    """The table as JSON, with the procedure beside it."""
    records = table(store)
    write_whole(path, (json.dumps({"procedure": procedure(), "candidates": records}, indent=1) + "\n").encode())
    return records


def recorded(path: Path = TABLE) -> list[dict[str, Any]]:
    """The candidates as the search has left them, one record each."""
    return json.loads(path.read_text())["candidates"]


def chosen(path: Path = TABLE) -> dict[str, Method]:
    """The table of methods as the recorded choice has it."""
    records = recorded(path)
    return {r["method"]: replace(METHODS[r["method"]], **r["numbers"]) for r in records if r["chosen"]}
