"""What stored runs allow one to say: a difference beside the spread over seeds, the best row, a target met.

Seeds are few, often one. So a difference counts as seen only where the spread over seeds could not have made it, and
one seed against one seed decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

import nsr.runs
from nsr.data import Split
from nsr.runs import Run, Spec
from nsr.study.select import Runs, aucs, having, scores
from nsr.study.statistics import Difference, Estimate, difference, estimate, next_seed
from nsr.training import Method

Group = tuple[Run, ...]  # runs that differ in their seeds alone
Ladder = Mapping[str, Group]  # what a number was set to -> the runs that have it so

# a number of `Method` -> what a reader calls it; those that are words already are not listed
WORDS = {
    "alpha": "weight alpha of the input term",
    "beta": "weight beta of the weight term",
    "xi_x": "input radius of the bound",
    "xi_w": "weight radius of the bound",
    "attack_x": "input radius in training",
    "attack_w": "weight radius in training",
    "attack_steps": "steps of the training attack",
    "images_per_W": "images that share one weight set",
    "trades": "weight of the KL term",
    "awp": "share of AWP",
    "certified": "share of the certified loss",
    "lr": "learning rate",
    "ramp": "share of training in which radii grow",
    "batch": "batch size",
    "clip": "largest gradient norm",
    "sizes": "hidden widths",
}


# ladders ------------------------------------------------------------------------------------------------------------


def numbers(spec: Spec) -> dict[str, Any]:
    """What decides a run, the seed apart, without what other numbers switch off."""
    m = spec.method
    known = {"dataset": spec.dataset, "sizes": spec.sizes, "images": spec.images, **asdict(m)}
    terms, attacked = m.alpha or m.beta, m.attack_x or m.attack_w
    idle = {
        "title": True,
        "bound": not terms,
        "xi_x": not (m.alpha or m.certified),
        "xi_w": not (terms or m.certified),
        "attack_steps": not attacked,
        "ramp": not (terms or attacked or m.certified or m.awp),
        "momentum": m.optimiser != "sgd",
        "norm": not m.norm_decay,
    }
    return {name: value for name, value in known.items() if not idle.get(name, False)}


def changes(spec: Spec, reference: Spec | None = None) -> dict[str, tuple[Any, Any]]:
    """The numbers in which two runs differ, (here, there); without `reference` against the row of the table.

    What one of the two has switched off follows from another number and is left out.
    """
    here, there = numbers(spec), numbers(reference or nsr.runs.spec(spec.name, spec.seed))
    return {name: (here[name], there[name]) for name in here if here[name] != there.get(name, here[name])}


def ladder(runs: Iterable[Run], rows: Sequence[str], *fields: str) -> dict[str, Group]:
    """The runs of these rows, as the table has them or with nothing but `fields` changed, by the values of these.

    Numbers rise; of words, those of the table come first.
    """
    found: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        changed = set(changes(run.spec))
        if run.spec.name in rows and changed <= set(fields):
            values = tuple({**asdict(run.spec.method), "sizes": run.spec.sizes}[field] for field in fields)
            first = values[0] if isinstance(values[0], float | int) else 0
            found.setdefault((first, bool(changed), str(values), values), []).append(run)
    return {
        " ".join(map(_word, key[-1])): tuple(sorted(found[key], key=lambda run: run.spec.seed)) for key in sorted(found)
    }


def _word(value: Any) -> str:
    if isinstance(value, tuple):  # of layers: input and output are as the data want them
        return "-".join(map(str, value[1:-1]))
    if isinstance(value, float):
        return f"{value:g}"
    return {"sgd": "SGD", "adam": "Adam"}.get(value, str(value))


def rung_of(ladder: Ladder, row: str) -> str:
    """The rung that holds this row of the table as it stands."""
    own = [name for name, group in ladder.items() if group[0].spec.name == row and not changes(group[0].spec)]
    if not own:
        raise ValueError(f"none of the rungs {', '.join(ladder)} is the row {row!r} as the table has it")
    return own[0]


def weight_size(run: Run) -> float:
    """The mean over the layers of mean|W^m|: what an absolute weight radius is large or small against."""
    return float(np.mean([float(W_m.abs().mean()) for W_m in run.network.W]))


def rungs(ladder: Ladder, reference: str, *fields: str, contour: str = "paper") -> pd.DataFrame:
    """A ladder as a table: for each rung its seeds, clean accuracy, mean size of the weights, AUC, difference.

    Where a rung differs from the reference in other numbers than `fields`, one more column names them.
    """
    found, base = {}, list(aucs(ladder[reference], contour).values())
    others = confounds(ladder, reference, *fields) if fields else {}
    for name, group in ladder.items():
        values = list(aucs(group, contour).values())
        if not values:
            continue
        found[name] = {
            "seeds": len(values),
            "AUC": str(estimate(values)),
            "difference (seed spread)": "the reference" if name == reference else difference(values, base).brief,
            "clean (%)": f"{100 * np.mean([run.contour(contour).clean for run in having(group, contour)]):.1f}",
            "mean |W|": f"{np.mean([weight_size(run) for run in group]):.4f}",
        }
        if others:
            found[name]["differs in other numbers"] = others.get(name, "")
    return pd.DataFrame(found).T


def confounds(ladder: Ladder, reference: str, *fields: str) -> dict[str, str]:
    """In which numbers, other than `fields`, each rung differs from the reference; rungs that do not are left out."""
    found = {}
    for name, group in ladder.items():
        changed = changes(group[0].spec, ladder[reference][0].spec)
        others = [
            f"{WORDS.get(what, what)} {_word(here or 'none')} instead of {_word(there or 'none')}"
            for what, (here, there) in changed.items()
            if what not in fields
        ]
        found |= {name: ", ".join(others)} if others else {}
    return found


def values(ladder: Ladder, contour: str) -> dict[str, list[float]]:
    """The AUCs of each rung that has this contour, one a seed."""
    return {name: list(by_seed.values()) for name, by_seed in scores(ladder, contour).items()}


def band(ladder: Ladder, row: str, contour: str) -> tuple[str, tuple[float, float]]:
    """The rung that is this row of the table, and where one more seed of it would fall."""
    reference = rung_of(ladder, row)
    return reference, next_seed(values(ladder, contour)[reference])


def verdicts(ladder: Ladder, row: str, contour: str) -> dict[str, Difference]:
    """Every other rung against the one that is this row of the table."""
    found, reference = values(ladder, contour), rung_of(ladder, row)
    return {name: difference(group, found[reference]) for name, group in found.items() if name != reference}


def outside(verdicts: Mapping[str, Mapping[str, Difference]]) -> list[str]:
    """The names, ladder and rung, of the differences that the seeds could not have brought."""
    return [f"{name} = {rung}" for name, found in verdicts.items() for rung, d in found.items() if d.seen]


# the best, and targets ----------------------------------------------------------------------------------------------


def clean(runs: Group, test: Split) -> Estimate:
    """The share of all these samples that the networks classify rightly, over seeds."""
    return estimate(float((run.network(test.x).argmax(1) == test.y).double().mean()) for run in runs)


def over_seeds(runs: Runs, contour: str) -> dict[str, Estimate]:
    """The AUC of every row that has this contour, over its seeds."""
    return {name: estimate(by_seed.values()) for name, by_seed in scores(runs, contour).items()}


def best(runs: Runs, contour: str, accuracy: Mapping[str, Estimate], least: float = 0.0) -> tuple[str, Estimate] | None:
    """The row with the largest mean AUC among those whose mean clean accuracy is at least this, if there is one."""
    fit = {name: found for name, found in over_seeds(runs, contour).items() if accuracy[name].mean >= least}
    return max(fit.items(), key=lambda item: item[1].mean) if fit else None


def target(found: Estimate | None, least: float) -> dict[str, Any]:
    """A number that was to be reached, written down before it was measured, and what was found, if anything was."""
    if found is None:
        return {"found": "not measured", "seeds": 0, "target": least, "verdict": "not measured"}
    verdict = "reached" if found.mean >= least else f"missed by {least - found.mean:.3f}"
    return {"found": str(found), "seeds": len(found.values), "target": least, "verdict": verdict}


def entry(runs: Group, found: Estimate, accuracy: Estimate) -> dict[str, Any]:
    """One of the numbers to beat: what was reached, by whom, from how many seeds, at what price."""
    seconds = np.mean([run.seconds for run in runs])
    who = {"method": runs[0].spec.method.title, "AUC": str(found), "seeds": len(found.values)}
    return who | {"clean (%)": f"{100 * accuracy.mean:.1f}", "training (s a seed)": f"{seconds:.0f}"}


def recipe(method: Method) -> dict[str, str]:
    """The numbers of a row that are switched on, by what a reader calls them."""
    found = numbers(nsr.runs.Spec(name="standard", method=asdict(method), seed=0))
    shown = {name: value for name, value in found.items() if value and name not in ("dataset", "sizes")}
    return {WORDS.get(name, name): _word(value) for name, value in shown.items()}
