"""What the text at hand does not state: our choice, why, what else was tried, and whether a verdict changes with it.

The values are read from the code, the verdicts from the ledger. Every place of the code that is tagged as unstated
belongs to one row.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from nsr.contour import BRIEF, FULL
from nsr.runs import tuning
from nsr.runs.specification import SIZES
from nsr.study import claims
from nsr.study.claims.numbers import TITLES
from nsr.training import METHODS
from nsr.training.regularisers import MOMENTUM

NOT_ASKED = "not asked"
HEAD = ("Choice", "Our value", "Reason", "Alternatives tried", "Does a verdict change?", "Where")


@dataclass(frozen=True)
class Choice:
    """One row; `tag` is the module below nsr/ and the first words of the tag there."""

    what: str
    value: str
    reason: str
    tried: str
    verdict: str
    tag: tuple[str, str]

    @property
    def row(self) -> tuple[str, ...]:
        return self.what, self.value, self.reason, self.tried, self.verdict, f"`nsr/{self.tag[0]}`"


def choices() -> tuple[Choice, ...]:
    """The whole table: the experiment first, then the tests of the claims."""
    return (*_experiment(), *_tests())


def _experiment() -> tuple[Choice, ...]:
    widths = "-".join(map(str, SIZES[1:-1]))
    candidates, at = len(tuning.recorded()), METHODS["at"]
    trained = f"{depends('how the nets were trained')}, by the optimiser"
    return (
        Choice(
            "data set and widths",
            f"MNIST, hidden layers {widths}",
            "small enough to decide images exactly",
            "hidden layers 64-64-64-64 for AT (chapter 10); Fashion-MNIST and a convolutional network (chapter 16)",
            "chapter 16 decides the claims there, on terms of its own",
            ("runs/specification.py", "unstated, we chose these widths"),
        ),
        Choice(
            "first weights",
            "He's normal initialisation",
            "the usual one for ReLU",
            "none",
            NOT_ASKED,
            ("network.py", "unstated, we chose He's"),
        ),
        Choice(
            "optimiser",
            f"{TITLES[METHODS['standard'].optimiser]}, with a cosine schedule",
            "the one with the larger mean AUC over all rows on validation images",
            "the other one, for Figure 1's rows and Joint AT (chapter 9); rates (chapter 10)",
            trained,
            ("training/loop.py", "unstated, we chose SGD"),
        ),
        Choice(
            "numbers of the training",
            "a row of the table of methods each",
            "the best candidate on validation images",
            f"{candidates} candidates (chapter 5), some numbers one at a time (chapter 10)",
            NOT_ASKED + " beyond the optimiser",
            ("training/methods.py", "unstated, every number below"),
        ),
        Choice(
            "attack during training",
            f"{at.attack_steps} steps, random start, pixels in [0, 1]",
            "the usual one for adversarial training",
            f"an input radius of 0.2 instead of {at.attack_x:g} for AT (chapter 10)",
            NOT_ASKED,
            ("training/loop.py", "unstated, we chose Madry's"),
        ),
        Choice(
            "momentum of the norm decay",
            f"{MOMENTUM:g}",
            "that of SGD, which trains the runs with norm decay",
            "none",
            "no claim uses it",
            ("training/regularisers.py", "unstated in the text at hand"),
        ),
        Choice(
            "box of the inputs, and whom one weight set serves",
            "pixels stay in [0, 1], one weight set for all images",
            "a model is stored once",
            "a weight set for each image (chapters 6, 8 and 9)",
            depends("whom one weight attack serves"),
            ("attack/joint.py", "unstated, we chose to keep x"),
        ),
        Choice(
            "ranges of the axes, number of images",
            f"input radius up to {FULL.grid_x[-1]:g}, weight radius up to {FULL.grid_w[-1]:g}; {FULL.images:,} images, "
            f"{BRIEF.images} under other attacks",
            f"{FULL.grid_x[-1] / METHODS['at'].attack_x:g} times the input radius of adversarial training: "
            "accuracy has room to fall",
            "shorter ranges, 6 x 6 radii with fewer images (chapter 8)",
            NOT_ASKED + "; chapter 8 has the order of the methods over shorter ranges",
            ("contour/contour.py", "unstated, we chose both ranges"),
        ),
        Choice(
            "area under a contour",
            "trapezoid rule, divided by the area of the grid",
            "a mean accuracy between 0 and 1",
            "none",
            NOT_ASKED,
            ("contour/contour.py", "unstated how AUC"),
        ),
    )


def _tests() -> tuple[Choice, ...]:
    rules, where = claims.Rules(), "study/claims/verdict.py"
    rows = {
        "slight": ("C2: only slightly better", "at most {:.0%} of AT's gain", (0.1, 0.5), "unstated how little"),
        "kept": ("C3: vulnerable", "less than {:.0%} of clean accuracy left", (0.25, 0.75), "unstated when a model"),
        "near": ("C5b: about 24%", "within {:.0%} of AT's AUC", (0.05, 0.15), "unstated how near"),
        "accurate": ("C8: fails", "clean accuracy below {:.0%}", (0.8, 0.95), "unstated when a min-max"),
    }
    runs = claims.shelf()
    before = claims.ledger(runs, rules)
    found = []
    for name, (what, words, others, tag) in rows.items():
        value, tried = getattr(rules, name), ", ".join(f"{other:g}" for other in others)
        changed = []
        for other in others:
            after = claims.ledger(runs, replace(rules, **{name: other}))
            changed += [f"{c}: {row.words} with {other:g}" for c, row in after.items() if row.words != before[c].words]
        verdict = "yes, " + "; ".join(changed) if changed else "no"
        found.append(
            Choice(what, words.format(value), "a round number, fixed before the runs", tried, verdict, (where, tag))
        )
    return tuple(found)


def depends(factor: str) -> str:
    """The claims whose verdict depends on this, as the ledger in `data/claims.json` has it."""
    ledger = json.loads(claims.SHIPPED.read_text())["claims"]
    names = [claim["name"] for claim in ledger if factor in claim["depends on"]]
    return f"yes, {' and '.join(names)}" if names else "no"
