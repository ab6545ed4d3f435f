"""The figures of chapter 2: where the derivation's slack enters, and how the bound grows line by line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from nsr.figures.style import MARKERS, spans, subplots
from nsr.theory.derivation import Stage, Step

SPREAD = (0.0, 0.5, 0.9)  # quantiles over the samples: from the smallest, which tells whether a line holds, to most


def slack_ledger(points: Mapping[str, Mapping[str, Sequence[Step]]]) -> Figure:
    """right / left of every line of the derivation, at each of the named points of the ball; 1 is equality.

    Marks are medians over the samples; lines run from the smallest value to the 90 % quantile.
    """
    first, *_ = points.values()
    rows = sum(len(steps) for steps in first.values())
    figure, ((ax,),) = subplots(size=(6.8, 1.2 + 0.24 * rows))
    for number, (name, parts) in enumerate(points.items()):
        slack = torch.stack([step.slack for steps in parts.values() for step in steps])  # [rows, B]
        low, middle, high = slack.quantile(torch.tensor(SPREAD, dtype=slack.dtype), dim=1)
        at, seen = torch.arange(rows) + 0.3 * (number - (len(points) - 1) / 2), {"color": f"C{number}", "label": name}
        face = "white" if number else "C0"
        spans(ax, at, low, middle, high, marker=MARKERS[number], markerfacecolor=face, **seen)
    _parts(ax, first)
    ax.axvline(1, color="black", linewidth=1)
    ax.set(xscale="log", xlabel="slack: right side / left side (1 = equality)", ylim=(rows - 0.5, -0.5))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(points))
    return figure


def growth(change: Mapping[str, Tensor], stages: Mapping[str, Sequence[Stage]]) -> Figure:
    """The bound on the margin's change after every stage of the derivation, medians over the samples.

    `change` [B] is the true change that all of it starts from; one panel for each of its names.
    """
    figure, (panels,) = subplots(1, len(change), (3.9 * len(change), 4.0), sharey=True)
    for ax, (name, truth) in zip(panels, change.items(), strict=True):
        path = stages[name]
        at = range(1, len(path) + 1)
        total = [float(value.median()) for value in (truth, *(stage.first + stage.second for stage in path))]
        ax.plot(range(len(total)), total, "o-", color="C0", label="both brackets")
        ax.plot(at, [float(stage.first.median()) for stage in path], "s--", color="C1", label="first (input)")
        ax.plot(at, [float(stage.second.median()) for stage in path], "^:", color="C2", label="second (weights)")
        for here, (low, high) in enumerate(zip(total[:-1], total[1:], strict=True), start=1):
            ax.annotate(f"x {high / low:.2g}", (here, high), (-4, 5), textcoords="offset points", ha="right", size=8)
        ax.set_xticks(range(len(total)), ["true change", *(stage.name for stage in path)], rotation=50, ha="right")
        ax.set(title=name, yscale="log")
        ax.margins(y=0.12)
    panels[0].set_ylabel("change of the margin (unit of the logits)")
    panels[-1].legend(loc="lower right")
    return figure


def _parts(ax: Axes, parts: Mapping[str, Sequence[Step]]) -> None:
    """The lines' names on the left, the parts' names on the right, every second part on grey."""
    ax.set_yticks(range(sum(map(len, parts.values()))), [step.name for steps in parts.values() for step in steps])
    ax.tick_params(axis="y", labelsize=8)
    start = -0.5
    for number, (name, steps) in enumerate(parts.items()):
        end = start + len(steps)
        if number % 2:
            ax.axhspan(start, end, color="0.94", zorder=0)
        ax.text(1.01, (start + end) / 2, name, transform=ax.get_yaxis_transform(), va="center", size=9)
        start = end
