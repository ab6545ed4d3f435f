"""The figures of chapter 1: one input under attack, and a test set under input, weight and joint attacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isqrt

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from nsr.figures.style import BLUE, ORANGE, RADIUS_W, RADIUS_X, curves, heat, subplots


def perturbation(before: Mapping[str, Tensor], after: Mapping[str, Mapping[str, Tensor]]) -> Figure:
    """Each vector of h * h entries as an image, and beside it what each attack adds to it, on one scale.

    One row per entry of `before`; `after` has the same keys, and for each the vector under every attack.
    """
    columns = 1 + max(map(len, after.values()))
    figure, rows = subplots(len(before), columns, (2.1 * columns, 2.3 * len(before)))
    for axes, (name, old) in zip(rows, before.items(), strict=True):
        _image(axes[0], old, f"{name} clean", old.aminmax())
        moved = {attack: new - old for attack, new in after[name].items()}
        widest = torch.stack([*moved.values()]).abs().max().clamp(min=torch.finfo(old.dtype).tiny)
        for ax, (attack, change) in zip(axes[1:], moved.items(), strict=True):
            _image(ax, change, f"difference,\n{attack}", (-widest, widest))
    return figure


def responses(logits: Mapping[str, Tensor], y: int) -> Figure:
    """The logits [K] of one input in each situation: the true class y hatched, the class that wins named on top."""
    figure, (axes,) = subplots(1, len(logits), (6.4, 2.9), sharey=True)
    for ax, (situation, z) in zip(axes, logits.items(), strict=True):
        bars = ax.bar(range(len(z)), z.tolist(), color=BLUE, edgecolor="white")
        bars[y].set(facecolor=ORANGE, edgecolor="black", hatch="//////")
        ax.axhline(0, color="black", linewidth=0.8)
        ax.set(title=f"{situation}\nanswers {int(z.argmax())}", xlabel="class", xticks=range(0, len(z), 2))
        ax.grid(visible=False, axis="x")
    axes[0].set_ylabel(f"logit (hatched: true class {y})")
    return figure


def joint_grid(eps_x: Sequence[float], eps_w: Sequence[float], shares: Mapping[str, Tensor]) -> Figure:
    """Shares [len(eps_x), len(eps_w)] as maps, a percentage in each cell; two edges are the singular tests."""
    figure, (axes,) = subplots(1, len(shares), (3.2 * len(shares), 3.4), sharey=True)
    for ax, (name, share) in zip(axes, shares.items(), strict=True):
        heat(ax, 100 * share, eps_x, eps_w, (0, 100))
        for width, height in ((len(eps_x), 1), (1, len(eps_w))):
            edge = Rectangle((0, 0), width, height, fill=False, edgecolor=ORANGE, linewidth=2.5, clip_on=False)
            ax.add_patch(edge)
        ax.set(title=name, xlabel=f"input radius {RADIUS_X}")
    axes[0].set_ylabel(f"weight radius {RADIUS_W['absolute']}")
    return figure


def equal_shares(share: Sequence[float], accuracies: Mapping[str, Tensor]) -> Figure:
    """Accuracies as both radii grow together; `share` is the fraction of the largest budget on either axis."""
    figure, ((ax,),) = subplots(size=(6.4, 4.0))
    curves(ax, share, accuracies, 100)
    ax.set(xlabel="share of the largest radius (1 = the grid's last)", ylabel="test accuracy (%)", ylim=(0, 100))
    ax.legend(loc="lower left")
    return figure


def _image(ax: Axes, values: Tensor, title: str, limits: tuple[Tensor, Tensor]) -> None:
    side = isqrt(values.numel())
    shown = ax.imshow(values.reshape(side, side), vmin=float(limits[0]), vmax=float(limits[1]))
    ax.set(title=title, xticks=[], yticks=[])
    ax.grid(visible=False)
    ax.figure.colorbar(shown, ax=ax, shrink=0.8).ax.tick_params(labelsize=8)
