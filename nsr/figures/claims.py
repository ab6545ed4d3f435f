"""The figures of chapter 9: every difference that a claim hangs on, and the edges of the contours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from textwrap import wrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from nsr.contour import Contour
from nsr.figures.style import MARKERS, PALETTE, RADIUS_W, RADIUS_X, legend, look, rows, spans, subplots

ROW, SPREAD = 0.34, 0.7  # height of a row in inches; share of it that the settings of one difference take
LONGEST = 42  # letters of a line of its name

COLORS = {
    "holds": "#7BC8A4",
    "does not hold": "#F0A67E",
    "too few seeds": "0.85",
    "not measured": "0.94",
}  # light, to be read through

Drawn = Mapping[str, Mapping[str, Mapping[str, tuple[float, float, float, int]]]]


def differences(drawn: Drawn, bands: Mapping[str, tuple[float, float]] | None = None) -> Figure:
    """claim -> difference -> setting -> (mean, low, high, seeds): one row a difference, right of zero as claimed.

    A difference from a single seed has no interval and is drawn hollow. Where a claim has a band, its differences are
    as claimed inside it.
    """
    parts = [(claim, what, places) for claim, found in drawn.items() for what, places in found.items()]
    settings = list(dict.fromkeys(place for _, _, places in parts for place in places))
    figure, ((ax,),) = subplots(size=(6.4, 1.2 + ROW * max(len(parts), 1) + 0.23 * len(settings)))
    for k, place in enumerate(settings):
        color, marker = PALETTE[k % len(PALETTE)], MARKERS[(k + k // len(PALETTE)) % len(MARKERS)]
        for at, (_, _, places) in enumerate(parts):
            if place in places:
                *found, seeds = places[place]
                low, mean, high = (100 * found[at] for at in (1, 0, 2))
                seen = {"color": color, "marker": marker, "markersize": 4, "label": place}
                face = color if seeds > 1 else "white"
                spans(
                    ax, at + SPREAD * ((k + 0.5) / len(settings) - 0.5), low, mean, high, markerfacecolor=face, **seen
                )
    names = [claim for claim, _, _ in parts]
    _ground(ax, names)
    for claim, band in (bands or {}).items():
        for at in (at for at, name in enumerate(names) if name == claim):
            low, high = (100 * end for end in band)
            ax.add_patch(Rectangle((low, at - 0.5), high - low, 1, facecolor=COLORS["holds"], alpha=0.4, zorder=0.5))
    rows(ax, ["\n".join(wrap(f"{claim}  {what}", LONGEST)) for claim, what, _ in parts])
    ax.tick_params(axis="y", labelsize=8)
    ax.set_xlabel("difference (points, C5a, C5b: %)\nas claimed right of 0 or in the band")
    legend(figure, 1)
    return figure


def _ground(ax: Axes, claims: list[str]) -> None:
    """The line of zero, and a grey band behind every other claim."""
    ax.axvline(0, color="black", linewidth=1)
    ax.grid(axis="y", visible=False)
    for k, claim in enumerate(dict.fromkeys(claims)):
        if k % 2:
            first = claims.index(claim)
            ax.axhspan(first - 0.5, first + claims.count(claim) - 0.5, color="0.94", zorder=0)


def matrix(found: Mapping[str, Mapping[str, str]], titles: Mapping[str, str] | None = None) -> Figure:
    """test -> setting -> what it comes to, in words and in colour; an empty cell was not asked for.

    With the titles of the claims, a claim's first test is named by its title and the others by what is special in them.
    """
    columns = list(dict.fromkeys(column for cells in found.values() for column in cells))
    outcomes = list(dict.fromkeys(outcome for cells in found.values() for outcome in cells.values()))
    colors = {outcome: color for outcome, color in COLORS.items() if outcome in outcomes}
    figure, ((ax,),) = subplots(size=(2.4 + 0.8 * len(columns), 1.3 + 0.4 * len(found)))
    for at, cells in enumerate(found.values()):
        for column, outcome in cells.items():
            left = columns.index(column) - 0.5
            color = colors.get(outcome, "0.85")
            ax.add_patch(Rectangle((left, at - 0.5), 1, 1, facecolor=color, edgecolor="white", linewidth=2))
            words = "\n".join(wrap(outcome, 9))
            ax.text(left + 0.5, at, words, ha="center", va="center", fontsize=8, linespacing=0.95, color="black")
    rows(ax, _tests(found, titles or {}))
    ax.tick_params(axis="y", labelsize=8)
    ax.set_xlim(-0.5, len(columns) - 0.5)
    ax.set_xticks(range(len(columns)), ["\n".join(wrap(column, 13)) for column in columns], fontsize=8)
    ax.xaxis.tick_top()
    ax.grid(visible=False)
    return figure


def _tests(names: Iterable[str], titles: Mapping[str, str]) -> list[str]:
    """What stands left of the rows of `matrix`.

    >>> _tests(["C1", "C1, by SGD", "C7, one edge", "B1"], {"C1": "it fails", "C7": "it lies"})
    ['C1  it fails', 'by SGD', 'C7  it lies: one edge', 'B1']
    """
    labels, seen = [], set()
    for name in names:
        claim, _, special = name.partition(", ")
        if claim in titles:
            name = special if claim in seen else ": ".join(filter(None, (f"{claim}  {titles[claim]}", special)))
        labels.append("\n".join(wrap(name, LONGEST)))
        seen.add(claim)
    return labels


def edges(contours: Mapping[str, Contour]) -> Figure:
    """Accuracy along the two edges of each contour: left only the inputs move, right only the weights."""
    figure, ((left, right),) = subplots(1, 2, (6.4, 3.9), sharey=True)
    for k, (name, c) in enumerate(contours.items()):
        left.plot(c.grid_x, [100 * a for a in c.edge_x], label=name, **look(name, k))
        right.plot(c.grid_w, [100 * a for a in c.edge_w], label=name, **look(name, k))
    geometry = next((c.geometry for c in contours.values()), "absolute")
    left.set(title="inputs alone", xlabel=f"input radius {RADIUS_X}", ylabel="accuracy (%)")
    right.set(title="weights alone", xlabel=RADIUS_W[geometry], ylim=(0, 100))
    for ax in (left, right):
        ax.locator_params(axis="x", nbins=6)
    legend(figure, 3)
    return figure
