"""The figures of chapter 2: what each step of the derivation adds to the bound, and where its last step is false."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from nsr.figures.style import BLUE, GREY, MARKERS, rows, subplots
from nsr.theory.derivation import Stage, Step

CHAPTER = 2
# the equations of the chapter in their order, which gives them their numbers
EQUATIONS = (
    *("split", "brackets", "first-hoelder", "first-rows", "first-lipschitz", "first-norm", "first-ball", "tau"),
    *("second-identity", "second-parts", "second-hoelder", "second-rows", "second-lipschitz", "second-triangle"),
    *("second-norm", "second-ball", "second-recursion", "telescoped", "star", "false", "zeta", "counterexample"),
)
RED = "#C00000"
WIDTH, SMALL = 5.2, 9.3  # inches, points: what is shown on 4.5 inches is still legible


def growth(change: Tensor, stages: Sequence[Stage], stars: Sequence[Step]) -> Figure:
    """From the margin's true change to the printed bound, medians over the samples; below, the false step enlarged.

    `change` [B] is what all of it starts from; `stars` are the lines of h*, one for each hidden layer.
    """
    height = 0.27 * (len(stages) + 2)
    size = (WIDTH, height + 0.5 * len(stars) + 1.6)
    figure, ((above,), (below,)) = subplots(2, 1, size, height_ratios=[height, 0.5 * len(stars)])
    above.set_xscale("log")
    _waterfall(above, change, stages)
    above.set(xlabel="bound on the margin's change (logits)")
    _enlarged(below, stars)
    return figure


def exact_steps(change: Tensor, stages: Sequence[Stage]) -> Figure:
    """The same steps on a net where they lose nothing, from zero: how far the last one falls below the truth."""
    figure, ((ax,),) = subplots(size=(WIDTH, 0.27 * (len(stages) + 2) + 0.8))
    _waterfall(ax, change, stages)
    truth = float(change.median())
    ax.axvline(truth, color="0.3", linewidth=1, linestyle="--", zorder=3)
    ax.set(xlim=(0, 1.04 * max(truth, *(float(stage.total.median()) for stage in stages))))
    ax.set_xlabel("bound on the margin's change (logits)")
    return figure


def _waterfall(ax: Axes, change: Tensor, stages: Sequence[Stage]) -> None:
    """A row a stage: pale what the stages above give, blue what it adds, hatched red what the last one changes."""
    total = [float(value.median()) for value in (change, *(stage.total for stage in stages))]
    steps = list(zip(total[:-1], total[1:], strict=True))
    last, start = len(stages), 0.5 * min(total)
    for at, value in ((0, total[0]), (last + 1, total[-1])):
        ax.barh(at, value, color=GREY, height=0.72)
    for at, (before, after) in enumerate(steps, start=1):
        inside, edge, hatch = ("white", RED, "////") if at == last else (BLUE, BLUE, "")
        low, high = sorted((before, after))
        ax.barh(at, low, color="0.88", height=0.72)
        if high > low:  # else only an edge would be drawn
            ax.barh(at, high - low, left=low, color=inside, edgecolor=edge, hatch=hatch, height=0.72)
    rows(ax, ["true change of the margin", *(stage.name for stage in stages), "printed bound"])
    told = [
        f"× {after / before:.2f}  ({_numbers(stage)})" for (before, after), stage in zip(steps, stages, strict=True)
    ]
    for at, words in enumerate((_short(total[0]), *told, _short(total[-1]))):
        _beside(ax, at, words, RED if at == last else "black")
    ax.get_yticklabels()[last].set_color(RED)
    _style(ax)
    ax.set_xlim(start, 1.2 * max(total))


def _enlarged(ax: Axes, stars: Sequence[Step]) -> None:
    """||h^{k*}||_1 over the true mass for every sample and layer; what lies below 1 is red and counted."""
    spread = np.random.default_rng(0)
    for at, step in enumerate(stars):
        ratio, holds = step.slack, step.holds
        heights = torch.from_numpy(at + spread.uniform(-0.28, 0.28, len(ratio)))
        faint = {"markersize": 2.5, "alpha": 0.35, "markeredgewidth": 0, "gid": "holds"}
        ax.plot(ratio[holds], heights[holds], MARKERS[0], color=BLUE, **faint)
        ax.plot(ratio[~holds], heights[~holds], "X", color=RED, markersize=6, markeredgecolor="white", gid="false")
        told, color = (f"false: {int((~holds).sum())} of {len(ratio)}", RED) if not holds.all() else ("holds", "black")
        _beside(ax, at, told, color)
    ax.axvspan(0, 1, color=RED, alpha=0.1, linewidth=0, zorder=0)
    ax.axvline(1, color="0.3", linewidth=1)
    every = torch.cat([step.slack for step in stars])
    ax.set_xlim(min(0.95, float(every.min()) - 0.02), max(1.05, float(every.quantile(0.995))))
    rows(ax, [step.name for step in stars])
    _style(ax)
    ax.set_title("The last step, image by image: false left of 1", color=RED, loc="left")
    ax.set_xlabel(r"$\Vert h^{k*} \Vert_1$ / true mass $\Vert z'^k \Vert_1$")


def _beside(ax: Axes, at: float, words: str, color: str) -> None:
    ax.text(1.02, at, words, transform=ax.get_yaxis_transform(), va="center", size=SMALL, color=color)


def _style(ax: Axes) -> None:
    ax.tick_params(axis="y", labelsize=SMALL, length=0)
    ax.xaxis.set_major_formatter("{x:,g}")
    ax.grid(visible=False, axis="y")


def _numbers(stage: Stage) -> str:
    """The numbers that the book gives to these equations."""
    return ", ".join(f"{CHAPTER}.{1 + EQUATIONS.index(name)}" for name in stage.equations)


def _short(number: float) -> str:
    return f"{float(f'{number:.3g}'):,g}"
