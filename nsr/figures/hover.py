"""Floor 5: Figure 1 as a page element that answers the pointer: plain HTML and SVG, no script and no library.

Each cell is a rectangle with a title, which every browser shows where the pointer rests; buttons choose what is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import product

from matplotlib import colormaps
from matplotlib.colors import to_hex

from nsr.contour import Contour
from nsr.figures.figure_1 import Panel

SIDE, LEFT, FOOT = 100, 16, 16  # of a panel, and its margins, in units of the drawing
WEIGHTS = {"absolute": "eps_w", "relative": "r"}
STYLE = """
.nsr-hover section {display: none; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: .6rem;}
.nsr-hover figure {margin: 0;}
.nsr-hover figcaption {font-size: .8rem; line-height: 1.2;}
.nsr-hover label {margin: 0 1rem 0 .3rem;}
.nsr-hover svg {width: 100%; height: auto; background: none;}
.nsr-hover text {font-size: 7px; fill: currentColor;}
.nsr-hover rect:hover {stroke: #D55E00; stroke-width: 2;}
@media (max-width: 500px) {.nsr-hover section {grid-template-columns: repeat(2, minmax(0, 1fr)) !important;}}
"""


def hover(kinds: Mapping[str, Sequence[Panel]], name: str = "nsr-hover") -> str:
    """One group of panels for each kind of contour; a row of buttons shows one group at a time."""
    shown = {words: group for words, group in kinds.items() if any(panel.attacked for panel in group)}
    rules, buttons, groups = [STYLE], [], []
    for k, (words, group) in enumerate(shown.items(), start=1):
        rules.append(f"#{name} input:nth-of-type({k}):checked ~ section:nth-of-type({k}) {{display: grid;}}")
        checked = " checked" if k == 1 else ""
        buttons.append(f'<input type="radio" name="{name}" id="{name}-{k}"{checked}>')
        buttons.append(f'<label for="{name}-{k}">{escape(words)}</label>')
        groups.append(f"<section>{''.join(_figure(panel) for panel in group if panel.attacked)}</section>")
    parts = "".join(buttons + groups)
    return f'<style>{"".join(rules)}</style>\n<div class="nsr-hover" id="{name}">{parts}</div>'


def _figure(panel: Panel) -> str:
    words = escape(f"{panel.name}: {panel.auc}")
    return f"<figure><figcaption>{words}</figcaption>{_map(panel.attacked, words)}</figure>"


def _map(contour: Contour, words: str) -> str:
    """The cells at their radii's places in the grid, the weight radius upwards."""
    wide, high = SIDE / len(contour.grid_x), SIDE / len(contour.grid_w)
    radius = WEIGHTS[contour.geometry]
    cells = []
    for i, j in product(range(len(contour.grid_x)), range(len(contour.grid_w))):
        share = contour.accuracy[i][j]
        told = f"eps_x {contour.grid_x[i]:.3g}, {radius} {contour.grid_w[j]:.3g}: {share:.1%}"
        place = f'x="{LEFT + i * wide:.4g}" y="{SIDE - (j + 1) * high:.4g}" width="{wide:.4g}" height="{high:.4g}"'
        cells.append(f'<rect {place} fill="{to_hex(colormaps["cividis"](share))}"><title>{told}</title></rect>')
    across = f"eps_x, 0 to {contour.grid_x[-1]:.3g}"
    up = f"{radius}, 0 to {contour.grid_w[-1]:.3g}"
    axes = f'<text x="{LEFT}" y="{SIDE + 10}">{across}</text>'
    axes += f'<text transform="translate({LEFT - 5} {SIDE}) rotate(-90)">{up}</text>'
    box = f"0 0 {SIDE + LEFT} {SIDE + FOOT}"
    return f'<svg viewBox="{box}" role="img" aria-label="Accuracy by cell, {words}">{"".join(cells)}{axes}</svg>'
