"""The numbers of a figure as one table, read off what was drawn, so that the two cannot differ.

matplotlib forgets the grid of a contour once it has the lines, and a heat map's radii are names of its cells to it:
`keep` holds a grid where planes are drawn.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from functools import singledispatch

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.category import StrCategoryLocator
from matplotlib.collections import FillBetweenPolyCollection, LineCollection, PathCollection, QuadMesh
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation, Text
from matplotlib.ticker import FixedLocator
from numpy.typing import ArrayLike

# one row a point; what is not a point reaches from (x, y) to (x_to, y_to); names are those of the ticks
HEAD = (
    *("panel", "title", "x axis", "y axis", "kind", "series"),
    *("x", "y", "x_to", "y_to", "value", "x_name", "y_name"),
)
MOST = 400  # cells of a picture that is written out: of a larger one the size is told
NUMBER = re.compile(r"[-+]?[\d.]+(e[-+]?\d+)?( ?%)?")  # a text that is one only says what is drawn

Place = tuple[object, ...]  # x, y, and where there are some x_to, y_to, value


def keep(artist: Artist, name: str, x: ArrayLike, y: ArrayLike, values: ArrayLike) -> None:
    """Remember for the table the values [len(y), len(x)] over this grid, and what they are."""
    rows = zip(y, np.asarray(values), strict=True)
    artist.kept = name, [(a, b, None, None, value) for b, row in rows for a, value in zip(x, row, strict=True)]


def table(figure: Figure) -> str:
    """The figure's numbers to four digits, as CSV."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(HEAD)
    shown = [ax for ax in figure.axes if ax.get_visible() and ax.get_label() != "<colorbar>"]
    for number, ax in enumerate(shown, 1):
        titles = (ax.get_title(side) for side in ("left", "center", "right"))
        told = (number, " ".join(filter(None, titles)), _label(ax, "x"), _label(ax, "y"))
        writer.writerows([_text(part) for part in (*told, *row)] for row in _panel(ax))
    blank = [""] * (len(HEAD) - 6)
    writer.writerows(["", "", "", "", "text", _text(words.get_text()), *blank] for words in figure.texts)
    return written.getvalue()


def _text(part: object) -> str:
    if part is None or isinstance(part, str):
        return " ".join((part or "").split())
    return "" if np.isnan(part) else f"{part + 0.0:.4g}"  # no -0


def _label(ax: Axes, which: str) -> str:
    """The name of an axis: its own, or where panels share it that of another panel."""
    shared = getattr(ax, f"get_shared_{which}_axes")()
    same = [ax, *(other for other in ax.figure.axes if shared.joined(ax, other))]
    return next(filter(None, (getattr(other, f"get_{which}label")() for other in same)), "")


def _panel(ax: Axes) -> Iterator[tuple[object, ...]]:
    """Kind, series and place of everything drawn; a grid under fill and lines once."""
    ticks, seen = (_names(ax.xaxis), _names(ax.yaxis)), []
    series, caps = _of_containers(ax)
    for artist in (*ax.lines, *ax.collections, *ax.patches, *ax.images, *ax.texts):
        name, places = getattr(artist, "kept", (series.get(artist, _series(artist)), None))
        kept = places is not None
        places = places if kept else [] if artist in caps else list(_places(artist))
        if places and not (kept and (name, places) in seen):
            seen.append((name, places))
            inside = (True, True) if kept else _in_data(artist, ax)
            across = isinstance(artist, Line2D) and not all(inside)  # one place says where such a line is
            for place in places[:1] if across else places:
                x, y, x_to, y_to, value = (*place, *[None] * (5 - len(place)))
                x, x_to = (x, x_to) if inside[0] else (None, None)
                y, y_to = (y, y_to) if inside[1] else (None, None)
                named = ("", "") if kept else (_name(at, found) for at, found in zip((x, y), ticks, strict=True))
                yield _kind(artist), name, x, y, x_to, y_to, value, *named


def _in_data(artist: Artist, ax: Axes) -> tuple[bool, bool]:
    """Whether x and y are those of the axes' numbers, or a share of the panel as for a line across it."""
    if isinstance(artist, Annotation):
        return (True, True)
    moved = artist.get_offset_transform() if isinstance(artist, PathCollection) else artist.get_transform()
    return moved.contains_branch_seperately(ax.transData)


def _of_containers(ax: Axes) -> tuple[dict[Artist, str], list[Artist]]:
    """What stands for a series that only its container names; the strokes at the ends of error bars."""
    series, caps = {}, []
    for container in ax.containers:
        parts = [*container]
        if isinstance(container, ErrorbarContainer):
            line, ends, bars = container
            parts, caps = [line, *bars], [*caps, *ends]
        for part in parts:
            series[part] = _series(container)
            if isinstance(container, BarContainer):
                part.bar = container.orientation
    return series, caps


def _series(artist: Artist) -> str:
    """The label of the legend, or where it must not have one the name given as `gid`."""
    if isinstance(artist, Text):
        return artist.get_text()
    label = str(artist.get_label())
    return label if not label.startswith("_") else getattr(artist, "get_gid", str)() or ""


def _names(axis: Axis) -> dict[float, str]:
    """Place -> name of the ticks, where the names are not just the places."""
    if not isinstance(axis.get_major_locator(), FixedLocator | StrCategoryLocator):
        return {}
    places = [float(place) for place in axis.get_majorticklocs()]
    named = dict(zip(places, axis.get_major_formatter().format_ticks(places), strict=True))
    return {} if all(name == f"{place:g}" for place, name in named.items()) else named


def _name(place: float | None, names: dict[float, str]) -> str:
    """The name of the nearest tick: what stands side by side at one tick belongs to it."""
    if place is None or not names:
        return ""
    nearest = min(names, key=lambda tick: abs(tick - place))
    return names[nearest] if abs(nearest - place) < 0.5 else ""


# what is drawn, by what draws it ------------------------------------------------------------------------------------

KINDS = {
    LineCollection: "interval",
    FillBetweenPolyCollection: "band",
    PathCollection: "points",
    Rectangle: "area",
    Text: "text",
}


def _kind(artist: Artist) -> str:
    if hasattr(artist, "kept"):
        return "grid"
    if isinstance(artist, Line2D):
        return "points" if artist.get_linestyle() == "None" else "line"
    if hasattr(artist, "bar"):
        return "bar"
    return next((kind for known, kind in KINDS.items() if isinstance(artist, known)), "cells")


@singledispatch
def _places(artist: Artist) -> Sequence[Place] | Iterator[Place]:
    return ()  # nothing that has numbers of its own


@_places.register
def _(line: Line2D) -> Iterator[Place]:
    yield from zip(*line.get_data(orig=False), strict=True)


@_places.register
def _(points: PathCollection) -> Iterator[Place]:
    yield from points.get_offsets().tolist()


@_places.register
def _(drawn: LineCollection) -> Iterator[Place]:
    yield from ((*piece[0], *piece[-1]) for piece in drawn.get_segments())


@_places.register
def _(band: FillBetweenPolyCollection) -> Iterator[Place]:
    """From the lower to the upper end at each x."""
    corners = np.concatenate([np.empty((0, 2)), *(path.vertices for path in band.get_paths())])
    for x in np.unique(corners[:, 0]):
        heights = corners[corners[:, 0] == x, 1]
        yield x, heights.min(), x, heights.max()


@_places.register
def _(area: Rectangle) -> Iterator[Place]:
    """A bar from its foot to its end, along its middle; of any other rectangle two corners."""
    (x, y), wide, high = area.get_xy(), area.get_width(), area.get_height()
    match getattr(area, "bar", None):
        case "vertical":
            foot, end = (x + wide / 2, y), (x + wide / 2, y + high)
            yield end if y == 0 else (*foot, *end)
        case "horizontal":
            foot, end = (x, y + high / 2), (x + wide, y + high / 2)
            yield end if x == 0 else (*foot, *end)
        case _:
            yield x, y, x + wide, y + high


@_places.register(AxesImage)
@_places.register(QuadMesh)
def _(cells: AxesImage | QuadMesh) -> Iterator[Place]:
    """Column, row and value of each cell."""
    values = np.ma.filled(np.ma.asarray(cells.get_array()).astype(float), np.nan)
    if values.size > MOST:
        yield None, None, None, None, f"{' x '.join(map(str, values.shape))} numbers, left out"
    else:
        yield from ((column, row, None, None, value) for (row, column), value in np.ndenumerate(values))


@_places.register
def _(text: Text) -> Iterator[Place]:
    if not NUMBER.fullmatch(text.get_text()):
        yield text.xy if isinstance(text, Annotation) else text.get_position()
