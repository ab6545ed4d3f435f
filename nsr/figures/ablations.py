"""The figures of chapter 10: one number changed at a time, beside what another seed alone would change."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from nsr.figures.style import ACCURACY, BLUE, ORANGE, Curves, legend, lines, subplots

Rungs = Mapping[str, Sequence[float]]  # what a number was set to -> one AUC a seed
Band = tuple[float, float]


def ladders(
    panels: Mapping[str, Rungs], references: Mapping[str, tuple[str, Band]], measure: str, across: Mapping[str, str]
) -> Figure:
    """AUCs, a panel a ladder, a point a seed; the band says where one more seed of the reference rung would fall.

    `across` says in words what the rungs of each ladder are.
    """
    widths = [len(rungs) + 0.6 for rungs in panels.values()]
    size = (max(7.2, 1.4 + 0.85 * sum(widths)), 3.6)  # the legend has to fit
    figure, (axes,) = subplots(1, len(panels), size, width_ratios=widths, sharey=True)
    for ax, (title, rungs) in zip(axes, panels.items(), strict=True):
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
    axes[0].set_ylabel(measure)
    legend(figure, 3)
    return figure


def steps(counts: Sequence[int], panels: Mapping[str, Curves]) -> Figure:
    """Accuracies against the number of steps of the attack, a panel a network, a line a budget."""
    return lines(counts, panels, ("steps of the paper's attack", ACCURACY), size=(3.2, 3.4), log=True, factor=100)
