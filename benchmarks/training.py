"""What a training step costs by the regulariser of eq. (4), beside a step of plain cross-entropy: 784-128-64-32-10.

    python benchmarks/training.py [--threads 1] [--batch 256] [--repeats 60]

Loss, backward pass and SGD step on one batch. Every repetition runs all kinds of step in turn, so that whatever else
the machine does falls on all of them alike; a ratio is taken inside its repetition. Printed: median, quartiles in
brackets.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from bounds import SIZES, hardware, spread

from nsr import mlp, mlp_init, training
from nsr.training import METHODS, Method
from nsr.training.loss import BOUNDS

PLAIN = "cross-entropy"


def tasks(batch: int) -> dict[str, Callable[[], object]]:
    """One step of each kind, by name."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(batch, SIZES[0], generator=generator) * (torch.rand(batch, SIZES[0], generator=generator) < 0.2)
    y = torch.randint(SIZES[-1], (batch,), generator=generator)
    rows = {PLAIN: Method(PLAIN)}
    rows |= {bound: Method(bound, alpha=1e-3, beta=1e-2, xi_x=0.1, xi_w=0.002, bound=bound) for bound in BOUNDS}
    rows |= {name: METHODS[name] for name in ("at", "joint_at", "interval")}
    return {name: _step(row, x, y, generator) for name, row in rows.items()}


def _step(method: Method, x: torch.Tensor, y: torch.Tensor, generator: torch.Generator) -> Callable[[], object]:
    network = mlp(mlp_init(SIZES, torch.Generator().manual_seed(1)))
    W = [W_m.clone().requires_grad_() for W_m in network.W]
    optimiser = torch.optim.SGD(W, lr=1e-4)

    def step() -> None:
        terms = training.loss_terms(network, tuple(W), x, y, method, 0.9, generator)
        optimiser.zero_grad()
        sum(terms.values()).backward()
        optimiser.step()

    return step


def measure(batch: int, repeats: int) -> dict[str, torch.Tensor]:
    """Seconds of every kind of step [repeats], interleaved; the first three rounds only warm up."""
    timed = tasks(batch)
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(3 + repeats):
        for name, task in timed.items():
            start = time.perf_counter()
            task()
            seconds[name].append(time.perf_counter() - start)
    return {name: torch.tensor(s[3:]) for name, s in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=60)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    seconds = measure(options.batch, options.repeats)
    print(f"{hardware()}; {'-'.join(map(str, SIZES))}, float32, batch {options.batch}, {options.repeats} repetitions")
    for name, took in seconds.items():
        print(f"{name:<16}{spread(1e3 * took, 'ms'):<32}{spread(took / seconds[PLAIN], 'x')}")


if __name__ == "__main__":
    main()
