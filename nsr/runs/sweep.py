"""Many runs at once on a dask cluster: one of this machine's own, or one that is already there.

The workers compute jobs from values and need no shared disk; every result comes back to the client's store. What
fails is listed with its reason while the rest goes on.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dask
from dask.distributed import Client, Future, LocalCluster, as_completed

import nsr.runs
from nsr.files import StoreError, refuse_unwritable
from nsr.runs import Job, Spec

# What a worker process starts with. One thread; and dask's own default of 64 KiB for the trim threshold would hand the
# memory of every tensor back to the system and ask for it again, which a job pays for with a fifth of its time.
START = {
    **{name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")},
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "MALLOC_MMAP_THRESHOLD_": str(2**25),  # the most that glibc takes
}
PATIENCE = "20s"  # for a scheduler to answer, and for a first worker
CANCELLED = ConnectionError("the scheduler was lost, or has cancelled the job")


@dataclass(frozen=True)
class Order:
    """A run to be had: its specification and the contours it should hold."""

    spec: Spec
    measurements: tuple[str, ...] = ()

    @property
    def jobs(self) -> int:
        return self.spec.method.epochs + sum(
            len(nsr.runs.MEASUREMENTS[name].protocol.grid_x) for name in self.measurements
        )


@dataclass
class Report:
    """How a sweep went: the folders of the finished runs, and for each failed one the reason."""

    finished: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


Watch = Callable[[Job | None, int], None]  # (the job just finished, jobs that are done with or never needed)


@contextmanager
def cluster(scheduler: str | None = None, workers: int | None = None) -> Iterator[Client]:
    """A client of the cluster at `scheduler`, or of one of `workers` processes of one thread each on this machine."""
    if scheduler:
        try:
            client = Client(scheduler, timeout=PATIENCE)
        except Exception as error:  # whatever dask makes of an address
            words = " ".join(str(error).split())[:200]
            raise OSError(f"no scheduler answers at {scheduler:.80} ({type(error).__name__}: {words})") from None
        with client:
            try:
                client.wait_for_workers(1, timeout=PATIENCE)
            except TimeoutError:
                raise OSError(f"the scheduler at {scheduler} has no workers: start some with dask worker") from None
            yield client
        return
    with (
        dask.config.set({"distributed.nanny.pre-spawn-environ": START}),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            security=True,  # else anybody on this machine could have its workers run code as the owner of the sweep
            dashboard_address="127.0.0.1:0",  # any free port: several sweeps may go on at once
            silence_logs=logging.CRITICAL,  # a failed job is listed by the report, a lost worker replaced
        ) as local,
        Client(local) as client,
    ):
        yield client


def run(orders: Sequence[Order], store: Path, client: Client, watch: Watch = lambda job, done: None) -> Report:
    """Have every order, earlier ones first; the jobs of one run follow each other, runs go side by side.

    Where several orders are for one run, each waits for the one before it, and none follows a failed one.
    """
    refuse_unwritable(store)
    sweep = _Sweep(tuple(orders), store, client, watch)
    for number, order in enumerate(orders):
        sweep.queues.setdefault(order.spec.folder, []).append(number)
    for queue in sweep.queues.values():
        sweep.begin(queue[0])
    for future in sweep.futures:
        sweep.take(future)
    return sweep.report


@dataclass
class _Sweep:
    orders: Sequence[Order]
    store: Path
    client: Client
    watch: Watch
    report: Report = field(default_factory=Report)
    futures: as_completed = field(default_factory=lambda: as_completed([], with_results=False))
    running: dict[str, tuple[int, Job]] = field(default_factory=dict)  # by the key of the job's future
    queues: dict[str, list[int]] = field(default_factory=dict)  # the numbers of the orders for one run
    done: Counter[int] = field(default_factory=Counter)  # jobs that an order took

    def begin(self, number: int) -> None:
        try:
            nsr.runs.refuse_stale(self.store, self.orders[number].spec)
        except StoreError as error:
            self.end(number, error)
        else:
            self.go_on(number)

    def go_on(self, number: int) -> None:
        """The next job of an order goes to the cluster; where none is left, the order is finished."""
        order = self.orders[number]
        try:
            job = nsr.runs.next_job(self.store, order.spec, order.measurements)
        except StoreError as error:
            self.end(number, error)
            return
        if job is None:
            self.end(number)
            return
        future = self.client.submit(Job.result, job, pure=False, priority=-number, retries=1)
        self.running[future.key] = number, job
        self.futures.add(future)

    def take(self, future: Future) -> None:
        """Put into the store what a worker has sent, and go on with the run."""
        number, job = self.running.pop(future.key)
        if future.status != "finished":
            self.end(number, future.exception() if future.status == "error" else CANCELLED)
            return
        try:
            nsr.runs.keep(self.store, job, *future.result())
        except StoreError as error:
            self.end(number, error)
            return
        future.release()
        self.done[number] += 1
        self.watch(job, 1)
        self.go_on(number)

    def end(self, number: int, error: BaseException | None = None) -> None:
        order = self.orders[number]
        queue = self.queues[order.spec.folder]
        over = [queue.pop(0)]
        if error is not None:
            self.report.failed[order.spec.folder] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            over += queue
            queue.clear()
        elif not queue:
            self.report.finished.append(order.spec.folder)
        self.watch(None, sum(self.orders[n].jobs - self.done[n] for n in over))
        if queue:
            self.begin(queue[0])
