"""Companion runs made up from the numbers that they are read for."""

from __future__ import annotations

from pathlib import Path

import torch

from nsr.contour import Contour
from nsr.inside import LEVELS, Inside, Moments, Norms, Outputs, Spectrum
from nsr.network import mlp
from nsr.runs import Run, Spec, companions

GRIDS = {
    "few": ((0.0, 0.1, 0.2), (0.0, 0.004)),
    "coarse": ((0.0, 0.1, 0.2, 0.3), (0.0, 0.003, 0.006, 0.01)),
    "coarse_own": ((0.0, 0.1, 0.2, 0.3), (0.0, 0.003, 0.006, 0.01)),
}
NET = mlp((torch.eye(2),))


def inside(accuracy: float, norm: float) -> Inside:
    """A network of two layers, the second with twice the norms of the first."""
    moments, levels = Moments(1.0, 0.1), tuple(map(float, LEVELS))
    outputs = Outputs(moments, moments, 0.9, accuracy, 0.1, levels)
    norms = tuple(Norms(k * norm, k * norm, k * norm) for k in (1, 2))
    changes = (moments, moments)
    return Inside(outputs, outputs, (Spectrum(0.1, 0.1, 2.0),) * 2, norms, (0.1, 0.1), changes, changes, 0.1)


def run(
    spec: Spec,
    *,
    accuracy: float = 0.9,
    attacked: float = 0.5,
    norm: float = 1.0,
    validation: float = 0.9,
    kinds: tuple[str, ...] = ("few", "coarse", "coarse_own"),
    weights: bool = False,
) -> Run:
    """A run with the same accuracy in every cell; each seed is a little apart, so that an interval has a width."""
    shift = 0.001 * spec.seed
    contours = {}
    for kind in kinds:
        grid_x, grid_w = GRIDS[kind]
        contours[kind] = Contour(grid_x, grid_w, ((attacked + shift,) * len(grid_w),) * len(grid_x))
    found = {"inside": inside(accuracy + shift, norm * (1 + shift))}
    provenance = {"training": {}, "contours": {}}
    network = NET if weights else None
    return Run(spec, network, ({"validation": validation},), contours, provenance, Path("a"), (), found)


def rung(row: str = "standard", seeds: int = 3, **numbers: object) -> dict[int, Run]:
    return {seed: run(companions.spec(row, seed), **numbers) for seed in range(seeds)}
