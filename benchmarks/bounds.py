"""What each bound costs beside a plain forward pass: 784-128-64-32-10, float32, no gradients, one batch, labels given.

    python benchmarks/bounds.py [--threads 2] [--batch 1000] [--repeats 30] [--images 100]

Every repetition runs the forward pass and all bounds in turn, so that whatever else the machine does falls on all of
them alike; a ratio is taken inside its repetition. Printed: median, and the quartiles in brackets. All classes are
bounded against the true one. "box" keeps the inputs in [0, 1]. "alpha" searches image by image, so it is timed on ten.

Then tightness: the AUC of what each linear method certifies of stored networks, the small grid, the first test images.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from nsr import Budget, contour, data, mlp, mlp_init, runs
from nsr.budget import LayerBall
from nsr.certify import METHODS, margin_upper_bound
from nsr.contour import SMALL
from nsr.theory.boxes import layer_box

SIZES = (784, 128, 64, 32, 10)
ROWS = ("standard", "weight_perturb", "jiwp", "at", "at_beta_high", "joint_at", "awp", "trades", "interval")
XI = Budget(0.01, (0.001,) * (len(SIZES) - 1))
FORWARD = ("forward pass", "")


def tasks(batch: int) -> dict[tuple[str, str], Callable[[], object]]:
    """What is timed, by (name, box)."""
    generator = torch.Generator().manual_seed(0)
    network = mlp(mlp_init(SIZES, generator))
    # like pixels: four in five are black
    x = torch.rand(batch, SIZES[0], generator=generator) * (torch.rand(batch, SIZES[0], generator=generator) < 0.2)
    y = torch.randint(SIZES[-1], (batch,), generator=generator)
    found: dict[tuple[str, str], Callable[[], object]] = {FORWARD: lambda: network(x)}
    for method in (m for m in METHODS if m != "alpha"):
        for name, box in (("none", None), ("[0, 1]", (0.0, 1.0))):
            found[method, name] = lambda method=method, box=box: margin_upper_bound(
                network, x, XI, method=method, box=box, y=y
            )
    return found


@torch.no_grad()
def measure(batch: int, repeats: int) -> dict[tuple[str, str], torch.Tensor]:
    """Seconds of every task [repeats], interleaved; the first three rounds only warm up."""
    timed = tasks(batch)
    seconds = {name: [] for name in timed}
    for _ in range(3 + repeats):
        for name, task in timed.items():
            start = time.perf_counter()
            task()
            seconds[name].append(time.perf_counter() - start)
    return {name: torch.tensor(s[3:]) for name, s in seconds.items()}


def spread(values: torch.Tensor, unit: str) -> str:
    """median [lower quartile, upper quartile]"""
    low, middle, high = values.quantile(torch.tensor([0.25, 0.5, 0.75])).tolist()
    return f"{middle:7.2f} {unit} [{low:.2f}, {high:.2f}]"


def hardware() -> str:
    """The processor, as the system names it, and the versions that decide speed."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return (
        f"{names[0] if names else platform.machine()}, {torch.get_num_threads()} thread(s), torch {torch.__version__}"
    )


def searched(images: int = 10) -> str:
    """What optimised slopes cost, an image."""
    generator = torch.Generator().manual_seed(0)
    network, x = mlp(mlp_init(SIZES, generator)), torch.rand(images, SIZES[0], generator=generator)
    y, took = network(x).argmax(1), []
    for k in range(images):
        start = time.perf_counter()
        margin_upper_bound(network, x[k : k + 1], XI, method="alpha", y=y[k : k + 1])
        took.append(time.perf_counter() - start)
    return spread(1e3 * torch.tensor(took), "ms an image")


def tightness(images: int) -> None:
    """The certified AUC of stored networks by boxes from intervals and from linear bounds."""
    samples = data.load("mnist").test.first(images)
    for row in ROWS:
        found = runs.stored(runs.spec(row, 0))
        grids = SMALL.grid_x, SMALL.grid_w
        aucs = [
            contour.certified(found.network, samples.x, samples.y, *grids, method=method).auc
            for method in ("linear", "tight")
        ]
        print(f"  {row:16}" + "".join(f"{auc:8.3f}" for auc in aucs), flush=True)


def signed(radius: float, eps: float, batch: int = 100) -> str:
    """The first layer's box for standardised inputs beside its exact form: what is lost, what the exact form costs."""
    generator = torch.Generator().manual_seed(0)
    W = mlp_init(SIZES[:2], generator, torch.float64)[0]
    x = torch.randn(batch, SIZES[0], generator=generator, dtype=torch.float64)
    ends = [t[:, None] for t in (x - radius, x + radius)]
    box, exact = [], []
    for _ in range(7):
        start = time.perf_counter()
        high = layer_box(LayerBall(W, None, eps, 0.0), x - radius, x + radius)[1]
        middle = time.perf_counter()
        best = torch.maximum(*(W * t + eps * t.abs() for t in ends)).sum(-1)
        box.append(middle - start)
        exact.append(time.perf_counter() - middle)
    loose = float(((high - best) / (best - x @ W.T)).mean())
    ratio = statistics.median(exact) / statistics.median(box)
    return f"radius {radius:g}, eps {eps:g}: {loose:.2%} of the half-width lost; the exact form takes {ratio:.0f} x"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--images", type=int, default=100, help="test images for the tightness; 0: none")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    seconds = measure(options.batch, options.repeats)
    print(f"{hardware()}; {'-'.join(map(str, SIZES))}, float32, batch {options.batch}, {options.repeats} repetitions")
    print(f"{'method':<14}{'box':<9}{'time':<32}beside the forward pass")
    for name, took in seconds.items():
        ratio = spread(took / seconds[FORWARD], "x")
        print(f"{name[0]:<14}{name[1]:<9}{spread(1e3 * took, 'ms'):<32}{ratio}")
    print(f"\nalpha: {searched()}")
    if options.images:
        print(f"\ncertified AUC, small grid, {options.images} images: linear, tight")
        tightness(options.images)
    print("\ninputs of any sign, the first layer's box:")
    for radius, eps in ((0.01, 0.002), (0.1, 0.002), (0.1, 0.01), (0.3, 0.01)):
        print(f"  {signed(radius, eps)}")


if __name__ == "__main__":
    main()
