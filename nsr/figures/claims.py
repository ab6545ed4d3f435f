"""The figures of chapter 8: every difference that a claim hangs on, and the edges of the contours."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nsr.contour import Contour
from nsr.figures.style import look

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000", "#E69F00", "#7F7F7F")
MARKERS = "os^Dv*PX"
ROW, SPREAD = 0.25, 0.7  # height of a row in inches; share of it that the settings of one difference take

Drawn = Mapping[str, Mapping[str, Mapping[str, tuple[float, float, float, int]]]]


def differences(drawn: Drawn) -> Figure:
    """claim -> difference -> setting -> (mean, low, high, seeds): one row a difference, right of zero as claimed.

    A difference from a single seed has no interval and is drawn hollow.
    """
    rows = [(claim, what, places) for claim, parts in drawn.items() for what, places in parts.items()]
    settings = list(dict.fromkeys(place for _, _, places in rows for place in places))
    marks = dict(zip(settings, zip(COLOURS, MARKERS, strict=True), strict=False))
    figure, ax = plt.subplots(figsize=(8.4, 1.2 + ROW * max(len(rows), 1) + 0.2 * len(settings)))
    for at, (_, _, places) in enumerate(rows):
        for k, place in enumerate(settings):
            if place in places:
                offset = SPREAD * ((k + 0.5) / len(settings) - 0.5)
                _interval(ax, at + offset, places[place], *marks[place], label=place)
    _ground(ax, [claim for claim, _, _ in rows])
    ax.set_yticks(range(len(rows)), [f"{claim}  {what}" for claim, what, _ in rows], fontsize=8)
    ax.set(ylim=(max(len(rows), 1) - 0.5, -0.5), xlabel="difference (points, C5: %); right of 0: as claimed")
    named = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    shown = [place for place in settings if place in named]
    if shown:
        figure.legend([named[place] for place in shown], shown, loc="outside lower center", ncols=2)
    plt.close(figure)
    return figure


def _interval(
    ax: Axes, y: float, values: tuple[float, float, float, int], colour: str, marker: str, label: str
) -> None:
    mean, low, high, seeds = (*(100 * value for value in values[:3]), values[3])
    ax.plot([low, high], [y, y], color=colour, linewidth=1.4)
    face = colour if seeds > 1 else "white"
    ax.plot(mean, y, marker=marker, markersize=4, color=colour, markerfacecolor=face, linestyle="none", label=label)


def _ground(ax: Axes, claims: list[str]) -> None:
    """The line of zero, and a grey band behind every other claim."""
    ax.axvline(0, color="black", linewidth=1)
    ax.grid(axis="y", visible=False)
    for k, claim in enumerate(dict.fromkeys(claims)):
        if k % 2:
            first = claims.index(claim)
            ax.axhspan(first - 0.5, first + claims.count(claim) - 0.5, color="0.94", zorder=0)


def edges(contours: Mapping[str, Contour]) -> Figure:
    """Accuracy along the two edges of each contour: left only the inputs move, right only the weights."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.9), sharey=True)
    for k, (name, c) in enumerate(contours.items()):
        left.plot(c.grid_x, [100 * a for a in c.edge_x], label=name, **look(name, k))
        right.plot(c.grid_w, [100 * a for a in c.edge_w], label=name, **look(name, k))
    relative = any(c.geometry == "relative" for c in contours.values())
    radius = r"$r$ (share of mean $|W^m|$)" if relative else r"weight radius $\epsilon_w$ (unit of $W$)"
    left.set(title="inputs alone", xlabel=r"input radius $\epsilon_x$ (unit of $x$)", ylabel="accuracy (%)")
    right.set(title="weights alone", xlabel=radius, ylim=(0, 100))
    for ax in (left, right):
        ax.locator_params(axis="x", nbins=6)
    if contours:
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    plt.close(figure)
    return figure
