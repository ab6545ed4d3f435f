"""Things to touch: what `_static/play_*.js` lets a reader set, as JSON of numbers that are computed here.

The HTML holds no code, and its line of text stands where no script runs, and on paper.
"""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import replace
from html import escape

import torch
from torch import Tensor

from nsr import data
from nsr.attack import PAPER
from nsr.network import Network, mlp
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
from nsr.training import METHODS

NETWORKS = (
    "standard",
    "at_beta_high",
    "joint_at",
)  # rows of the table of methods whose shipped run of seed 0 is played
DATASET = "mnist"  # what they were trained on
LARGEST = 2**15 - 1  # of a weight in 16 bits
START = {"digit": 7, "eps_x": 0.02, "eps_w": 0.004}  # neither single attack breaks the first network there, both do
REACH = {"eps_x": (0.3, 0.01), "eps_w": (0.01, 0.0005)}  # the largest radii of Figure 1, and the steps of the sliders


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


def attack() -> str:
    """The paper's joint attack on the first test image of each digit; the networks' weights come from `script`."""
    samples, (paper,) = data.load(DATASET, dtype=torch.float64).test, PAPER.ascents
    first = [int((samples.y == digit).nonzero()[0]) for digit in range(10)]
    pixels = [_in_letters((255 * samples.x[k]).round().to(torch.uint8)) for k in first]
    found = {
        "networks": [{"name": name, "title": METHODS[name].title} for name in NETWORKS],
        "images": [
            {"index": k, "digit": digit, "pixels": x} for digit, (k, x) in enumerate(zip(first, pixels, strict=True))
        ],
        "steps": paper.steps,
        "step_x": paper.step_x,
        "step_w": paper.step_w,
        "start": START,
        "reach": REACH,
    }
    titles = "; ".join(METHODS[name].title for name in NETWORKS)
    instead = (
        "In the built book, with JavaScript, the joint attack runs here on an image and a network of your choice. "
        f"The networks: {titles}. The figures below show what this attack does to other images."
    )
    return _place("attack", "The joint attack on a digit and a network of your choice", found, instead)


def rounded(network: Network) -> Network:
    """The network with its weights in 16 bits, as a page has it: multiples of max |W^m| / 32767, in float64."""
    return mlp(tuple(q.double() * scale for q, scale in map(_whole, network.W)))


def script(name: str, network: Network) -> str:
    """`rounded(network)` as JavaScript: for each matrix its shape, its unit and its multiples as 16-bit integers."""
    layers = []
    for q, scale in map(_whole, network.W):
        layers.append({"shape": list(q.shape), "scale": scale, "multiples": _in_letters(q.to(torch.int16))})
    return f"(window.nsrNetworks ??= {{}})[{json.dumps(name)}] = {json.dumps(layers, separators=(',', ':'))};\n"


def _whole(W_m: Tensor) -> tuple[Tensor, float]:
    """A matrix as whole multiples, and of what."""
    scale = W_m.abs().max().item() / LARGEST or 1.0  # a matrix of zeros has any unit
    return (W_m.double() / scale).round(), scale


def _in_letters(values: Tensor) -> str:
    """The bytes of the numbers, little end first, in base64."""
    content = values.numpy()
    return b64encode(content.astype(content.dtype.newbyteorder("<")).tobytes()).decode()


def _place(kind: str, label: str, found: dict, instead: str) -> str:
    content = json.dumps(found, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    lines = [
        f'<div class="nsr-play" data-play="{kind}" role="group" aria-label="{escape(label)}">',
        f'<script type="application/json">{content}</script>',
        f'<p class="nsr-play-instead">{escape(instead)}</p>',
        "</div>",
    ]
    return "\n".join(lines)
