"""One look a training method, the same in every figure of the book; other series are told by their place."""

from __future__ import annotations

from nsr.training import METHODS

COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#CC79A7")
MARKERS, STYLES = "osD^v*", ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))

Look = dict[str, object]  # colour, marker and linestyle as `Axes.plot` takes them

# Okabe and Ito have seven colours that show on white: the last three rows share theirs with a row of another family
# and differ by marker and line. No marker is hollow: what that says is for each figure to choose.
_ROWS = {
    "standard": ("#000000", "o", "-"),
    "weight_perturb": ("#E69F00", "s", "--"),
    "at": ("#0072B2", "^", "-"),
    "at_beta_low": ("#56B4E9", "D", "-."),
    "at_beta_high": ("#009E73", "v", ":"),
    "jiwp": ("#D55E00", "X", (0, (5, 1))),
    "joint_at": ("#CC79A7", "P", "-"),
    "interval": ("#000000", "*", (0, (1, 1))),
    "awp": ("#D55E00", "<", (0, (3, 1, 1, 1))),
    "trades": ("#E69F00", ">", "-."),
}


def look(name: str, k: int) -> Look:
    """The look of a method, named by its row or its title; of any other series, the look of place `k`."""
    row = next((row for row, method in METHODS.items() if name in (row, method.title)), None)
    if row not in _ROWS:
        return placed(k)
    return dict(zip(("color", "marker", "linestyle"), _ROWS[row], strict=True))


def placed(k: int) -> Look:
    """The look of the series in place `k` of a figure."""
    colour, marker, style = (part[k % len(part)] for part in (COLOURS, MARKERS, STYLES))
    return {"color": colour, "marker": marker, "linestyle": style}
