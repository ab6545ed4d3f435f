"""Claims about sweeps: a cluster gives what one process gives, failures cost their own run alone, the client writes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import tiny
from dask.distributed import Client, LocalCluster, Security

import nsr.runs
from nsr import paths
from nsr.runs import compute, reproduce, sweep
from nsr.runs.sweep import Order

KINDS = {name: tiny.KINDS[name] for name in ("paper", "certified")}
tiny_spec = partial(tiny.spec, epochs=2)


@pytest.fixture(scope="module")
def processes() -> Iterator[Client]:
    """Two worker processes for the tests of this file that need some."""
    with sweep.cluster(workers=2) as client:
        yield client


@pytest.fixture
def thread() -> Iterator[Client]:
    """A worker that is a thread of this process, and costs nothing to start."""
    with Client(n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as client:
        yield client


@pytest.mark.slow
def test_a_sweep_gives_the_runs_that_one_process_gives_and_watches_every_job(processes, tmp_path):
    orders = [Order(tiny_spec(name, seed), tuple(KINDS)) for seed in (0, 1) for name in ("standard", "joint_at")]
    jobs = []
    report = sweep.run(orders, tmp_path / "many", processes, lambda job, done: jobs.append((job, done)))
    assert report.failed == {} and sorted(report.finished) == sorted(order.spec.folder for order in orders)
    assert sum(done for _, done in jobs) == sum(order.jobs for order in orders) == 4 * (2 + 2 + 2)
    for order in orders:
        alone = nsr.runs.run(order.spec, tuple(KINDS), store=tmp_path / "alone")
        assert tiny.contents(tmp_path / "many" / order.spec.folder) == tiny.contents(alone.folder)
        assert nsr.runs.load(tmp_path / "many" / order.spec.folder).provenance["training"]["threads"] == 1


@pytest.mark.slow
def test_workers_run_on_one_thread_each_and_keep_the_memory_they_have(processes):
    def started() -> dict[str, str | None]:  # what the process was given, not what it has set since
        given = Path("/proc/self/environ").read_bytes().decode().split("\0")
        return dict(line.split("=", 1) for line in given if line)

    found = processes.run(started)
    assert len(found) == 2 and all(sweep.START.items() <= given.items() for given in found.values())
    assert set(processes.nthreads().values()) == {1}


@pytest.mark.slow
def test_a_cluster_of_this_machine_s_own_takes_orders_from_its_client_alone(processes):
    address = processes.scheduler.address
    assert address.startswith("tls://127.0.0.1:")
    strangers = (address.replace("tls:", "tcp:"), None), (address, Security.temporary())
    for other, security in strangers:
        with pytest.raises(OSError), Client(other, security=security, timeout="2s"):
            pass


def test_an_existing_cluster_is_used_by_its_address(tmp_path):
    with LocalCluster(n_workers=1, processes=False, dashboard_address="127.0.0.1:0", protocol="tcp") as there:
        with sweep.cluster(there.scheduler_address) as client:
            report = sweep.run([Order(tiny_spec(seed=7))], tmp_path, client)
    assert report.finished == [tiny_spec(seed=7).folder]


@pytest.mark.parametrize("address", ["file:///tmp/x", "http://127.0.0.1:9", "nowhere at all", "", "tcp://host"])
def test_what_is_no_address_of_a_scheduler_is_refused(address):
    with pytest.raises(ValueError, match="address is tcp://host:port or tls://host:port, got"), sweep.cluster(address):
        pass


def test_tls_without_certificates_says_where_to_name_them():
    with pytest.raises(ValueError, match="TLS needs certificates, named under"), sweep.cluster("tls://127.0.0.1:9"):
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


def test_a_failing_run_is_listed_with_its_reason_while_the_others_finish(thread, tmp_path):
    orders = [
        Order(tiny_spec(lr=1e30), ("paper",)),
        Order(tiny_spec(), ("paper",)),
        Order(tiny_spec(seed=1, optimiser="adam", lr=1e30)),
        Order(tiny_spec(seed=1)),
        Order(tiny_spec(lr=1e30), ("certified",)),
    ]
    jobs = []
    report = sweep.run(orders, tmp_path, thread, lambda job, done: jobs.append(done))
    assert sorted(report.finished) == sorted([orders[1].spec.folder, orders[3].spec.folder])
    assert report.failed.keys() == {orders[0].spec.folder, orders[2].spec.folder}
    assert report.failed[orders[0].spec.folder].startswith("CollapseError: training diverged")
    assert report.failed[orders[2].spec.folder].startswith("CollapseError: ")
    assert sum(jobs) == sum(order.jobs for order in orders)
    assert len(list(nsr.runs.runs(tmp_path))) == 2


def test_a_damaged_or_stale_run_fails_alone(thread, tmp_path, monkeypatch):
    damaged, stale, other = tiny_spec(), tiny_spec(seed=1), tiny_spec(seed=2)
    folder = nsr.runs.run(damaged, store=tmp_path).folder
    (folder / "weights.safetensors").write_bytes(b"junk")
    with monkeypatch.context() as patch:
        patch.setattr(paths, "PACKAGE", tiny.other_code(tmp_path))
        nsr.runs.run(stale, store=tmp_path)
    report = sweep.run([Order(damaged, ("paper",)), Order(stale, ("paper",)), Order(other)], tmp_path, thread)
    assert report.finished == [other.folder]
    assert "weights.safetensors: has been changed" in report.failed[damaged.folder]
    assert "was computed before a change of training.loss" in report.failed[stale.folder]


def test_a_sweep_that_is_cut_short_goes_on_where_it_stopped(thread, tmp_path):
    orders = [Order(tiny_spec(seed=seed), ("paper",)) for seed in range(2)]

    def stop(job, done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep.run(orders, tmp_path, thread, stop)
    jobs = []
    report = sweep.run(orders, tmp_path, thread, lambda job, done: jobs.append(job))
    assert report.failed == {} and len(report.finished) == 2
    assert len([job for job in jobs if job]) == 2 * (2 + 2) - 1
    jobs.clear()
    assert sweep.run(orders, tmp_path, thread, lambda job, done: jobs.append((job, done))).failed == {}
    assert jobs == [(None, 4), (None, 4)]


def test_several_orders_for_one_run_follow_each_other(thread, tmp_path):
    spec = tiny_spec()
    orders = [Order(spec, ("paper",)), Order(tiny_spec(seed=1)), Order(spec, ("certified",)), Order(spec, ("paper",))]
    trained = []
    report = sweep.run(orders, tmp_path, thread, lambda job, done: trained.append(job and (job.spec.seed, job.what)))
    assert sorted(report.finished) == sorted([spec.folder, tiny_spec(seed=1).folder])
    assert trained.count((0, "training")) == 2 and trained.count((0, "paper")) == 2
    assert nsr.runs.load(tmp_path / spec.folder).contours.keys() == KINDS.keys()
    assert not (tmp_path / spec.folder / "checkpoint.safetensors").exists()


def test_earlier_orders_come_first():
    seeds = [order.spec.seed for order in reproduce.orders("paper") if "paper" in order.measurements]
    rows = [order.spec for order in reproduce.orders("paper") if order.measurements == ("paper", "strong", "certified")]
    assert rows and [spec.seed for spec in rows] == sorted(spec.seed for spec in rows)
    assert set(seeds) == set(reproduce.SEEDS)


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_of_a_job_does_not_lose_the_sweep(processes, tmp_path, monkeypatch):
    original, marker = compute.train_epoch, tmp_path / "killed"

    def deadly(spec, checkpoint):
        """The first worker that comes to the second epoch of seed 0 dies of it."""
        if checkpoint is not None and spec.seed == 0 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return original(spec, checkpoint)

    orders = [Order(tiny_spec(seed=seed), ("paper",)) for seed in range(3)]
    with monkeypatch.context() as patch:
        patch.setattr(compute, "train_epoch", deadly)
        report = sweep.run(orders, tmp_path / "store", processes)
    assert marker.exists() and report.failed == {} and len(report.finished) == 3
    for order in orders:
        alone = nsr.runs.run(order.spec, ("paper",), store=tmp_path / "alone")
        assert tiny.contents(tmp_path / "store" / order.spec.folder) == tiny.contents(alone.folder)


def test_a_run_that_a_machine_cannot_bear_is_listed_and_the_others_finish(thread, tmp_path, monkeypatch):
    original = compute.train_epoch

    def too_large(spec, checkpoint):
        if spec.seed == 0:
            raise MemoryError("this run is\ntoo large")
        return original(spec, checkpoint)

    monkeypatch.setattr(compute, "train_epoch", too_large)
    report = sweep.run([Order(tiny_spec(seed=seed)) for seed in range(2)], tmp_path, thread)
    assert report.finished == [tiny_spec(seed=1).folder]
    assert report.failed == {tiny_spec().folder: "MemoryError: this run is too large"}


def test_jobs_that_the_scheduler_drops_are_listed_as_failed(thread, tmp_path, monkeypatch):
    submit = thread.submit

    def dropped(*arguments, **named):
        future = submit(*arguments, **named)
        future.cancel()
        return future

    monkeypatch.setattr(thread, "submit", dropped)
    report = sweep.run([Order(tiny_spec(seed=seed)) for seed in range(2)], tmp_path, thread)
    assert report.finished == [] and len(report.failed) == 2
    assert all("the scheduler was lost, or has cancelled" in reason for reason in report.failed.values())


@pytest.mark.slow
def test_two_clusters_can_be_there_at_once(processes):
    with sweep.cluster(workers=1) as client:
        assert client.submit(sum, [1, 2]).result() == processes.submit(sum, [1, 2]).result() == 3
