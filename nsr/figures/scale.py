"""The figures of chapter 14: what the size of the weights does to an AUC, and to who is ahead of whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from nsr.figures.style import Look, look

BLUE, ORANGE, PINK, AMBER, SKY = "#0072B2", "#D55E00", "#CC79A7", "#E69F00", "#56B4E9"
MARKERS, STYLES = "os^Dv", ("-", "--", "-.", ":", "-")
AUC = "joint AUC"
# what becomes of a pair: letter, colour; told apart by the letter as well
FATES = {
    "same": ("=", SKY),
    "flipped": ("x", ORANGE),
    "lost": ("-", AMBER),
    "gained": ("+", PINK),
    "open": ("", "0.93"),
}

Curves = Mapping[str, Sequence[float]]


class Interval(Protocol):
    """A mean with its interval, as `results.Estimate` has it."""

    mean: float
    low: float
    high: float


class Place(Protocol):
    """A place and the places that are possible, as `ranking.Standing` has it."""

    place: int
    best: int
    worst: int


def reported(scales: Sequence[float], panels: Mapping[str, Curves]) -> Figure:
    """AUCs of one net whose matrices are all multiplied by each of `scales`, a panel a net, a line an attack."""
    figure, axes = plt.subplots(1, len(panels), figsize=(3.7 * len(panels), 3.7), sharey=True, squeeze=False)
    for ax, (title, curves) in zip(axes[0], panels.items(), strict=True):
        for (name, values), marker, style in zip(curves.items(), MARKERS, STYLES, strict=False):
            ax.plot(scales, values, marker=marker, linestyle=style, label=name)
        ax.set(title=title, xscale="log", xlabel=r"scale $c$ of the weights")
        ax.set_xticks(scales, [f"{c:g}" for c in scales])
        ax.minorticks_off()
    axes[0][0].set(ylabel=AUC, ylim=(0, 1))
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    plt.close(figure)
    return figure


def bought(scales: Sequence[float], curves: Curves, limits: Mapping[str, float]) -> Figure:
    """AUCs against the scale, a line a method, and at the right what no scale can exceed: inputs alone."""
    figure, ax = plt.subplots(figsize=(6.8, 4.4))
    end = scales[-1] * 2.2
    looks = {name: look(name, k) for k, name in enumerate(curves)}
    for name, values in curves.items():
        seen = looks[name]
        ax.plot(scales, values, **seen)
        ax.plot([scales[-1], end], [values[-1], limits[name]], color=seen["color"], linewidth=0.8, linestyle=":")
        ax.plot(end, limits[name], marker=seen["marker"], color=seen["color"], markerfacecolor="white")
    _labels(ax, end, limits, looks)
    ax.set(xscale="log", xlabel=r"scale $c$ of the weights", ylabel=AUC, ylim=(0, None), xlim=(None, end * 1.1))
    ax.set_xticks([*scales, end], [*(f"{c:g}" for c in scales), r"$\infty$"])
    ax.minorticks_off()
    plt.close(figure)
    return figure


def rates(panels: Mapping[str, Mapping[str, Mapping[float, float]]]) -> Figure:
    """AUCs against the learning rate, a panel a method; nets that share a line differ in the learning rate alone."""
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    size = (2.9 * columns + 0.4, 2.6 * rows + 0.5)
    figure, axes = plt.subplots(rows, columns, figsize=size, sharey=True, squeeze=False)
    for ax, (title, groups) in zip(axes.flat, panels.items(), strict=False):
        for (name, found), marker, style in zip(groups.items(), MARKERS, STYLES, strict=False):
            ax.plot([*found], [*found.values()], marker=marker, linestyle=style, label=name)
        ax.set(title=title, xscale="log", xlabel="learning rate")
        places = sorted({rate for found in groups.values() for rate in found})
        ax.set_xticks(places, [f"{rate:g}" for rate in places])
        ax.minorticks_off()
        ax.margins(x=0.15)
        if any(groups):
            ax.legend(fontsize=8)
    for ax in axes.flat[len(panels) :]:
        ax.set_visible(False)
    for ax in axes[:, 0]:
        ax.set(ylabel=AUC, ylim=(0, None))
    plt.close(figure)
    return figure


def sizes(found: Mapping[str, Sequence[Sequence[float]]]) -> Figure:
    """mean|W^m| of every run of every method, a panel a layer, a point a seed."""
    layers = len(next(iter(found.values()))[0])
    size = (2.0 + 1.7 * layers, 0.9 + 0.3 * len(found))
    figure, axes = plt.subplots(1, layers, figsize=size, sharey=True, squeeze=False)
    for m, ax in enumerate(axes[0]):
        for row, runs in enumerate(found.values()):
            ax.plot([run[m] for run in runs], [row] * len(runs), linestyle="none", marker="o", color=BLUE, alpha=0.6)
        ax.set(xlabel=rf"mean $|W^{m + 1}|$", xlim=(0, None))
        ax.locator_params(axis="x", nbins=3)
    axes[0][0].set_yticks(range(len(found)), [*found])
    axes[0][0].invert_yaxis()
    plt.close(figure)
    return figure


def geometries(panels: Mapping[str, Mapping[str, Interval]]) -> Figure:
    """The AUC of every method with its interval, a panel a contour; rows in the order of the first panel."""
    ordered = (sorted(found, key=lambda name: found[name].mean, reverse=True) for found in panels.values())
    names = list(dict.fromkeys(name for found in ordered for name in found))
    size = (1.8 + 2.3 * len(panels), 0.9 + 0.32 * len(names))
    figure, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False)
    for ax, (title, found) in zip(axes[0], panels.items(), strict=True):
        for row, name in enumerate(names):
            if name in found:
                ax.hlines(row, found[name].low, found[name].high, color=BLUE, linewidth=2.5, alpha=0.5)
                ax.plot(found[name].mean, row, marker="o", color=BLUE)
        ax.set(title=title, xlabel=AUC, xlim=(0, None))
    axes[0][0].set_yticks(range(len(names)), names)
    axes[0][0].invert_yaxis()
    plt.close(figure)
    return figure


def bump(columns: Mapping[str, Mapping[str, Place]]) -> Figure:
    """The place of every method in each ranking, joined by lines; bars are the places that the seeds leave open."""
    figure, ax = plt.subplots(figsize=(7.4, 4.8))
    names = list(dict.fromkeys(n for found in columns.values() for n in sorted(found, key=lambda n: found[n].place)))
    for number, name in enumerate(names):
        seen = look(name, number)
        shift = 0.24 * ((number + 0.5) / len(names) - 0.5)  # bars of neighbours side by side
        here = [(k + shift, found[name]) for k, found in enumerate(columns.values()) if name in found]
        ax.plot([k for k, _ in here], [place.place for _, place in here], **seen)
        for k, place in here:
            ax.vlines(k, place.best - 0.12, place.worst + 0.12, color=seen["color"], linewidth=4, alpha=0.35)
    for at, side, found in ((-0.17, "right", [*columns.values()][0]), (0.17, "left", [*columns.values()][-1])):
        for name, place in found.items():
            edge = 0 if side == "right" else len(columns) - 1
            ax.text(edge + at, place.place, name, ha=side, va="center", fontsize=9)
    ax.set_xticks(range(len(columns)), [*columns])
    ax.set_yticks(range(1, len(names) + 1))
    ax.set(ylabel="place (1: largest AUC)", xlim=(-0.75, len(columns) - 0.25))
    ax.invert_yaxis()
    ax.grid(axis="x", visible=False)
    plt.close(figure)
    return figure


def fates(panels: Mapping[str, Mapping[tuple[str, str], str]]) -> Figure:
    """What becomes of the order of every two methods from one ranking to another, a panel a change of ranking."""
    figure, axes = plt.subplots(1, len(panels), figsize=(1.6 + 3.5 * len(panels), 4.6), squeeze=False, sharey=True)
    for ax, (title, found) in zip(axes[0], panels.items(), strict=True):
        names = list(dict.fromkeys(name for pair in found for name in pair))
        for (a, b), fate in found.items():
            letter, colour = FATES[fate]
            row, column = sorted((names.index(a), names.index(b)), reverse=True)
            ax.add_patch(plt.Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=colour, edgecolor="white"))
            ax.text(column, row, letter, ha="center", va="center", fontsize=10)
        ax.set(title=title, xlim=(-0.5, len(names) - 1.5), ylim=(len(names) - 0.5, 0.5), aspect="equal")
        ax.set_xticks(range(len(names) - 1), names[:-1], rotation=60, ha="right", rotation_mode="anchor")
        ax.set_yticks(range(1, len(names)), names[1:])
        ax.grid(visible=False)
    handles = [Patch(facecolor=colour, label=f"{name} {letter}".strip()) for name, (letter, colour) in FATES.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(FATES))
    plt.close(figure)
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
        ax.plot([end * 1.1, end * 1.4], [heights[name], place], clip_on=False, **leader)
        ax.text(end * 1.5, place, name, va="center", fontsize=8.5)
