"""The figures of chapter 10: one number changed at a time, beside what another seed alone would change."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from nsr.figures.style import ACCURACY, BLUE, ORANGE, Curves, legend, lines, wrapped

Rungs = Mapping[str, Sequence[float]]  # what a number was set to -> one AUC a seed
Band = tuple[float, float]


def ladders(
    panels: Mapping[str, Rungs], references: Mapping[str, tuple[str, Band]], measure: str, across: Mapping[str, str]
) -> Figure:
    """AUCs, a panel a ladder, a point a seed; the band says where one more seed of the reference rung would fall.

    `across` says in words what the rungs of each ladder are.
    """
    figure, axes = wrapped(len(panels), 2, (2.9, 2.9), (0.5, 0.9), sharey=True)
    for ax, (title, rungs) in zip(axes.flat, panels.items(), strict=False):
        reference, band = references[title]
        if not math.isnan(band[0]):  # with one seed nobody knows
            ax.axhspan(*band, color="0.88", zorder=0, label="one more seed of the reference (95 %)")
        for place, (name, values) in enumerate(rungs.items()):
            own = name == reference
            look = {"marker": "o", "color": BLUE} if own else {"marker": "D", "color": ORANGE}
            label = "reference setting, one point a seed" if own else "other settings"
            ax.plot([place] * len(values), values, linestyle="none", label=label, **look)
            mean = sum(values) / len(values)
            ax.hlines(mean, place - 0.22, place + 0.22, color=look["color"], linewidth=1.6, gid="mean")
        ax.set_xticks(range(len(rungs)), [name.replace(" ", "\n") for name in rungs])
        ax.set(title=title, xlabel=across[title], xlim=(-0.6, len(rungs) - 0.4))
        ax.grid(axis="x", visible=False)
    for row in axes:
        row[0].set_ylabel(measure)
    legend(figure, 2)
    return figure


def steps(counts: Sequence[int], panels: Mapping[str, Curves]) -> Figure:
    """Accuracies against the number of steps of the attack, a panel a network, a line a budget."""
    return lines(
        counts, panels, ("steps of the paper's attack", ACCURACY), size=(3.2, 3.4), log=True, factor=100, top=100
    )
