"""The figures of chapter 14: where networks stand by norm and robustness, ladders of regularisers, norms, differences.

A mean of a single seed has no interval and is drawn hollow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nsr.figures import style
from nsr.figures.style import Look

SYMBOLS = {"linf": r"$\ell_\infty$", "l1": r"$\ell_1$", "spectral": "spectral"}
WEAK, STRONG = "weakest", "strongest"
DODGE = 0.16  # between series that share a place on the axis
NEAR = 1.2  # factor below which two numbers on a logarithmic axis would lie over each other
POINTS = "points above Standard"
_LADDERS = ((style.BLUE, "o", "-"), (style.ORANGE, "D", "--"), (style.GREEN, "^", "-."), (style.PINK, "s", ":"))
_GREYS = ("0.25", "0.4", "0.5", "0.6")


def _shown(name: str) -> str:
    """A name with the signs of its norm."""
    return name.replace("l_inf", SYMBOLS["linf"]).replace("l_1", SYMBOLS["l1"])


class Interval(Protocol):
    """A mean over seeds with its interval."""

    values: tuple[float, ...]
    mean: float
    low: float
    high: float


class Norm(Protocol):
    """Layer norms as factors: their mean, and each layer's."""

    mean: Interval
    layers: tuple[float, ...]


Places = Sequence[tuple[Interval, Interval]]  # (norm as a factor, points gained), a ladder has several


def landscape(panels: Mapping[str, Mapping[str, Places]], ladders: Sequence[str]) -> Figure:
    """Points gained with attacked inputs over layer norms, a panel a title; grey lines are the `ladders`."""
    figure, axes = style.wrapped(len(panels), 2, (2.9, 3.2), (0.6, 1.2), sharey=True)
    for ax, (title, named) in zip(axes.flat, panels.items(), strict=False):
        for k, (name, places) in enumerate(named.items()):
            _series(ax, name, places, _grey(name, ladders) if name in ladders else style.look(name, k))
        ax.plot(1, 0, "*", color="black", markersize=11, label="Standard", linestyle="none")
        ax.axhline(0, color="0.6", linewidth=1)
        ax.axvline(1, color="0.6", linewidth=1)
        ax.set(title=title, xlabel=rf"{SYMBOLS['linf']} layer norms / Standard's")
        _factors(ax)
    for ax in axes[:, 0]:
        ax.set_ylabel("accuracy, inputs attacked\n(points above Standard)")
    style.legend(figure, 3)
    return figure


def _grey(name: str, ladders: Sequence[str]) -> Look:
    k = list(ladders).index(name) % len(_LADDERS)
    _, marker, line = _LADDERS[k]
    return {"color": _GREYS[k], "marker": marker, "linestyle": line, "markersize": 4, "linewidth": 1.2}


def _series(ax: Axes, name: str, places: Places, seen: Look) -> None:
    across, up = [norm.mean for norm, _ in places], [100 * gain.mean for _, gain in places]
    if len(places) == 1:
        seen = seen | {"linestyle": "none", "markersize": 9}
        (norm, gain), color = places[0], seen["color"]
        ends = {"color": color, "linewidth": 1.2, "alpha": 0.55, "gid": _shown(name)}
        ax.hlines(up, norm.low, norm.high, **ends)
        ax.vlines(across, 100 * gain.low, 100 * gain.high, **ends)
    ax.plot(across, up, label=_shown(name), **seen)


def ladders(panels: Mapping[str, Mapping[str, Mapping[str, Mapping[int, Interval]]]]) -> Figure:
    """measure -> place -> regulariser -> rung -> points gained over Standard: a row a measure, a column a place."""
    measures, places = list(panels), list(dict.fromkeys(place for found in panels.values() for place in found))
    size = (0.7 + 1.9 * max(1, len(places)), 0.9 + 2.5 * max(1, len(measures)))
    figure, grid = style.subplots(max(1, len(measures)), max(1, len(places)), size, sharex=True, sharey="row")
    names = list(dict.fromkeys(name for found in panels.values() for named in found.values() for name in named))
    for axes, measure in zip(grid, measures, strict=False):
        for ax, place in zip(axes, places, strict=False):
            for name, found in panels[measure].get(place, {}).items():
                k = names.index(name)
                _rungs(ax, name, found, DODGE * (k - (len(names) - 1) / 2), _LADDERS[k % len(_LADDERS)])
            ax.axhline(0, color="black", linewidth=1)
        axes[0].set_ylabel(f"{measure}\n({POINTS})")
    for ax, place in zip(grid[0], places, strict=False):
        ax.set_title(place)
    rungs = max(
        (k for found in panels.values() for named in found.values() for of in named.values() for k in of), default=1
    )
    words = [WEAK, *[""] * (rungs - 2), STRONG] if rungs > 1 else [""]
    for ax in grid[-1]:
        ax.set_xticks(range(1, rungs + 1), words)
        ax.set(xlim=(0.5, rungs + 0.5), xlabel="strength")
    style.legend(figure, 2)
    return figure


def _rungs(ax: Axes, name: str, found: Mapping[int, Interval], shift: float, seen: tuple[str, str, object]) -> None:
    color, marker, _ = seen
    for k, (rung, gain) in enumerate(found.items()):
        at, face = rung + shift, color if len(gain.values) > 1 else "white"
        ax.vlines(at, 100 * gain.low, 100 * gain.high, color=color, linewidth=1.8, alpha=0.55, gid=_shown(name))
        label = {"label" if k == 0 else "gid": _shown(name)}
        ax.plot(at, 100 * gain.mean, marker=marker, color=color, markerfacecolor=face, linestyle="none", **label)


def factors(panels: Mapping[str, Mapping[str, Mapping[str, Norm]]], comparable: float | None = None) -> Figure:
    """title -> norm -> name -> layer norms as factors of Standard's; small strokes are single layers, numbered."""
    titles = list(panels) or [""]
    names = {
        title: list(dict.fromkeys(n for found in panels.get(title, {}).values() for n in found)) for title in titles
    }
    heights = [0.9 + 0.36 * max(1, len(names[title])) for title in titles]
    norms = list(SYMBOLS)
    figure, grid = style.subplots(
        len(titles), len(norms), (6.4, max(2.2, 0.6 + sum(heights))), sharey="row", sharex="col", height_ratios=heights
    )
    for axes, title in zip(grid, titles, strict=True):
        for ax, norm in zip(axes, norms, strict=True):
            for name, found in panels.get(title, {}).get(norm, {}).items():
                _factor(ax, names[title].index(name), found, style.look(name, names[title].index(name)))
            ax.axvline(1, color="black", linewidth=1)
            if comparable is not None:
                ax.axvline(comparable, color="0.4", linewidth=1, linestyle=":")
            ax.set_xscale("log")
        style.rows(axes[0], [_shown(name) for name in names[title]] or [""])
        axes[0].set_ylim(max(1, len(names[title])) - 0.3, -0.5)  # room for the last layers' numbers
        axes[len(norms) // 2].set_title(title)
    for ax, norm in zip(grid[-1], norms, strict=True):
        _factors(ax)
        ax.set_xlabel(f"{SYMBOLS[norm]} norms /\nStandard's")
    return figure


def _factor(ax: Axes, at: int, found: Norm, seen: Look) -> None:
    color, face = seen["color"], seen["color"] if len(found.mean.values) > 1 else "white"
    ax.plot(found.layers, [at + 0.24] * len(found.layers), "|", color=color, markersize=6, gid="single layers")
    for label, place in _numbered(found.layers):
        ax.annotate(label, (place, at + 0.36), ha="center", va="top", fontsize=7, color=color)
    mean = found.mean
    style.spans(ax, at - 0.1, mean.low, mean.mean, mean.high, color=color, marker=seen["marker"], markerfacecolor=face)


def _numbered(layers: Sequence[float]) -> list[tuple[str, float]]:
    """The layers' numbers and their places: those too near to each other for a number each share one label, in order.

    >>> [(label, round(place, 2)) for label, place in _numbered([0.5, 1.1, 1, 0.2])]
    [('4', 0.2), ('1', 0.5), ('32', 1.05)]
    """
    groups: list[list[int]] = []
    for layer in sorted(range(len(layers)), key=lambda layer: layers[layer]):
        if groups and layers[layer] < NEAR * layers[groups[-1][-1]]:
            groups[-1].append(layer)
        else:
            groups.append([layer])
    places = (math.prod(layers[layer] for layer in group) ** (1 / len(group)) for group in groups)
    return [("".join(str(layer + 1) for layer in group), place) for group, place in zip(groups, places, strict=True)]


def _factors(ax: Axes) -> None:
    """A logarithmic axis of factors with three labels or more, once everything is drawn."""
    ax.set_xscale("log")
    low, high = ax.get_xlim()
    decades = range(math.floor(math.log10(low)), 1 + math.floor(math.log10(high)))
    for steps in _STEPS:
        places = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
        if len(places) >= 3:
            break
    style.ticks(ax, places)
    ax.set_xlim(low, high)


_STEPS = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9))


def dots(
    panels: Mapping[str, Mapping[str, Mapping[str, Interval]]], first: Sequence[str] = (), *, label: str, zero: bool
) -> Figure:
    """title -> measure -> name -> %, with intervals: a row of panels a title; names of `first` in another colour."""
    titles = list(panels) or [""]
    measures = list(dict.fromkeys(m for found in panels.values() for m in found)) or [""]
    names = list(dict.fromkeys(n for found in panels.values() for named in found.values() for n in named))
    size = (1.9 + 1.5 * len(measures), max(2.2, 0.2 + len(titles) * (1.1 + 0.28 * len(names))))
    figure, grid = style.subplots(len(titles), len(measures), size, sharey=True)
    for axes, title in zip(grid, titles, strict=True):
        for ax, measure in zip(axes, measures, strict=True):
            for name, found in panels.get(title, {}).get(measure, {}).items():
                color, marker = (style.ORANGE, "D") if name in first else (style.BLUE, "o")
                face = color if len(found.values) > 1 else "white"
                ends = [100 * value for value in (found.low, found.mean, found.high)]
                ends = ends if zero else [min(max(end, 0), 100) for end in ends]  # an accuracy is a share
                style.spans(ax, names.index(name), *ends, color=color, marker=marker, markerfacecolor=face)
            if zero:
                ax.axvline(0, color="black", linewidth=1)
            ax.set_xlabel(f"{measure}\n({label})")
        axes[0].set_title(title, loc="left")
    style.rows(grid[0, 0], [_shown(name) for name in names] or [""])
    return figure
