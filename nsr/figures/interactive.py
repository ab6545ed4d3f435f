"""Figures that answer the pointer: every view as plotly's own JSON, which `_static/interactive.js` draws.

A view is one setting of the controls and what is seen then. There are only views of what was measured, so the controls
offer nothing else. The HTML holds no code, and its one line of text stands where no script runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from plotly import graph_objects as go
from torch import Tensor

from nsr.contour import Contour
from nsr.figures.contours import CERTIFIED, DIVERGING, FILL, LINES, SHADES, TICKS, percent
from nsr.figures.figure_1 import HALF, Panel
from nsr.figures.provenance import Stored, line, stale_in
from nsr.figures.style import PALETTE

RADIUS_X = "ε<sub>x</sub>"
RADIUS_W = {"absolute": ("ε<sub>w</sub>", "unit of W"), "relative": ("r", "share of mean |W<sup>m</sup>|")}
INSTEAD = (
    "The image above stands for this figure. In the built book, with JavaScript, it shows the number you point at."
)
LINE = {"showscale": False, "hoverinfo": "skip", "showlegend": False}
NO_FILL = {"coloring": "none"}
CLEAR, GRID, BAND = "rgba(0, 0, 0, 0)", "rgba(128, 128, 128, 0.25)", "rgba(128, 128, 128, 0.3)"
FILL_ALONE = {"mode": "none", "hoverinfo": "skip"}
MARKED = {"mode": "lines+markers", "marker_size": 8}
MARKERS, DASHES = ("circle", "square", "triangle-up"), ("solid", "dash", "dot")  # as in the static figure


@dataclass(frozen=True)
class View:
    """What is seen at one setting: the choice made with each control, in words, and the figure."""

    at: tuple[str, ...]
    figure: go.Figure


def page(label: str, controls: Sequence[str], views: Sequence[View], runs: Sequence[Stored] = ()) -> str:
    """The views as HTML. `controls` names the choices, the last of them a slider; `runs` are those that were drawn."""
    if not views:
        return "<p>not measured</p>"
    known = [{"at": view.at, **_plain(view.figure.to_plotly_json())} for view in views]
    return _place(label, {"controls": [*controls], "views": known}, runs)


def _place(label: str, found: dict, runs: Sequence[Stored]) -> str:
    """The figure's element: what was found as JSON, the text that stands where no script runs, and its source."""
    content = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    data = content.replace("<", "\\u003c")  # what would end the element early
    old = stale_in(runs)
    lines = [
        f'<div class="nsr-plot" role="group" aria-label="{escape(label)}">',
        f'<script type="application/json">{data}</script>',
        f'<p class="nsr-plot-instead">{INSTEAD}</p>',
        *([f'<p class="nsr-plot-source">{escape(line(runs))}</p>'] if runs else []),
        *([f'<p class="nsr-plot-stale">STALE: {escape(", ".join(old))}</p>'] if old else []),
        "</div>",
    ]
    return "\n".join(lines)


def plane(panel: Panel) -> go.Figure:
    """A panel of Figure 1, drawn as there: fill, labelled lines, the certified line. Dots: what was measured."""
    contour, sure = panel.attacked, panel.certified
    radius, _ = RADIUS_W[contour.geometry]
    told = f"{RADIUS_X} %{{x:.3~g}}, {radius} %{{y:.3~g}}: %{{z:.1f}} %<br>{panel.name}<extra></extra>"
    bar = {"title": {"text": "%"}, "tickvals": TICKS.tolist(), "thickness": 12, "outlinewidth": 0}
    steps, scale = _levels(FILL[1:-1].tolist()), {"zmin": 0, "zmax": 100, "colorscale": [*SHADES], "colorbar": bar}
    inked = {"showlabels": True, "labelfont": {"color": "white"}, "labelformat": ".0f"}
    parts = [
        go.Contour(**_grid(contour), **scale, contours=steps | {"showlines": False}, hovertemplate=told),
        go.Contour(**_grid(contour), **LINE, contours=_levels(LINES) | inked | NO_FILL, line={"color": "white"}),
    ]
    if sure is not None:
        look = LINE | {"showlegend": True, "name": f"{HALF} % of the images certified"}
        ink = {"color": CERTIFIED, "width": 3, "dash": "dash"}
        parts.append(go.Contour(**_grid(sure), **look, contours=_levels((HALF,)) | NO_FILL, line=ink))
    parts.append(_dots(contour))
    return go.Figure(parts, _radii(f"{panel.name}<br>{panel.auc}", contour))


@dataclass(frozen=True)
class Measured:
    """A kind of contour in words, and all that it found: method -> seed -> contour, over one grid."""

    words: str
    found: Mapping[str, Mapping[int, Contour]]


def pairs(label: str, kinds: Sequence[Measured], start: tuple[str, str], runs: Sequence[Stored] = ()) -> str:
    """Any two methods under one kind of contour, and their difference, as HTML; `start` names those seen first.

    Every contour stands in it once, in % and to the last image: the page's script takes the means and the difference.
    """
    if not kinds:
        return "<p>not measured</p>"
    known = []
    for kind in kinds:
        (one, *others) = [contour for by_seed in kind.found.values() for contour in by_seed.values()]
        if any((other.grid_x, other.grid_w) != (one.grid_x, one.grid_w) for other in others):
            raise ValueError(f"contours over different grids cannot be compared: {kind.words}")
        known.append(
            {
                "name": kind.words,
                "plane": _empty(plane(Panel("%{meta[0]}", "%{meta[1]}", one))),
                "difference": _empty(_difference(one)),
                "found": {
                    name: {seed: percent(contour).round(6).tolist() for seed, contour in by_seed.items()}
                    for name, by_seed in kind.found.items()
                },
            }
        )
    return _place(label, {"controls": ["Measured:", "Left:", "Right:"], "kinds": known, "start": [*start]}, runs)


def _difference(contour: Contour) -> go.Figure:
    """Where the second of two methods is ahead and where behind: lines each 10 points, none where they are as good."""
    radius, unit = RADIUS_W[contour.geometry]
    told = f"{RADIUS_X} %{{x:.3~g}}, {radius} %{{y:.3~g}}: %{{z:+.1f}} points<br>%{{meta[0]}}<extra></extra>"
    bar = {"title": {"text": "points"}, "thickness": 12, "outlinewidth": 0, "tickformat": "+d"}
    inked = {"showlabels": True, "labelfont": {"color": "white"}, "labelformat": "+d"}
    steps = {"coloring": "heatmap", "start": -95, "end": 95, "size": 10} | inked
    ink = {"color": "rgba(0, 0, 0, 0.6)", "width": 1}
    look = {"colorscale": DIVERGING, "colorbar": bar, "contours": steps, "line": ink, "hovertemplate": told}
    layout = _radii("%{meta[0]}<br>%{meta[1]}", contour)
    return go.Figure([go.Contour(**_grid(contour), **look), _dots(contour)], layout)


def _empty(figure: go.Figure) -> dict:
    """A figure of a plane as the page has it: accuracies and sizes are still to come."""
    found = _plain(figure.to_plotly_json())
    found["layout"].pop("height")
    for part in found["data"]:
        part.pop("z", None)
    return found


def sandwich(grid_x: Sequence[float], grid_w: Sequence[float], accuracies: Mapping[str, Tensor]) -> str:
    """Accuracies [len(grid_x), len(grid_w)] against the input radius, the certified ones first; a slider over eps_w."""
    views = []
    for b, eps_w in enumerate(grid_w):
        columns = {name.replace(r"$\hat W$", "Ŵ"): found[:, b].tolist() for name, found in accuracies.items()}
        views.append(View((f"{eps_w:.2g}",), _band(grid_x, columns, f"{RADIUS_W['absolute'][0]} = {eps_w:.2g}")))
    return page("Certified and attacked accuracy against the input radius", ("Weight radius:",), views)


def _band(grid_x: Sequence[float], columns: Mapping[str, Sequence[float]], title: str) -> go.Figure:
    """One line for each name; the band between the first two is what neither of them decides."""
    parts = []
    for k, (name, shares) in enumerate(columns.items()):
        places = {"x": [*grid_x], "y": [100 * share for share in shares]}
        if k == 1:  # it fills down to the line before it
            parts.append(go.Scatter(**places, fill="tonexty", fillcolor=BAND, name="not decided", **FILL_ALONE))
        told = f"{name}<br>{RADIUS_X} %{{x:.3~g}}: %{{y:.1f}} %<extra></extra>"
        look = {"line": {"color": PALETTE[k], "dash": DASHES[k]}, "marker": {"symbol": MARKERS[k]}}
        parts.append(go.Scatter(**places, name=name, hovertemplate=told, **MARKED, **look))
    layout = _layout(title, f"{RADIUS_X} (unit of x)", "accuracy (%)")
    layout["yaxis"] |= {"range": [-2, 102]}
    layout["legend"] |= {"y": -0.4, "traceorder": "normal"}  # filled traces would turn the order round
    # one small label at the nearest point, however far: a box for all lines covers them on a phone
    return go.Figure(parts, layout | {"hovermode": "closest", "hoverdistance": -1})


def _layout(title: str, across: str, up: str) -> dict:
    """No ground, so that the page's own shows, and no dragging, so that a finger on a phone still scrolls."""
    axis = {"fixedrange": True, "gridcolor": GRID, "zeroline": False, "automargin": True, "nticks": 6}
    return {
        **{"template": "none", "paper_bgcolor": CLEAR, "plot_bgcolor": CLEAR, "dragmode": False, "height": 430},
        "title": {"text": title, "font": {"size": 14}, "x": 0.5},
        "margin": {"l": 10, "r": 10, "t": 60, "b": 10},
        "hovermode": "closest",
        "legend": {"orientation": "h", "y": -0.25, "x": 0.5, "xanchor": "center"},
        "xaxis": {**axis, "title": {"text": across}},
        "yaxis": {**axis, "title": {"text": up}},
    }


def _radii(title: str, contour: Contour) -> dict:
    """The layout of a plane of both radii, from corner to corner of what was measured."""
    radius, unit = RADIUS_W[contour.geometry]
    layout = _layout(title, f"{RADIUS_X} (unit of x)", f"{radius} ({unit})")
    layout["xaxis"] |= {"range": [0, contour.grid_x[-1]]}
    layout["yaxis"] |= {"range": [0, contour.grid_w[-1]]}
    return layout


def _grid(contour: Contour) -> dict:
    return {"x": [*contour.grid_x], "y": [*contour.grid_w], "z": percent(contour).tolist()}


def _levels(levels: Sequence[int]) -> dict:
    return {"start": levels[0], "end": levels[-1], "size": levels[-1] - levels[-2] if len(levels) > 1 else 1}


def _dots(contour: Contour) -> go.Scatter:
    places = {"x": [a for a in contour.grid_x for _ in contour.grid_w], "y": [*contour.grid_w] * len(contour.grid_x)}
    look = {"color": "white", "size": 4, "line": {"color": "black", "width": 0.5}}
    return go.Scatter(**places, mode="markers", marker=look, hoverinfo="skip", showlegend=False, cliponaxis=False)


def _plain(part: object) -> object:
    """Numbers to four digits, so that the last bits of a machine do not show."""
    if isinstance(part, dict):
        return {key: _plain(value) for key, value in part.items()}
    if isinstance(part, list | tuple):
        return [_plain(value) for value in part]
    return float(f"{part:.4g}") if isinstance(part, float) else part
