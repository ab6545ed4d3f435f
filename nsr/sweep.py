"""Floor 7: many runs at once on a dask cluster: one of this machine's own, or one that is already there.

The workers compute jobs from values and need no shared disk; every result comes back to the client's store. What
fails is listed with its reason while the rest goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dask.distributed import Client, LocalCluster, as_completed

from nsr import lab
from nsr.files import StoreError
from nsr.lab import Job, Spec

THREADS = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}


@dataclass(frozen=True)
class Order:
    """A run to be had: its specification and the contours it should hold."""

    spec: Spec
    measurements: tuple[str, ...] = ()

    @property
    def jobs(self) -> int:
        return self.spec.method.epochs + sum(len(lab.MEASUREMENTS[name].protocol.grid_x) for name in self.measurements)


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
        with Client(scheduler, timeout="20s") as client:
            yield client
        return
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            dashboard_address=None,
            env=THREADS,
        ) as local,
        Client(local) as client,
    ):
        yield client


def run(orders: Sequence[Order], store: Path, client: Client, watch: Watch = lambda job, done: None) -> Report:
    """Have every order, earlier ones first; the jobs of one run follow each other, runs go side by side."""
    report, waiting = Report(), as_completed([], with_results=False)
    open_jobs: dict[str, tuple[int, Job]] = {}
    for number, order in enumerate(orders):
        _submit(number, order, store, client, waiting, open_jobs, report, watch)
    for future in waiting:
        number, job = open_jobs.pop(future.key)
        order = orders[number]
        if future.status != "finished":
            _fail(report, order, future.exception(), watch, job)
            continue
        value, circumstances = future.result()
        lab.keep(store, job, value, circumstances)
        future.release()
        watch(job, 1)
        _submit(number, order, store, client, waiting, open_jobs, report, watch)
    return report


def _submit(
    number: int,
    order: Order,
    store: Path,
    client: Client,
    waiting: as_completed,
    open_jobs: dict[str, tuple[int, Job]],
    report: Report,
    watch: Watch,
) -> None:
    """The next job of an order goes to the cluster; where none is left, the order is finished."""
    try:
        job = lab.next_job(store, order.spec, order.measurements)
    except StoreError as error:
        _fail(report, order, error, watch, None)
        return
    if job is None:
        report.finished.append(order.spec.folder)
        return
    future = client.submit(Job.result, job, pure=False, priority=-number, retries=1)
    open_jobs[future.key] = number, job
    waiting.add(future)


def _fail(report: Report, order: Order, error: BaseException | None, watch: Watch, job: Job | None) -> None:
    report.failed[order.spec.folder] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    watch(job, 0)
