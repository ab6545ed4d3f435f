"""Things to touch: what `_static/play_*.js` lets a reader set, as JSON of numbers that are computed here.

The HTML holds no code, and its line of text stands where no script runs, and on paper.
"""

from __future__ import annotations

import json
from dataclasses import replace
from html import escape

from nsr.theory.counterexamples import (
    COUNTEREXAMPLE,
    COUNTEREXAMPLE_JOINT,
    Instance,
    as_text,
    attained,
    corner_maximum,
    printed,
    repaired,
)


def theorem() -> str:
    """The counterexample to Theorem 1 with a slider for each weight, and for the input where its radius is not 0.

    >>> "the margin is 18, the printed bound 16 and the repaired bound 20" in theorem()
    True
    """
    case = COUNTEREXAMPLE
    corner = ", ".join(f"Ŵ^{m} = {as_text(V)}" for m, V in enumerate(case.W_hat, start=1))
    bounds = f"the printed bound {printed(case)} and the repaired bound {repaired(case)}"
    instead = (
        "In the built book, with JavaScript, sliders move the weights and the input inside their radii. "
        f"At {corner} the margin is {attained(case)}, {bounds}."
    )
    found = {"cases": [_case(case), _case(COUNTEREXAMPLE_JOINT)]}
    return _place("theorem", "The counterexample to Theorem 1 with movable weights", found, instead)


def _case(case: Instance) -> dict:
    """The instance in floats, its two bounds, and the lowest and the highest margin at a corner of its ball."""
    return {
        "x": case.x.astype(float).tolist(),
        "W": [W_m.astype(float).tolist() for W_m in case.W],
        "eps_x": float(case.eps_x),
        "eps": [float(e) for e in case.eps],
        "pair": [case.i, case.j],
        "worst": {"x": case.x_hat.astype(float).tolist(), "W": [V.astype(float).tolist() for V in case.W_hat]},
        "printed": float(printed(case)),
        "repaired": float(repaired(case)),
        "range": [-float(corner_maximum(replace(case, i=case.j, j=case.i))), float(corner_maximum(case))],
    }


def _place(kind: str, label: str, found: dict, instead: str) -> str:
    data = json.dumps(found, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    lines = [
        f'<div class="nsr-play" data-play="{kind}" role="group" aria-label="{escape(label)}">',
        f'<script type="application/json">{data}</script>',
        f'<p class="nsr-play-instead">{escape(instead)}</p>',
        "</div>",
    ]
    return "\n".join(lines)
