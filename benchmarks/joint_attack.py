"""How fast the joint attack is: one paired run of a plain PyTorch loop and ours, and the machine's own limit beside it.

    python benchmarks/joint_attack.py                 two threads or as many as the machine has, on the CPU
    python benchmarks/joint_attack.py --ladder        cost and memory against images, steps, depth and width
    python benchmarks/joint_attack.py --device cuda   the whole of Figure 1: six networks over the full grid

Plain is what a user would write: nn.Sequential, autograd, one cell after another, torch's threads inside a cell. The
two take turns, `--repeats` times; a ratio is that of the medians, the spread is from the least to the most.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nsr.attack import Attack, mlp_gradients, survivors
from nsr.attack.engine import CHUNK
from nsr.budget import Budget
from nsr.contour import FULL, measure
from nsr.network import Network, mlp, mlp_init

SIZES = (784, 128, 64, 32, 10)
INTERIOR = (0.15, 0.005)


def plain(model: nn.Module, x: Tensor, y: Tensor, eps_x: float, eps_w: float, steps: int) -> float:
    """The attack on one cell as a user would write it; the accuracy left."""
    attacked, x_hat = copy.deepcopy(model), x.clone()
    clean = [p.detach().clone() for p in model.parameters()]
    for _ in range(steps):
        x_hat.requires_grad_()
        loss = F.cross_entropy(attacked(x_hat), y)
        loss.backward()
        with torch.no_grad():
            x_hat = x_hat + 0.01 * x_hat.grad.sign()
            x_hat = torch.clamp(torch.min(torch.max(x_hat, x - eps_x), x + eps_x), 0, 1)
            for p, p_0 in zip(attacked.parameters(), clean, strict=True):
                p += 0.0005 * p.grad.sign()
                p.copy_(torch.min(torch.max(p, p_0 - eps_w), p_0 + eps_w))
                p.grad = None
    with torch.no_grad():
        return float((attacked(x_hat).argmax(1) == y).float().mean())


def networks(sizes: tuple[int, ...], seed: int) -> tuple[nn.Module, Network]:
    """The same random network twice: as a module and as a Network."""
    W = mlp_init(sizes, torch.Generator().manual_seed(seed))
    parts: list[nn.Module] = []
    for W_m in W:
        parts += [nn.Linear(W_m.shape[1], W_m.shape[0], bias=False), nn.ReLU()]
        parts[-2].weight.data = W_m.clone()
    return nn.Sequential(*parts[:-1]), mlp(W)


def attack_of(steps: int) -> Attack:
    return Attack.pgd(steps)


def flop(sizes: tuple[int, ...], images: int, steps: int) -> float:
    """Three products a layer and step, two operations a multiply-add."""
    return 6.0 * images * steps * sum(a * b for a, b in zip(sizes[:-1], sizes[1:], strict=True))


def one_thread_each(work: Callable[[Any], object], items: Sequence[Any], workers: int) -> None:
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        list(pool.map(work, items))


def taking_turns(repeats: int, *runs: Callable[[], object]) -> list[list[float]]:
    """Seconds of each run, in the order this, that, this, that."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(repeats):
        for run, found in zip(runs, times, strict=True):
            begin = time.perf_counter()
            run()
            found.append(time.perf_counter() - begin)
    return times


def spread(times: list[float]) -> str:
    return f"{statistics.median(times):.2f} ({min(times):.2f} to {max(times):.2f}, n = {len(times)})"


def product_rates(images: int, threads: int) -> tuple[float, float]:
    """FLOP/s of x W^1' on all threads, the best of 20: torch's own product, and the one that the attack uses."""
    x, W = torch.rand(images, SIZES[0]), torch.randn(SIZES[1], SIZES[0])
    chunks, out = x[None].split(CHUNK // SIZES[0], dim=1), torch.empty(images, SIZES[1])

    def ours(k: int) -> None:
        for _ in range(10):
            for chunk in chunks[k::threads]:
                mlp_gradients.product(chunk, W[None].mT)

    runs = (
        lambda: [torch.mm(x, W.T, out=out) for _ in range(10)],
        lambda: one_thread_each(ours, range(threads), threads),
    )
    return tuple(20.0 * images * SIZES[0] * SIZES[1] / min(times) for times in taking_turns(20, *runs))


def compare(images: int, repeats: int, threads: int) -> None:
    torch.set_num_threads(threads)
    module, network = networks(SIZES, seed=0)
    x, y = torch.rand(images, SIZES[0]), torch.randint(10, (images,))
    mm, own = product_rates(images, threads)
    print(f"x W^1' on {threads} threads: torch.mm {mm / 1e9:.0f}, the attack's product {own / 1e9:.0f} GFLOP/s\n")
    print("| what | plain, s | ours, s | ratio | of torch.mm's rate | of its own product's |")
    print("|---|---|---|---|---|---|")

    def interior(eps_w: float) -> None:
        survivors(network, x, y, [Budget.uniform(INTERIOR[0], eps_w, network)], attack_of(100))

    eps_ws = [INTERIOR[1]] * threads
    theirs, ours = taking_turns(
        repeats,
        lambda: [plain(module, x, y, INTERIOR[0], eps_w, 100) for eps_w in eps_ws],
        lambda: one_thread_each(interior, eps_ws, threads),
    )
    rate = flop(SIZES, images, 100) * threads / statistics.median(ours)
    row(f"{threads} interior cells, 100 steps", theirs, ours, f"{rate / mm:.0%} | {rate / own:.0%}")
    theirs, ours = taking_turns(
        1,
        lambda: [plain(module, x, y, *cell, 10) for cell in itertools.product(FULL.grid_x, FULL.grid_w)],
        lambda: measure(network, x, y, FULL.grid_x, FULL.grid_w, attack=attack_of(10), workers=threads),
    )
    row("11 x 11 grid, 10 steps", theirs, ours, " | ")


def row(name: str, theirs: list[float], ours: list[float], shares: str) -> None:
    ratio = statistics.median(theirs) / statistics.median(ours)
    print(f"| {name} | {spread(theirs)} | {spread(ours)} | {ratio:.2f} | {shares} |", flush=True)


def ladder() -> None:
    """One thread, one interior cell, each in a process of its own, so that peak memory is its own."""
    print("| images | steps | widths | s | ns an image, step and kFLOP | peak memory, MB |\n|---|---|---|---|---|---|")
    deep, wide = (784, *[128] * 8, 10), (784, 512, 256, 128, 10)
    for images, steps, sizes in (
        *((n, 20, SIZES) for n in (1_250, 2_500, 5_000, 10_000, 20_000)),
        *((10_000, t, SIZES) for t in (10, 40, 80)),
        *((10_000, 20, sizes) for sizes in (deep, wide)),
    ):
        program = [sys.executable, __file__, "--rung", str(images), str(steps), *map(str, sizes)]
        took, peak = map(float, subprocess.run(program, check=True, capture_output=True, text=True).stdout.split())
        cost = took / (flop(sizes, images, steps) / 1e3) * 1e9
        print(
            f"| {images:,} | {steps} | {'-'.join(map(str, sizes))} | {took:.2f} | {cost:.2f} | {peak:.0f} |", flush=True
        )


def rung(images: int, steps: int, *sizes: int) -> None:
    torch.set_num_threads(1)
    _, network = networks(sizes, seed=0)
    x, y = torch.rand(images, sizes[0]), torch.randint(sizes[-1], (images,))
    cell = [Budget.uniform(*INTERIOR, network)]
    [times] = taking_turns(3, lambda: survivors(network, x, y, cell, attack_of(steps)))
    print(statistics.median(times), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def figure_1(images: int, repeats: int) -> None:
    """Six networks, 121 cells, 100 steps, float32 products without TF32."""
    x, y = torch.rand(images, SIZES[0], device="cuda"), torch.randint(10, (images,), device="cuda")
    six = [networks(SIZES, seed)[1].to("cuda") for seed in range(6)]
    cells = [Budget.uniform(*cell, six[0]) for cell in itertools.product(FULL.grid_x, FULL.grid_w)]

    def run() -> None:
        for network in six:
            survivors(network, x, y, cells)
        torch.cuda.synchronize()

    survivors(six[0], x, y, cells, attack_of(2))  # compiles
    [times] = taking_turns(repeats, run)
    rate = flop(SIZES, images, 100) * len(six) * len(cells) / statistics.median(times)
    print(f"{torch.cuda.get_device_name()}: Figure 1 in {spread(times)} s, {rate / 1e12:.1f} TFLOP/s")
    print(f"peak memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--ladder", action="store_true")
    parser.add_argument("--rung", type=int, nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.rung:
        rung(*given.rung)
        return
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {given.images:,} images\n")
    if given.device == "cuda":
        figure_1(given.images, given.repeats)
    elif given.ladder:
        ladder()
    else:
        compare(given.images, given.repeats, given.threads)


if __name__ == "__main__":
    main()
