"""The figures of chapter 13: what the size of the weights does to an AUC, and to who is ahead of whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from nsr.figures.beyond import Interval, intervals
from nsr.figures.style import (
    AMBER,
    BLUE,
    ORANGE,
    PINK,
    SKY,
    WIDEST,
    Curves,
    Look,
    heat,
    legend,
    lines,
    look,
    subplots,
    ticks,
    wrapped,
)

AUC = "joint AUC"
SCALE = r"scale $c$ of the weights"
# what becomes of a pair: letter, colour; told apart by the letter as well
FATES = {
    "same": ("=", SKY),
    "flipped": ("x", ORANGE),
    "lost": ("-", AMBER),
    "gained": ("+", PINK),
    "open": ("", "0.93"),
}


class Place(Protocol):
    """A place and the places that are possible, as `ranking.Standing` has it."""

    place: int
    best: int
    worst: int


def reported(scales: Sequence[float], panels: Mapping[str, Curves]) -> Figure:
    """AUCs of one net whose matrices are all multiplied by each of `scales`, a panel a net, a line an attack."""
    return lines(scales, panels, (SCALE, AUC), size=(3.2, 3.5), log=True, top=1, columns=2)


def bought(scales: Sequence[float], curves: Curves, limits: Mapping[str, float]) -> Figure:
    """AUCs against the scale, a line a method, and at the right what no scale can exceed: inputs alone."""
    figure, ((ax,),) = subplots(size=(6.4, 4.4))
    end = scales[-1] * 2.2
    looks = {name: look(name, k) for k, name in enumerate(curves)}
    for name, values in curves.items():
        seen = looks[name]
        ax.plot(scales, values, gid=name, **seen)
        dotted = {"color": seen["color"], "linewidth": 0.8, "linestyle": ":", "gid": f"{name}, to its limit"}
        ax.plot([scales[-1], end], [values[-1], limits[name]], **dotted)
        ax.plot(end, limits[name], marker=seen["marker"], color=seen["color"], markerfacecolor="white", gid=name)
    _labels(ax, end, limits, looks)
    ticks(ax, [*scales, end], [*(f"{c:g}" for c in scales), r"$\infty$"])
    ax.set(xlabel=SCALE, ylabel=AUC, ylim=(0, None), xlim=(None, end * 1.1))
    return figure


def rates(panels: Mapping[str, Mapping[str, Mapping[float, float]]]) -> Figure:
    """AUCs against the learning rate, a panel a method; nets that share a line differ in the learning rate alone.

    A line is named "optimiser, its other numbers", and coloured by the optimiser.
    """
    optimisers = list(dict.fromkeys(name.partition(",")[0] for groups in panels.values() for name in groups))
    figure, axes = wrapped(len(panels), 3, (2.9, 2.2), (0.4, 0.5), sharey=True)
    looks = {optimiser: look(optimiser, k) for k, optimiser in enumerate(optimisers)}
    for ax, (title, groups) in zip(axes.flat, panels.items(), strict=False):
        for name, found in groups.items():
            ax.plot(*zip(*sorted(found.items()), strict=True), gid=name, **looks[name.partition(",")[0]])
        ticks(ax, sorted({rate for found in groups.values() for rate in found}))
        ax.tick_params(axis="x", labelrotation=45)
        ax.set(title=title, xlabel="learning rate")
        ax.margins(x=0.15)
    for ax in axes[:, 0]:
        ax.set(ylabel=AUC, ylim=(0, None))
    for optimiser, seen in looks.items():
        axes.flat[0].plot([], [], label=optimiser, **seen)
    legend(figure, len(looks))
    return figure


def sizes(found: Mapping[str, Sequence[Sequence[float]]]) -> Figure:
    """mean|W^m| of every run of every method, a panel a layer, a point a seed."""
    layers = len(next(iter(found.values()))[0])
    figure, (axes,) = subplots(1, layers, (WIDEST, 0.9 + 0.3 * len(found)), sharey=True)
    for m, ax in enumerate(axes):
        layer = {name: [run[m] for run in runs] for name, runs in found.items()}
        seaborn.stripplot(layer, orient="h", jitter=False, color=BLUE, alpha=0.6, ax=ax)
        ax.set(xlabel=rf"mean $|W^{m + 1}|$", xlim=(0, None))
        ax.locator_params(axis="x", nbins=3)
        ax.grid(visible=True)
    return figure


def geometries(panels: Mapping[str, Mapping[str, Interval]]) -> Figure:
    """The AUC of every method with its interval, a panel a contour; rows in the order of the first panel."""
    ordered = (sorted(found.items(), key=lambda item: -item[1].mean) for found in panels.values())
    return intervals({title: dict(found) for title, found in zip(panels, ordered, strict=True)})


def bump(columns: Mapping[str, Mapping[str, Place]]) -> Figure:
    """The place of every method in each ranking, joined by lines; bars are the places that the seeds leave open."""
    figure, ((ax,),) = subplots(size=(WIDEST, 4.8))
    names = list(dict.fromkeys(n for found in columns.values() for n in sorted(found, key=lambda n: found[n].place)))
    for number, name in enumerate(names):
        seen = look(name, number)
        shift = 0.24 * ((number + 0.5) / len(names) - 0.5)  # bars of neighbours side by side
        here = [(k + shift, found[name]) for k, found in enumerate(columns.values()) if name in found]
        ax.plot([k for k, _ in here], [place.place for _, place in here], gid=name, **seen)
        for k, place in here:
            ends = place.best - 0.12, place.worst + 0.12
            ax.vlines(k, *ends, color=seen["color"], linewidth=4, alpha=0.35, gid=name)
    for at, side, found in ((-0.17, "right", [*columns.values()][0]), (0.17, "left", [*columns.values()][-1])):
        for name, place in found.items():
            edge = 0 if side == "right" else len(columns) - 1
            ax.text(edge + at, place.place, name, ha=side, va="center", fontsize=9)
    ax.set_xticks(range(len(columns)), [*columns])
    ax.set_yticks(range(1, len(names) + 1))
    ax.set(ylabel="place (1: largest AUC)", xlim=(-1.25, len(columns) + 0.15))
    ax.invert_yaxis()
    ax.grid(axis="x", visible=False)
    return figure


def fates(panels: Mapping[str, Mapping[tuple[str, str], str]]) -> Figure:
    """What becomes of the order of every two methods from one ranking to another, a panel a change of ranking."""
    figure, (axes,) = subplots(1, len(panels), (1.6 + 2.4 * len(panels), 4.2))
    kinds, colours = list(FATES), ListedColormap([colour for _, colour in FATES.values()])
    for ax, (title, found) in zip(axes, panels.items(), strict=True):
        names = list(dict.fromkeys(name for pair in found for name in pair))
        codes, letters = np.full((len(names) - 1,) * 2, np.nan), np.full((len(names) - 1,) * 2, "")
        for (a, b), fate in found.items():
            row, column = sorted((names.index(a), names.index(b)), reverse=True)
            codes[column, row - 1], letters[row - 1, column] = kinds.index(fate), FATES[fate][0]
        cells = {"annot": letters, "cmap": colours, "square": True, "linewidths": 1}
        heat(ax, codes, names[:-1], names[1:], (0, len(kinds) - 1), "", **cells)
        for text in ax.texts:
            text.set_color("black")
        ax.set(title=title, ylim=(len(names) - 1, 0))
        ax.set_xticks(ax.get_xticks(), names[:-1], rotation=60, ha="right", rotation_mode="anchor")
    for ax in axes[1:]:
        ax.tick_params(axis="y", labelleft=False)
    handles = [Patch(facecolor=colour, label=f"{name} {letter}".strip()) for name, (letter, colour) in FATES.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(FATES))
    return figure


def _labels(ax: Axes, end: float, heights: Mapping[str, float], looks: Mapping[str, Look]) -> None:
    """Names at the right of their marks, pushed apart where they would overlap; a line leads to each from its mark."""
    names = sorted(heights, key=heights.__getitem__)
    if not names:
        return
    places = np.array([heights[name] for name in names])
    room = 0.045 * max(places)
    for _ in range(200):
        gaps = np.diff(places)
        if (gaps >= room - 1e-9).all():
            break
        push = np.clip(room - gaps, 0, None) / 2
        places[:-1] -= push
        places[1:] += push
    places += max(room / 2 - places[0], 0)  # no name below the axis
    for name, place in zip(names, places, strict=True):
        # the mark once more beside the name: coloured words would be too faint to read
        leader = looks[name] | {"linestyle": "-", "linewidth": 0.7, "markerfacecolor": "white", "markevery": [1]}
        leader |= {"gid": f"{name}, from its mark to its name"}
        ax.plot([end * 1.1, end * 1.4], [heights[name], place], clip_on=False, **leader)
        ax.text(end * 1.5, place, name, va="center", fontsize=8.5)
