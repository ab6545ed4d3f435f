"""Many runs at once on a dask cluster: one of this machine's own, or one that is already there.

The workers compute jobs from values and need no shared disk; every result comes back to the client's store. What
fails is listed with its reason while the rest goes on. A cluster of this machine's own talks through TLS with
certificates of its own, made at its start: without them, whoever has an account on the machine could run code as the
owner of the sweep. A cluster that is already there is as safe as its owner has made it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dask
from dask.distributed import Client, LocalCluster, as_completed

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
        return self.spec.method.epochs + sum(nsr.runs.measurement(name).shape[0] for name in self.measurements)


@dataclass
class Report:
    """How a sweep went: the folders of the finished runs, and for each failed one the reason."""

    finished: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


Watch = Callable[[Job | None, int], None]  # (the job just finished, jobs that are done with or never needed)


@contextmanager
def cluster(scheduler: str | None = None, workers: int | None = None) -> Iterator[Client]:
    """A client of the cluster at `scheduler`, or of one of `workers` processes of one thread each on this machine."""
    if scheduler is not None:
        _refuse_address(scheduler)
        with Client(scheduler, timeout=PATIENCE) as client:
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
            security=True,
            dashboard_address="127.0.0.1:0",  # any free port: several sweeps may go on at once
            silence_logs=logging.CRITICAL,  # a failed job is listed by the report, a lost worker replaced
        ) as local,
        Client(local) as client,
    ):
        yield client


def _refuse_address(scheduler: str) -> None:
    """Before dask sees it, which raises anything and complains once more at its end."""
    if not re.fullmatch(r"((tcp|tls)://)?[^\s/]+:\d{1,5}", scheduler):
        raise ValueError(f"a scheduler's address is tcp://host:port or tls://host:port, got {scheduler!r:.60}")
    if scheduler.startswith("tls:") and not dask.config.get("distributed.comm.tls.ca-file"):
        raise ValueError(
            f"{scheduler}: TLS needs certificates, named under distributed.comm.tls in dask's configuration"
        )


def run(orders: Sequence[Order], store: Path, client: Client, watch: Watch = lambda job, done: None) -> Report:
    """Have every order, earlier ones first; the jobs of one run follow each other, runs go side by side.

    Several orders for one run follow each other, and none follows a failed one.
    """
    refuse_unwritable(store)
    report, futures, running = Report(), as_completed([], with_results=False), {}
    queues: dict[str, list[tuple[int, Order]]] = {}
    for number, order in enumerate(orders):
        queues.setdefault(order.spec.folder, []).append((number, order))
    left = {folder: sum(order.jobs for _, order in queue) for folder, queue in queues.items()}

    def go_on(folder: str, jobs: Iterator[tuple[int, Job]]) -> None:
        """The next job of a run goes to the cluster; where none is left, the run is finished."""
        try:
            number, job = next(jobs)
        except StopIteration:
            report.finished.append(folder)
            watch(None, left.pop(folder))
        except StoreError as error:
            fail(folder, error)
        else:
            future = client.submit(Job.result, job, pure=False, priority=-number, retries=1)
            running[future.key] = folder, job, jobs
            futures.add(future)

    def fail(folder: str, error: BaseException) -> None:
        report.failed[folder] = " ".join(f"{type(error).__name__}: {error}".split())
        watch(None, left.pop(folder))

    for folder, queue in queues.items():
        go_on(folder, _jobs(store, queue))
    for future in futures:
        folder, job, jobs = running.pop(future.key)
        if future.status != "finished":
            fail(folder, future.exception() if future.status == "error" else CANCELLED)
            continue
        try:
            nsr.runs.keep(store, job, *future.result())
        except StoreError as error:
            fail(folder, error)
            continue
        future.release()
        left[folder] -= 1
        watch(job, 1)
        go_on(folder, jobs)
    return report


def _jobs(store: Path, queue: Sequence[tuple[int, Order]]) -> Iterator[tuple[int, Job]]:
    """What a run lacks, each job as soon as the one before it is kept, with the number of the order it is for."""
    nsr.runs.refuse_stale(store, queue[0][1].spec)
    for number, order in queue:
        while job := nsr.runs.next_job(store, order.spec, order.measurements):
            yield number, job
