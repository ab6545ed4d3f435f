"""What a job costs on a dask worker by what becomes of freed memory: dask's default beside what `nsr.sweep` sets.

    python benchmarks/sweep.py [--repeats 5] [--steps 30]

Two clusters of one worker each, one started with dask's own environment, one with that of `nsr.sweep`; the same row of
an attacked contour goes to both in turn. Printed: median seconds and the ratio inside each pair, quartiles in brackets;
and page faults a second, of which each hands a piece of memory to the process anew.
"""

from __future__ import annotations

import argparse
import logging
import resource
import time

import dask
import torch
from bounds import SIZES, hardware, spread
from dask.distributed import Client, LocalCluster

from nsr import contour, data, mlp, mlp_init
from nsr.attack import Attack
from nsr.budget import Budget
from nsr.runs import sweep

KINDS = {"dask's default": dask.config.get("distributed.nanny.pre-spawn-environ"), "nsr.sweep": sweep.START}
RADII = (0.0, 0.1, 0.2)


def row(steps: int) -> tuple[float, float]:
    """Seconds and page faults a second of one row of cells on one thread, 500 images."""
    torch.set_num_threads(1)
    samples = data.load("mnist").test.first(500)
    network = mlp(mlp_init(SIZES, torch.Generator().manual_seed(0)))
    cells = [Budget.uniform(e, 0.004, network) for e in RADII]
    faults, start = _faults(), time.perf_counter()
    contour.attacked(network, samples.x, samples.y, cells, Attack.pgd(steps))
    seconds = time.perf_counter() - start
    return seconds, (_faults() - faults) / seconds


def _faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def one_worker(environ: dict[str, str]) -> Client:
    """A client of a cluster of one process, started in this environment."""
    with dask.config.set({"distributed.nanny.pre-spawn-environ": environ}):
        return Client(LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)  # dask tells at length how it closes down
    clients = {name: one_worker(environ) for name, environ in KINDS.items()}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in clients}
    for _ in range(1 + options.repeats):  # the first only warms up
        for name, client in clients.items():
            found[name].append(client.submit(row, options.steps, pure=False).result())
    took = {name: torch.tensor(pairs[1:]).T for name, pairs in found.items()}
    print(f"{hardware()}; {len(RADII)} cells, 500 images, {options.steps} steps, {options.repeats} pairs")
    for name, (seconds, faults) in took.items():
        ratio = spread(seconds / took["nsr.sweep"][0], "x")
        print(f"{name:<16}{spread(seconds, 's'):<28}{ratio:<28}{faults.median():,.0f} page faults a second")
    for client in clients.values():
        client.shutdown()


if __name__ == "__main__":
    main()
