"""What the norms of one convolution cost: 512 to 512 channels, 3x3, zero padding 1, 32x32 pixels, float32.

    python benchmarks/norms.py [--threads 1] [--channels 512] [--pixels 32] [--repeats 30] [--converged]

Every repetition takes all norms in turn, so that whatever else the machine does falls on all of them alike. Printed:
median, and the quartiles in brackets. No gradients are kept. A step of the spectral norm is a fifth of what six steps
take beyond one: four products with the matrix or its transpose, three of them in one batch. `--converged` adds the norm
to its default tolerance, once. The matrix itself is only weighed.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import torch
from bounds import hardware, spread
from torch import nn

from nsr.theory import norms

STEP = "spectral, one step"


def seconds(task: Callable[[], object]) -> float:
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def tasks(conv: nn.Conv2d, size: tuple[int, int]) -> dict[str, Callable[[], float]]:
    """Seconds of each norm, by name."""

    def steps(count: int) -> float:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="spectral: .* steps did not reach", category=UserWarning)
            return seconds(lambda: norms.spectral(conv, size, tol=0.0, steps=count))

    return {
        "linf": lambda: seconds(lambda: norms.linf(conv)),
        "linf, size given": lambda: seconds(lambda: norms.linf(conv, size)),
        "l1": lambda: seconds(lambda: norms.l1(conv)),
        "l1, size given": lambda: seconds(lambda: norms.l1(conv, size)),
        STEP: lambda: (steps(6) - steps(1)) / 5,
    }


@torch.no_grad()
def measure(conv: nn.Conv2d, size: tuple[int, int], repeats: int) -> dict[str, torch.Tensor]:
    """Seconds of every norm [repeats], interleaved; the first round only warms up."""
    timed = tasks(conv, size)
    rounds = [{name: task() for name, task in timed.items()} for _ in range(1 + repeats)]
    return {name: torch.tensor([each[name] for each in rounds[1:]]) for name in timed}


def matrix_bytes(conv: nn.Conv2d, size: tuple[int, int]) -> int:
    """What the explicit matrix would take in memory; padding 1 keeps the pixels' number."""
    pixels = size[0] * size[1]
    return conv.out_channels * pixels * conv.in_channels * pixels * conv.weight.element_size()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--channels", type=int, default=512)
    parser.add_argument("--pixels", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--converged", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    conv = nn.Conv2d(options.channels, options.channels, 3, padding=1)
    size = (options.pixels, options.pixels)
    print(f"{hardware()}; {conv}, {size[0]}x{size[1]} pixels, float32, {options.repeats} repetitions")
    for name, took in measure(conv, size, options.repeats).items():
        print(f"{name:<20}{spread(1e3 * took, 'ms')}")
    if options.converged:
        with torch.no_grad():
            print(f"{'spectral':<20}{seconds(lambda: norms.spectral(conv, size)):7.2f} s, once")
    print(f"the explicit matrix would take {matrix_bytes(conv, size) / 2**30:,.1f} GiB")


if __name__ == "__main__":
    main()
