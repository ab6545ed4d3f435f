"""Accuracy over a grid of budgets (eps_x, eps_w): attacked, certified, and its AUC."""

from nsr.contour.contour import BRIEF, COARSE, FULL, GEOMETRIES, POINT, SMALL, Cell, Contour, Decided, Protocol, reach
from nsr.contour.deciding import plane
from nsr.contour.measuring import attacked, certifiable, certified, measure, over_grid
from nsr.contour.truth import decided, verdict_file

__all__ = [
    "BRIEF",
    "COARSE",
    "FULL",
    "GEOMETRIES",
    "POINT",
    "SMALL",
    "Cell",
    "Contour",
    "Decided",
    "Protocol",
    "attacked",
    "certifiable",
    "certified",
    "decided",
    "measure",
    "over_grid",
    "plane",
    "reach",
    "verdict_file",
]
