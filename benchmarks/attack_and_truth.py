"""The strong attack with weights of each image's own beside the truth: how far each is above it, cell by cell.

    python benchmarks/attack_and_truth.py [ROW ..] [--seed 0] [--images 100] [--cells 1,4 2,3] [--planes FOLDER]

"Before" is the strong attack, "after" the one that goes on towards each class by itself. Verdicts are those of the
stored contour "exact" or, with --planes, of FOLDER/ROW.jsonl, a line an image: {"k": its number, "plane": a letter a
cell}. The excess of a cell is the share of images that the truth breaks and the attack does not, of all images, in
points; open images count as neither. Since an image with weights of its own is a problem of its own and nothing breaks
what is proved robust, only images that the truth breaks are attacked, by the second attack only where the first failed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch
from bounds import hardware
from torch import Tensor

from nsr import Budget, Network, data, runs
from nsr.attack import OWN, STRONG, Attack, survivors
from nsr.attack.offsets import by_neuron
from nsr.contour import SMALL
from nsr.data import Split

ROWS = ("standard", "at", "trades", "awp", "joint_at", "at_beta_high", "interval", "weight_perturb", "jiwp")


def planes(row: str, seed: int, folder: Path | None, images: int) -> dict[int, str]:
    """Image number -> its verdicts over the small grid."""
    if folder is None:
        exact = runs.stored(runs.spec(row, seed)).contours["exact"]
        return dict(enumerate(exact.verdicts[:images]))
    lines = map(json.loads, (folder / f"{row}.jsonl").read_text().splitlines())
    return {line["k"]: line["plane"] for line in lines if line["k"] < images}


def unit(network: Network, x: Tensor, y: Tensor) -> float:
    """The median |clean margin|, which the temperatures of an attack are shares of."""
    z = network(x)
    z_y = z.gather(1, y[:, None])
    return float((z_y - z.scatter(1, y[:, None], -torch.inf).amax(1, keepdim=True)).abs().median())


def tied(attack: Attack, factor: float) -> Attack:
    """The attack with its temperatures times `factor`, so that a part of the images has those of all."""
    parts = {name: getattr(attack, name) for name in ("members", "polish", "targeted")}
    return replace(attack, **{k: tuple(replace(a, T=a.T * factor) for a in part) for k, part in parts.items()})


def left(network: Network, samples: Split, among: list[int], xi: Budget, attack: Attack) -> list[int]:
    """Those of these images that the attack does not break, its temperatures being those of all samples."""
    if not among:
        return []
    x, y = samples.x[among], samples.y[among]
    attack = tied(attack, unit(network, samples.x, samples.y) / max(unit(network, x, y), 1e-30))
    (alive,) = survivors(by_neuron(network), x, y, [xi], attack, images_per_W=1)
    return [k for k, right in zip(among, alive.tolist(), strict=True) if right]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", default=ROWS, metavar="ROW")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--cells", nargs="*", help="places i,j in the small grid; all of them unless given")
    parser.add_argument("--planes", type=Path)
    parser.add_argument("--each", action="store_true", help="print every cell")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{hardware()}; one thread\n")
    print("| row | images | cells | open, % | robust, % | excess before: mean, worst | excess after: mean, worst | s |")
    print("|---|---|---|---|---|---|---|---|")
    shape = len(SMALL.grid_x), len(SMALL.grid_w)
    cells = [tuple(map(int, c.split(","))) for c in options.cells or ()] or list(itertools.product(*map(range, shape)))
    every: list[tuple[float, float]] = []
    for row in options.rows:
        network, begin, found = runs.stored(runs.spec(row, options.seed)).network, time.process_time(), []
        verdicts = planes(row, options.seed, options.planes, options.images)
        samples, n = data.load("mnist").test.first(options.images), len(verdicts)
        letters = {(i, j): {k: plane[i * shape[1] + j] for k, plane in verdicts.items()} for i, j in cells}
        for (i, j), letter in letters.items():
            xi = Budget.uniform(SMALL.grid_x[i], SMALL.grid_w[j], network)
            broken = [k for k, verdict in letter.items() if verdict == "b"]
            quickly = left(network, samples, broken, xi, Attack(STRONG.members[:1]))  # most, at a seventh of the cost
            before = left(network, samples, quickly, xi, STRONG)
            after = left(network, samples, before, xi, OWN)
            found.append((100 * len(before) / n, 100 * len(after) / n))
            if options.each:
                print(f"{row} {i},{j}: {broken=}, {before=}, {after=}", flush=True)
        every += found
        shares = [statistics.mean(list(c.values()).count(v) / n for c in letters.values()) for v in "or"]
        told = " | ".join(f"{statistics.mean(e):.2f}, {max(e):.1f}" for e in zip(*found, strict=True))
        said = " | ".join(f"{100 * share:.1f}" for share in shares)
        print(f"| {row} | {n} | {len(cells)} | {said} | {told} | {time.process_time() - begin:.0f} |", flush=True)
    told = " | ".join(f"{statistics.mean(e):.2f}, {max(e):.1f}" for e in zip(*every, strict=True))
    print(f"| all | | {len(every)} | | | {told} | |")


if __name__ == "__main__":
    main()
