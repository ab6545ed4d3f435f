"""Claims about sweeps: a cluster gives what one process gives, failures cost their own run alone, the client writes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from dask.distributed import Client, LocalCluster

import nsr.runs
from nsr import paths
from nsr.attack import Ascent, Attack
from nsr.contour import Protocol, stored
from nsr.files import write_whole
from nsr.runs import Measurement, Spec, checkpoint, compute, jobs, reproduce, sealed, sweep
from nsr.runs.sweep import Order

TINY: dict = {"dataset": "digits", "sizes": (64, 16, 10), "images": 200, "epochs": 2, "batch": 50}
GRID = Protocol((0.0, 0.2), (0.0, 0.05), (0.0, 0.5), images=40)
KINDS = {
    "paper": Measurement(GRID, Attack((Ascent(steps=3, step_x=0.1, step_w=0.02),))),
    "certified": Measurement(GRID, part="validation"),
}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Two worker processes for all tests of this file."""
    with sweep.cluster(workers=2) as client:
        yield client


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path):
    monkeypatch.setenv("NSR_RUNS", str(tmp_path / "own"))
    monkeypatch.setattr(paths, "SHIPPED", tmp_path / "shipped")
    with mock.patch.dict(nsr.runs.MEASUREMENTS, KINDS, clear=True):
        yield


def tiny_spec(name: str = "standard", seed: int = 0, **numbers) -> Spec:
    return nsr.runs.spec(name, seed, **{**TINY, **numbers})


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("[!.]*") if path.is_file() and path.name != "provenance.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_sweep_gives_the_runs_that_one_process_gives_and_watches_every_job(client, tmp_path):
    orders = [Order(tiny_spec(name, seed), tuple(KINDS)) for seed in (0, 1) for name in ("standard", "joint_at")]
    jobs = []
    report = sweep.run(orders, tmp_path / "many", client, lambda job, done: jobs.append((job, done)))
    assert report.failed == {} and sorted(report.finished) == sorted(order.spec.folder for order in orders)
    assert sum(done for _, done in jobs) == sum(order.jobs for order in orders) == 4 * (2 + 2 + 2)
    for order in orders:
        alone = nsr.runs.run(order.spec, tuple(KINDS), store=tmp_path / "alone")
        assert contents(tmp_path / "many" / order.spec.folder) == contents(alone.folder)
        assert nsr.runs.load(tmp_path / "many" / order.spec.folder).provenance["training"]["threads"] == 1


def test_workers_run_on_one_thread_each_and_keep_the_memory_they_have(client):
    def started() -> dict[str, str | None]:  # what the process was given, not what it has set since
        given = Path("/proc/self/environ").read_bytes().decode().split("\0")
        return dict(line.split("=", 1) for line in given if line)

    found = client.run(started)
    assert len(found) == 2 and all(sweep.START.items() <= given.items() for given in found.values())
    assert set(client.nthreads().values()) == {1}


def test_an_existing_cluster_is_used_by_its_address(tmp_path):
    how = {"n_workers": 1, "processes": False, "dashboard_address": "127.0.0.1:0", "protocol": "tcp"}
    with LocalCluster(**how) as theirs, sweep.cluster(theirs.scheduler_address) as client:
        assert client.scheduler.address == theirs.scheduler_address
        report = sweep.run([Order(tiny_spec(seed=7))], tmp_path, client)
    assert report.finished == [tiny_spec(seed=7).folder]


def test_nobody_without_its_certificates_gets_into_a_sweep_s_own_cluster(client, monkeypatch):
    """Else any user of the machine could let its workers run code as the owner of the sweep."""
    address = client.scheduler.address
    assert address.startswith("tls://127.0.0.1:")
    monkeypatch.setattr(sweep, "PATIENCE", "2s")
    for stranger in (address, address.replace("tls://", "tcp://")):
        with pytest.raises(OSError, match="no scheduler answers"), sweep.cluster(stranger):
            pass


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr(sweep, "PATIENCE", "1s")
    with pytest.raises(OSError, match="127.0.0.1:9"), sweep.cluster("tcp://127.0.0.1:9"):
        pass


def test_a_scheduler_without_workers_is_refused(monkeypatch):
    monkeypatch.setattr(sweep, "PATIENCE", "1s")
    with LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0", protocol="tcp") as empty:
        with pytest.raises(OSError, match="has no workers"), sweep.cluster(empty.scheduler_address):
            pass


def test_a_failing_run_is_listed_with_its_reason_while_the_others_finish(client, tmp_path):
    orders = [
        Order(tiny_spec(lr=1e30), ("paper",)),
        Order(tiny_spec(), ("paper",)),
        Order(tiny_spec(seed=1, optimiser="adam", lr=1e30)),
        Order(tiny_spec(seed=1)),
        Order(tiny_spec(lr=1e30), ("certified",)),
    ]
    jobs = []
    report = sweep.run(orders, tmp_path, client, lambda job, done: jobs.append(done))
    assert sorted(report.finished) == sorted([orders[1].spec.folder, orders[3].spec.folder])
    assert report.failed.keys() == {orders[0].spec.folder, orders[2].spec.folder}
    assert report.failed[orders[0].spec.folder].startswith("CollapseError: training diverged")
    assert report.failed[orders[2].spec.folder].startswith("CollapseError: ")
    assert sum(jobs) == sum(order.jobs for order in orders)
    assert len(list(nsr.runs.runs(tmp_path))) == 2


def test_a_damaged_or_stale_run_fails_alone(client, tmp_path, monkeypatch):
    damaged, stale, other = tiny_spec(), tiny_spec(seed=1), tiny_spec(seed=2)
    folder = nsr.runs.run(damaged, store=tmp_path).folder
    (folder / "weights.safetensors").write_bytes(b"junk")
    with monkeypatch.context() as patch:
        for module in (jobs, checkpoint):
            patch.setattr(module, "code_at_first_use", lambda modules, package: {"train": "another"})
        nsr.runs.run(stale, store=tmp_path)
    report = sweep.run([Order(damaged, ("paper",)), Order(stale, ("paper",)), Order(other)], tmp_path, client)
    assert report.finished == [other.folder]
    assert "weights.safetensors: has been changed" in report.failed[damaged.folder]
    assert "was computed before a change of train" in report.failed[stale.folder]


def test_a_sweep_that_is_cut_short_goes_on_where_it_stopped(client, tmp_path):
    orders = [Order(tiny_spec(seed=seed), ("paper",)) for seed in range(2)]

    def stop(job, done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep.run(orders, tmp_path, client, stop)
    jobs = []
    report = sweep.run(orders, tmp_path, client, lambda job, done: jobs.append(job))
    assert report.failed == {} and len(report.finished) == 2
    assert len([job for job in jobs if job]) == 2 * (2 + 2) - 1
    jobs.clear()
    assert sweep.run(orders, tmp_path, client, lambda job, done: jobs.append((job, done))).failed == {}
    assert jobs == [(None, 4), (None, 4)]


def test_several_orders_for_one_run_follow_each_other(client, tmp_path):
    spec = tiny_spec()
    orders = [Order(spec, ("paper",)), Order(tiny_spec(seed=1)), Order(spec, ("certified",)), Order(spec, ("paper",))]
    trained = []
    report = sweep.run(orders, tmp_path, client, lambda job, done: trained.append(job and (job.spec.seed, job.what)))
    assert sorted(report.finished) == sorted([spec.folder, tiny_spec(seed=1).folder])
    assert trained.count((0, "training")) == 2 and trained.count((0, "paper")) == 2
    assert nsr.runs.load(tmp_path / spec.folder).contours.keys() == KINDS.keys()
    assert not (tmp_path / spec.folder / "checkpoint.safetensors").exists()


def test_earlier_orders_come_first():
    seeds = [order.spec.seed for order in reproduce.orders("paper") if "paper" in order.measurements]
    rows = [order.spec for order in reproduce.orders("paper") if order.measurements == ("paper", "certified")]
    assert [spec.seed for spec in rows] == sorted(spec.seed for spec in rows) and set(seeds) == set(range(5))


def test_only_the_client_writes(client, tmp_path, monkeypatch):
    original = nsr.runs.train_epoch

    def without_a_disk(spec, begun):
        import builtins

        from nsr import files
        from nsr.runs import checkpoint, compute, sealed

        def refuse(*arguments):
            raise AssertionError("a worker writes")

        real = builtins.open

        def read_only(file, mode="r", *rest, **named):
            return refuse() if set(mode) & set("wax+") else real(file, mode, *rest, **named)

        kept = files.write_whole
        files.write_whole = sealed.write_whole = compute.write_whole = checkpoint.write_whole = refuse
        builtins.open = read_only
        try:
            return original(spec, begun)
        finally:
            builtins.open = real
            files.write_whole = sealed.write_whole = compute.write_whole = checkpoint.write_whole = kept

    monkeypatch.setattr(compute, "train_epoch", without_a_disk)
    spec, writers = tiny_spec(seed=3), set()

    def write(path, content):
        writers.add(os.getpid())
        write_whole(path, content)

    monkeypatch.setattr(sealed, "write_whole", write)
    monkeypatch.setattr(compute, "write_whole", write)
    monkeypatch.setattr(checkpoint, "write_whole", write)
    monkeypatch.setattr(stored, "write_whole", write)
    report = sweep.run([Order(spec)], tmp_path, client)
    assert report.finished == [spec.folder] and writers == {os.getpid()}


def test_a_worker_killed_in_the_middle_of_a_job_does_not_lose_the_sweep(client, tmp_path, monkeypatch):
    original, marker = nsr.runs.train_epoch, tmp_path / "killed"

    def deadly(spec, checkpoint):
        """The first worker that comes to the second epoch of seed 0 dies of it."""
        if checkpoint is not None and spec.seed == 0 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return original(spec, checkpoint)

    orders = [Order(tiny_spec(seed=seed), ("paper",)) for seed in range(3)]
    with monkeypatch.context() as patch:
        patch.setattr(compute, "train_epoch", deadly)
        report = sweep.run(orders, tmp_path / "store", client)
    assert marker.exists() and report.failed == {} and len(report.finished) == 3
    for order in orders:
        alone = nsr.runs.run(order.spec, ("paper",), store=tmp_path / "alone")
        assert contents(tmp_path / "store" / order.spec.folder) == contents(alone.folder)


@pytest.fixture
def one_thread() -> Iterator[Client]:
    """A worker that is a thread of this process, and costs nothing to start."""
    with Client(n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as client:
        yield client


def test_a_run_that_a_machine_cannot_bear_is_listed_and_the_others_finish(one_thread, tmp_path, monkeypatch):
    original = nsr.runs.train_epoch

    def too_large(spec, checkpoint):
        if spec.seed == 0:
            raise MemoryError("this run is\ntoo large")
        return original(spec, checkpoint)

    monkeypatch.setattr(compute, "train_epoch", too_large)
    report = sweep.run([Order(tiny_spec(seed=seed)) for seed in range(2)], tmp_path, one_thread)
    assert report.finished == [tiny_spec(seed=1).folder]
    assert report.failed == {tiny_spec().folder: "MemoryError: this run is too large"}


def test_jobs_that_the_scheduler_drops_are_listed_as_failed(one_thread, tmp_path, monkeypatch):
    submit = one_thread.submit

    def dropped(*arguments, **named):
        future = submit(*arguments, **named)
        future.cancel()
        return future

    monkeypatch.setattr(one_thread, "submit", dropped)
    report = sweep.run([Order(tiny_spec(seed=seed)) for seed in range(2)], tmp_path, one_thread)
    assert report.finished == [] and len(report.failed) == 2
    assert all("the scheduler was lost, or has cancelled" in reason for reason in report.failed.values())


def test_two_clusters_can_be_there_at_once():
    with sweep.cluster(workers=1), sweep.cluster(workers=1) as client:
        assert client.submit(sum, [1, 2]).result() == 3
