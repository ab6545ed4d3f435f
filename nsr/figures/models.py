"""The figures of chapter 5: the loss during training, and what training does to layers and margins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from nsr.figures.style import Look, legend, look, rows, spans, subplots, wrapped

TERMS = ("cross-entropy", "certified", "tau", "zeta")  # always in the same colour, whichever of them a loss has
LABELS = {"tau": r"$\alpha \max \tau$", "zeta": r"$\beta \max \zeta$"}

Seeds = Sequence[Sequence[float]]  # one row a seed


def terms(histories: Mapping[str, Sequence[Sequence[Mapping[str, float]]]]) -> Figure:
    """Each term of the loss by epoch, a panel a method: the mean over its runs, and their range as a band."""
    figure, grid = wrapped(len(histories), 3, (2.9, 2.3), (0, 0.6), sharey=True)
    for ax, (name, runs) in zip(grid.flat, histories.items(), strict=False):
        for k, term in enumerate(TERMS):
            if all(term in record for run in runs for record in run):
                _curve(ax, [[record[term] for record in run] for run in runs], look(term, k), LABELS.get(term, term))
        ax.set(title=name, yscale="log", xlabel="epoch")
    for ax in grid[:, 0]:
        ax.set_ylabel("mean over the epoch (nats)")
        ax.yaxis.set_major_locator(LogLocator())  # decades alone: these axes span many
    legend(figure, 4)
    return figure


def validation(accuracies: Mapping[str, Seeds]) -> Figure:
    """Accuracy on validation images by epoch, a line a method: the mean over its runs, and their range as a band."""
    figure, ((ax,),) = subplots(size=(6.4, 3.9))
    for k, (name, runs) in enumerate(accuracies.items()):
        _curve(ax, 100 * np.array(runs), look(name, k), name)
    ax.set(xlabel="epoch", ylabel="clean validation accuracy (%)")
    legend(figure, 3)
    return figure


def norms(by_layer: Mapping[str, Seeds], margins: Mapping[str, Seeds]) -> Figure:
    """Left: the norm of each layer, the means over the runs. Right: quartiles of the clean margins, a row a run."""
    figure, ((left, right),) = subplots(1, 2, (6.4, 4.0), width_ratios=(1, 1.15))
    for k, (name, runs) in enumerate(by_layer.items()):
        layers = np.arange(1, 1 + len(runs[0])) + 0.08 * (k - (len(by_layer) - 1) / 2)
        seen = look(name, k) | {"linestyle": "none"}
        left.plot(layers, np.mean(runs, axis=0), label=name, **seen)
        left.vlines(layers, np.min(runs, axis=0), np.max(runs, axis=0), color=seen["color"], linewidth=1.2, gid=name)
    left.set(yscale="log", xlabel="layer $m$", ylabel=r"$\Vert W^m \Vert_\infty$ (unit of $W$)")
    _plain(left)
    left.set_xticks(range(1, 1 + len(next(iter(by_layer.values()))[0])))
    for k, (name, runs) in enumerate(margins.items()):
        at = k + 0.6 * ((np.arange(len(runs)) + 0.5) / len(runs) - 0.5)
        spans(right, at, *np.transpose(runs), **look(name, k) | {"markersize": 4})
    right.axvline(0, color="black", linewidth=1)
    right.set_xlabel("margin of the true class\n(logits)")
    rows(right, list(margins))
    legend(figure, 3)
    return figure


def _plain(ax: Axes) -> None:
    """A logarithmic axis labelled 1, 2, 5 and so on."""
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter("")


def _curve(ax: Axes, runs: Seeds | np.ndarray, seen: Look, label: str) -> None:
    values = np.array(runs)
    epochs = range(1, 1 + values.shape[1])
    ax.plot(epochs, values.mean(0), label=label, markersize=3.5, **seen)
    ax.fill_between(epochs, values.min(0), values.max(0), color=seen["color"], alpha=0.15, linewidth=0, gid=label)
