"""Exact decisions beside the textbook: a mixed-integer program with interval boxes, every class maximised by HiGHS.

    python benchmarks/exact.py [--images 30] [--limit 60] [--seed 0]

Both decide the same images of stored networks, one after the other, so that whatever else the machine does falls on
both alike: images that the prediction and tight linear bounds leave undecided, drawn over networks and cells. Both stop
at `--limit` seconds an image, so where only the solver did the ratio is at least what is printed. One thread each.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time

import torch
from bounds import hardware
from milp import Layer, textbook

from nsr import Budget, certify, data, runs
from nsr.budget import layer_balls
from nsr.contour import SMALL

ROWS = ("standard", "at", "trades", "awp", "joint_at", "at_beta_high", "interval")


def cases(seed: int) -> list[tuple[str, float, float]]:
    """Rows and cells of the small grid in a random order."""
    every = list(itertools.product(ROWS, SMALL.grid_x, SMALL.grid_w))
    order = torch.randperm(len(every), generator=torch.Generator().manual_seed(seed))
    return [every[k] for k in order.tolist()]


def undecided(network, samples, xi: Budget) -> list[int]:
    """The images that are predicted right and that tight bounds do not certify."""
    sure = certify.certified(network, samples.x, samples.y, xi)
    return ((network(samples.x).argmax(1) == samples.y) & ~sure).nonzero()[:, 0].tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=30)
    parser.add_argument("--limit", type=float, default=60.0, help="seconds of each for one image")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of networks, cells and images")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{hardware()}; {options.images} images, at most {options.limit:g} s each")
    samples, ratios, against, decided = data.load("mnist", dtype=torch.float64).test.first(100), [], 0, [0, 0]
    drawn = torch.Generator().manual_seed(options.seed)
    for row, eps_x, eps_w in cases(options.seed):
        if len(ratios) == options.images:
            break
        network = runs.stored(runs.spec(row, 0)).network.to(torch.float64)
        xi = Budget.uniform(eps_x, eps_w, network)
        left = undecided(network, samples, xi)
        if not left:
            continue
        k = left[int(torch.randint(len(left), (1,), generator=drawn))]
        x, y = samples.x[k : k + 1], samples.y[k : k + 1]
        start = time.perf_counter()
        ours = certify.exact(network, x, y, xi, seconds=options.limit)
        middle = time.perf_counter()
        balls = layer_balls(network.W, xi)
        layers = [Layer(W.numpy(), 0 * W[:, 0].numpy(), eps, beta) for W, _, eps, beta in balls]
        theirs = textbook(layers, *(end[0].numpy() for end in xi.interval(x, (0.0, 1.0))), int(y), options.limit)
        seconds = middle - start, time.perf_counter() - middle
        broken, robust = theirs.margin > 1e-5, theirs.bound < -1e-5
        against += bool((ours.robust and broken) or (ours.broken and robust))
        decided = [decided[0] + int(not ours.open), decided[1] + int(broken or robust)]
        ratios.append(seconds[1] / seconds[0])
        words = "robust" if ours.robust else "broken" if ours.broken else "open"
        said = "robust" if robust else "broken" if broken else "open"
        print(
            f"{row:14} ({eps_x:g}, {eps_w:g}) image {k:2}: exact {words:6} {seconds[0]:7.2f} s, "
            f"textbook {said:6} {seconds[1]:7.2f} s, ratio {ratios[-1]:.0f}",
            flush=True,
        )
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(f"textbook / exact: median {middle:.0f}, quartiles {low:.0f} and {high:.0f}, least {min(ratios):.1f}")
    print(f"decided: exact {decided[0]}, textbook {decided[1]} of {len(ratios)}; contradictions: {against}")
    sys.exit(bool(against))


if __name__ == "__main__":
    main()
