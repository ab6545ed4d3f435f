"""Claims about train, contour, runs, tune and reproduce: what they print and store, and that mistakes cost one line."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from unittest import mock

import pytest
import tiny
from dask.distributed import LocalCluster
from typer.testing import CliRunner

from nsr import cli, paths, runs
from nsr.runs import reproduce, sweep, tuning
from nsr.study import claims  # noqa: F401  reads the kinds of contours when it is imported: before `own` replaces them

KINDS = {
    **dict.fromkeys(("paper", "quick", "validation"), tiny.KINDS["paper"]),
    "validation_own": tiny.KINDS["per_sample"],
    "validation_certified": tiny.KINDS["certified"],
}
NET = ("--dataset", "digits", "--sizes", "64,16,10", "--images", 100, "--set", "epochs=2")

runner = CliRunner()


def nsr(*words: object):
    return runner.invoke(cli.app, [str(word) for word in words])


def shares(line: str) -> list[float]:
    return [float(share) for share in re.findall(r"\d+\.\d", line)]


@pytest.fixture
def kinds() -> Iterator[None]:
    """Measurements of milliseconds; asked for before `monkeypatch`, so that what a test changes is undone first."""
    with mock.patch.dict(runs.MEASUREMENTS, KINDS, clear=True):
        yield


@pytest.fixture
def own(kinds, tmp_path, monkeypatch) -> Path:
    """The user's own store, and no shipped one."""
    monkeypatch.setattr(paths, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setenv("NSR_RUNS", str(tmp_path / "own"))
    return tmp_path / "own"


def trained(*words: object) -> Path:
    """The folder that `nsr train` names."""
    done = nsr("train", *words)
    assert done.exit_code == 0, done.output
    return Path(done.stdout.splitlines()[-1].removeprefix("in "))


def test_train_stores_a_run_and_shows_it_when_it_is_stored_already(own):
    done = nsr("train", "standard", *NET, "--seed", 3, "--set", "lr=0.05")
    folder = Path(done.stdout.splitlines()[-1].removeprefix("in "))
    run = runs.load(folder)
    assert folder.parent == own and "2/2" in done.stderr and "validation" in done.stderr
    assert run.spec == runs.spec("standard", 3, dataset="digits", sizes=(64, 16, 10), images=100, epochs=2, lr=0.05)
    assert f"{100 * run.history[-1]['validation']:.2f} %" in done.stdout and folder.name in done.stdout
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    again = nsr("train", "standard", *NET, "--seed", 3, "--set", "lr=5e-2")
    assert again.stdout == done.stdout
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_train_goes_on_after_ctrl_c_and_ends_in_the_same_weights(own, tmp_path, monkeypatch):
    result, calls = runs.Job.result, []

    def interrupted(job):
        calls.append(job)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return result(job)

    monkeypatch.setattr(runs.Job, "result", interrupted)
    done = nsr("train", "standard", *NET)
    assert done.exit_code == 130 and "Traceback" not in done.output
    assert done.stderr.splitlines()[-1] == "nsr: interrupted; the same command goes on from what is stored"
    assert nsr("runs").stdout.startswith("there are no runs yet")
    folder = trained("standard", *NET)
    assert len(calls) == 3
    whole = trained("standard", *NET, "--store", tmp_path / "whole")
    assert (folder / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()


USUAL = ("train", "standard", "--dataset", "digits", "--sizes", "64,16,10")
REFUSALS = {
    "what a specification refuses": ((*USUAL, "--set", "lr=-1"), "lr must be greater than 0, got -1"),
    "an unknown number": ((*USUAL, "--set", "lrate=1"), "unknown number 'lrate': a method has alpha, "),
    "a seed among the numbers": ((*USUAL, "--set", "seed=1"), "unknown number 'seed'"),
    "an assignment to nothing": ((*USUAL, "--set", "=1"), "--set takes NAME=VALUE, got '=1'"),
    "no assignment": ((*USUAL, "--set", "lr"), "--set takes NAME=VALUE, got 'lr'"),
    "widths that are none": (("train", "standard", "--sizes", "784,x"), "--sizes takes whole numbers and commas"),
    "widths that no memory holds": (("train", "standard", "--sizes", "784,1000000000,10"), "784-1000000000-10 is too"),
    "widths that no number holds": (("train", "standard", "--sizes", f"784,{10**400},10"), "too large to be trained"),
    "runs of a store that is not there": (("runs", "--store", "gone"), "gone: there is no such folder of runs"),
    "a ledger of a store that is not there": (("claims", "--store", "gone"), "gone: there is no such folder of runs"),
    "training into no folder": ((*USUAL, "--store", ""), "an empty path"),
    "measuring in no folder": (("contour", "at", "quick", "--store", ""), "an empty path"),
    "runs of no folder": (("runs", "--store", ""), "an empty path"),
    "a ledger into no file": (("claims", "--out", ""), "an empty path"),
    "a table into no file": (("claims", "--markdown", " "), "an empty path"),
    "candidates in no folder": (("tune", "--store", ""), "an empty path"),
    "a table of candidates in no file": (("tune", "--out", ""), "an empty path"),
    "a reproduction in no folder": (("reproduce", "--store", ""), "an empty path"),
    "a reproduction by no scheduler": (("reproduce", "--scheduler", ""), "address is tcp://host:port"),
    "parameters of no file": (("run", "01", "--params", ""), "an empty path"),
    "a parameter without a name": (("run", "01", "-p", "=1"), "-p takes NAME VALUE, got '=1'"),
    "a parameter with an empty name": (("run", "01", "-p", "", "1"), "-p takes NAME VALUE, got '=1'"),
    "a parameter of the book without a name": (("book", "--set", "=1"), "--set takes NAME=VALUE, got '=1'"),
    "a parameter of a chapter without a name": (("book", "--set", "04.=1"), "--set takes NAME=VALUE, got '04.=1'"),
    "a value that holds itself": (("run", "04", "-p", "seed", "&a [*a]"), "seed takes a whole number"),
    "a ledger in place of a folder": (("claims", "--out", "."), "is no plain file: name another one to write to"),
    "a ledger below a file": (
        ("claims", "--out", "/dev/null/l.json"),
        "nothing can be.*/dev/null",
    ),
    "a ledger and a table in one file": (("claims", "--out", "one", "--markdown", "./one"), "name two files"),
    "a table of candidates in place of a folder": (("tune", "--out", "."), "is no plain file"),
    "an unknown run": (("contour", "nope", "paper"), "no run begins with 'nope': nsr runs lists them all"),
    "a path for a run": (("contour", "/etc", "paper"), "no run begins with '/etc'"),
    "a pattern for a run": (("contour", "*", "paper"), r"no run begins with '\*'"),
    "an unknown contour": (("contour", "standard", "nope"), "unknown kind of contour 'nope': choose one of paper, "),
    "a reading for a contour": (
        ("contour", "standard", "inside"),
        "'inside' is no contour but read off",
    ),
    "an unknown method to reproduce": (("reproduce", "--only", "nope"), "unknown method 'nope': choose one of"),
    "an address without end": (("tune", "--scheduler", "x" * 10**5), "address is tcp://host:port or tls://.*, got 'xx"),
    "an assignment without end": ((*USUAL, "--set", "x" * 10**5), "--set takes NAME=VALUE, got 'xx"),
    "a run without end": (("contour", "x" * 10**5, "paper"), "no run begins with 'xx"),
    "a file for a scheduler": (("reproduce", "--scheduler", "file:///x"), "address is tcp://host:port or tls://host"),
    "no scheduler": (("reproduce", "--scheduler", "tcp://127.0.0.1:9"), "127.0.0.1:9"),
    "no scheduler to tune on": (("tune", "--scheduler", "127.0.0.1:9"), "127.0.0.1:9"),
    "no address": (("tune", "--scheduler", "nowhere at all"), "address is tcp://host:port"),
}


@pytest.mark.parametrize("words, message", REFUSALS.values(), ids=REFUSALS)
def test_what_cannot_be_done_costs_one_line_and_exit_code_2_and_leaves_nothing(
    words, message, own, tmp_path, monkeypatch
):
    monkeypatch.setattr(sweep, "PATIENCE", "1s")
    monkeypatch.chdir(tmp_path)
    done = nsr(*words)
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith("nsr: ") and re.search(message, line) and len(line) < 300, line
    assert done.stdout == "" and isinstance(done.exception, SystemExit)
    assert list(tmp_path.rglob("*")) == []


def test_a_training_that_diverges_costs_one_line_and_leaves_no_run(own):
    done = nsr("train", "standard", *NET, "--set", "lr=1e30")
    assert done.exit_code == 2
    assert re.match(r"nsr: training diverged.* below lr=1e\+30$", done.stderr.splitlines()[-1])
    assert list(runs.runs()) == []


def test_contour_measures_a_run_named_by_the_start_of_its_name(own):
    folder = trained("standard", *NET)
    done = nsr("contour", "standard-0", "paper")
    assert done.exit_code == 0 and "2/2" in done.stderr
    contour = runs.load(folder).contours["paper"]
    assert f"AUC {contour.auc:.3f}" == done.stdout.splitlines()[-1]
    for eps_x, accuracies in zip(contour.grid_x, contour.accuracy, strict=True):
        (line,) = re.findall(rf"^{eps_x:<4.3g}(.*)$", done.stdout, re.MULTILINE)
        assert shares(line) == [round(100 * a, 1) for a in accuracies]
    assert nsr("contour", folder.name, "paper").stdout == done.stdout


def test_contour_measures_a_copy_of_a_shipped_run_unless_its_store_is_named(own):
    def files(folder: Path) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    shipped = trained("standard", *NET, "--store", paths.SHIPPED)
    before = files(shipped)
    done = nsr("contour", "standard-0", "paper")
    copied = f"nsr: {shipped.name} is a shipped run: copied to {own} and measured there"
    assert done.exit_code == 0 and done.stderr.splitlines().count(copied) == 1
    assert files(shipped) == before and runs.load(own / shipped.name).contours.keys() == {"paper"}
    again = nsr("contour", "standard-0", "paper")
    assert again.stdout == done.stdout and "copied" not in again.stderr
    shutil.rmtree(own)
    named = nsr("contour", "standard-0", "paper", "--store", paths.SHIPPED)
    assert named.stdout == done.stdout and runs.load(shipped).contours.keys() == {"paper"}
    assert nsr("contour", "standard-0", "paper").stdout == done.stdout  # shown, so no copy is needed
    assert not own.exists()


def test_contour_refuses_a_stale_shipped_run_and_copies_nothing(own, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(paths, "PACKAGE", tiny.other_code(tmp_path))
        trained("standard", *NET, "--store", paths.SHIPPED)
    done = nsr("contour", "standard-0", "paper")
    assert done.exit_code == 2 and "was computed before a change of training.loss" in done.stderr.splitlines()[-1]
    assert not own.exists()


@pytest.fixture
def bare(own) -> runs.Run:
    """A shipped run with one contour and without its weights."""
    folder = trained("standard", *NET, "--store", own.parent / "full")
    runs.adopt(runs.run(runs.load(folder).spec, ("paper",), store=folder.parent), paths.SHIPPED, weights=False)
    return runs.load(paths.SHIPPED / folder.name)


def test_runs_says_of_a_run_that_it_is_without_weights(bare, tmp_path, monkeypatch):
    done = nsr("runs")
    assert done.exit_code == 0 and done.stderr == "" and "under way" not in done.stdout
    (line,) = done.stdout.splitlines()[1:]
    assert line.startswith(bare.folder.name) and line.endswith("  without weights")
    monkeypatch.setattr(paths, "PACKAGE", tiny.other_code(tmp_path))
    assert nsr("runs").stdout.splitlines()[1].endswith("  without weights; stale: training.loss")


def test_contour_shows_what_was_found_of_a_run_without_weights_and_measures_nothing_new(bare, own):
    done = nsr("contour", "standard-0", "paper")
    assert done.exit_code == 0 and done.stderr == ""
    assert done.stdout.splitlines()[-1] == f"AUC {bare.contours['paper'].auc:.3f}"
    for words in ((), ("--store", paths.SHIPPED)):
        assert nsr("contour", "standard-0", "paper", *words).stdout == done.stdout
        refused = nsr("contour", "standard-0", "quick", *words)
        assert refused.exit_code == 2 and refused.stdout == ""
        assert refused.stderr == (
            f"nsr: {bare.folder}: is stored without its weights; nsr.runs.run(spec) or nsr train trains it again\n"
        )
    assert not own.exists() and not (bare.folder / "weights.safetensors").exists()


def test_train_has_the_weights_again_and_then_contour_measures(bare, own):
    folder = trained("standard", *NET)
    assert folder == own / bare.folder.name and runs.load(folder).has_weights
    assert "without weights" not in nsr("runs").stdout
    assert nsr("contour", "standard-0", "quick").exit_code == 0
    assert runs.load(folder).contours.keys() == {"paper", "quick"} and not runs.load(bare.folder).has_weights


def test_a_name_that_several_runs_begin_with_is_refused(own):
    trained("standard", *NET, "--seed", 1)
    trained("standard", *NET, "--seed", 2)
    done = nsr("contour", "standard", "paper")
    both = ", ".join(folder.name for folder in runs.folders())
    assert done.exit_code == 2
    assert done.stderr == f"nsr: 2 runs begin with 'standard': {both}; give more of one name\n"


def test_of_many_runs_that_a_name_may_mean_the_first_few_are_listed(own):
    for k in range(30):
        (own / f"standard-{k:02}").mkdir(parents=True)
        (own / f"standard-{k:02}" / "weights.safetensors").touch()
    done = nsr("contour", "standard", "paper")
    first = "standard-00, standard-01, standard-02, standard-03"
    assert done.stderr == f"nsr: 30 runs begin with 'standard': {first} and 26 more; give more of one name\n"


def test_a_memory_that_does_not_suffice_costs_one_line(own, monkeypatch):
    def full(*_: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(runs.Job, "result", full)
    done = nsr("train", "standard", *NET)
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1].startswith("nsr: the memory does not suffice: ")


def test_runs_lists_the_user_s_and_the_shipped_and_equal_ones_once(own):
    first = trained("standard", *NET, "--seed", 1)
    trained("standard", *NET, "--seed", 2, "--store", paths.SHIPPED)
    shutil.copytree(first, paths.SHIPPED / first.name)
    nsr("contour", "standard-1", "paper")
    done = nsr("runs")
    header, *lines = done.stdout.splitlines()
    assert done.exit_code == 0 and [line.split("-")[1] for line in lines] == ["1", "2"]
    assert "AUC paper" in header and f"{runs.load(first).contours['paper'].auc:.3f}" in lines[0] and " - " in lines[1]
    assert len(nsr("runs", "--store", own).stdout.splitlines()) == 2
    (own / "empty").mkdir(parents=True)
    assert nsr("runs", "--store", own / "empty").stdout.startswith("there are no runs yet: see nsr train --help")


def test_runs_lists_what_is_good_beside_what_is_refused_or_foreign(own):
    good = trained("standard", *NET)
    (own / "notes.txt").write_text("mine")
    (own / "an empty folder").mkdir()
    (own / "half").mkdir()
    (own / "half" / "checkpoint.safetensors").write_bytes(b"junk")
    bad = ["half", "no provenance", "no JSON", "another name", "a folder for weights", "changed", "no weights"]
    for name in bad[1:]:
        shutil.copytree(good, own / name)
    (own / "no provenance" / "provenance.json").unlink()
    (own / "no JSON" / "provenance.json").write_bytes(b"\xff\x00junk")
    (own / "a folder for weights" / "weights.safetensors").unlink()
    (own / "a folder for weights" / "weights.safetensors").mkdir()
    (own / "changed" / "history.json").write_text("[]")
    (own / "no weights" / "weights.safetensors").unlink()
    done = nsr("runs")
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit)
    assert len(done.stdout.splitlines()) == 2 and good.name in done.stdout
    refused = done.stderr.splitlines()
    assert len(refused) == len(bad) and all(line.startswith("nsr: refused: ") for line in refused)
    assert all(any(str(own / name) in line for line in refused) for name in bad)


def test_a_file_in_the_place_of_the_store_is_no_empty_store(own, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("NSR_RUNS", str(tmp_path / "file"))
    done = nsr("runs")
    assert done.exit_code == 2 and "file: NSR_RUNS names a file, and runs lie in a folder" in done.stderr


def test_runs_lists_what_is_under_way(own):
    spec = runs.spec("standard", dataset="digits", sizes=(64, 16, 10), images=100, epochs=2)
    job = runs.next_job(own, spec, ())
    runs.keep(own, job, *job.result())
    done = nsr("runs")
    assert done.exit_code == 0 and done.stdout.splitlines()[-1] == f"  {spec.folder}: 1 of 2 epochs"
    trained("standard", *NET)
    assert "under way" not in nsr("runs").stdout


def test_runs_shows_the_data_and_in_what_runs_of_one_row_differ(own):
    trained("standard", *NET)
    trained("standard", *NET, "--set", "lr=0.05")
    header, *lines = nsr("runs").stdout.splitlines()
    assert re.match("run +data +differs in ", header) and all(re.match(r"\S+ +digits ", line) for line in lines)
    assert sum("lr 0.05, epochs 2" in line for line in lines) == 1


def test_runs_names_the_code_that_made_a_run_stale(own, tmp_path, monkeypatch):
    trained("standard", *NET)
    assert "stale" not in nsr("runs").stdout
    monkeypatch.setattr(paths, "PACKAGE", tiny.other_code(tmp_path))
    done = nsr("runs")
    assert done.exit_code == 0 and done.stdout.splitlines()[1].endswith("  stale: training.loss")
    done = nsr("train", "standard", *NET)
    assert done.exit_code == 2 and "before a change of training.loss; remove it" in done.stderr.splitlines()[-1]


@pytest.fixture
def scheduler(own, monkeypatch) -> Iterator[str]:
    """The address of a cluster inside this process; a tuning of tiny runs, and a reproduction of two."""
    numbers = {"dataset": "digits", "sizes": (64, 16, 10), "images": 100}
    names = ("standard", "weight_perturb")
    two = [sweep.Order(runs.spec(name, epochs=1, **numbers), ("quick",)) for name in names]
    monkeypatch.setattr(reproduce, "orders", lambda scale: two)
    monkeypatch.setattr(reproduce, "QUICK", own.parent / "quick.json")
    monkeypatch.setattr(runs, "spec", partial(runs.spec, **numbers))
    monkeypatch.setattr(tuning, "SEARCHES", {name: tuning.SEARCHES[name] for name in names})
    monkeypatch.setattr(tuning, "EPOCHS", 1)
    monkeypatch.setattr(tuning, "LENGTHS", ())
    with LocalCluster(n_workers=1, processes=False, protocol="tcp", dashboard_address="127.0.0.1:0") as there:
        yield there.scheduler_address


def test_tune_prints_and_writes_the_table_of_candidates(scheduler, own, tmp_path):
    words = ("tune", "--scheduler", scheduler, "--store", own, "--out", tmp_path / "table.json")
    some = nsr(*words, "--only", "standard")
    assert some.exit_code == 0 and "2 of 4 searches have ended\n" in some.stdout, some.output
    done = nsr(*words)
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "table.json").read_text())
    assert f"4 of 4 searches have ended; the main optimiser is {record['main optimiser']}\n" in done.stdout
    assert done.stdout.count("<- chosen") == sum(r["chosen"] for r in record["candidates"]) == 4
    for found in record["candidates"]:
        assert f"{100 * found['clean']:.2f}" in done.stdout and f"{found['auc']:.3f}" in done.stdout
    assert f"written: {tmp_path / 'table.json'}" in done.stdout
    before = len(list(runs.runs(own)))
    assert before == len(record["candidates"]) + len(record["beside"])
    assert nsr(*words).stdout == done.stdout and len(list(runs.runs(own))) == before


def test_the_bar_of_tune_grows_with_every_round_and_ends_full(scheduler, own, tmp_path):
    words = ("tune", "--scheduler", scheduler, "--store", own, "--out", tmp_path / "table.json", "--only", "standard")
    last = re.findall(r"(\d+)/(\d+)", nsr(*words).stderr)[-1]
    jobs = 5 * len(list(runs.runs(own)))  # an epoch, and two contours of two rows
    assert last == (str(jobs), str(jobs))


def test_tune_shows_what_collapsed_and_ends_with_1_at_the_limit_of_a_ladder(scheduler, own, tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "OPTIMISERS", {"sgd": 1e28})  # all within reach diverge
    monkeypatch.setitem(tuning.SEARCHES, "standard", tuning.Search(by="clean"))
    words = ("tune", "--scheduler", scheduler, "--store", own, "--out", tmp_path / "table.json", "--only", "standard")
    done = nsr(*words)
    assert done.exit_code == 1 and re.search(r"standard .*lr=1e\+28 +collapsed", done.stdout)
    assert done.stderr.splitlines()[-1] == "nsr: standard by sgd ended at the limit of lr"


def test_tune_lists_a_candidate_that_could_not_be_had_and_ends_with_1(scheduler, own, tmp_path):
    first, *_ = tuning.orders(own, ["standard"])
    (own / first.spec.folder).mkdir(parents=True)
    (own / first.spec.folder / "checkpoint.safetensors").write_bytes(b"junk")
    words = ("tune", "--scheduler", scheduler, "--store", own, "--out", tmp_path / "table.json", "--only", "standard")
    done = nsr(*words)
    assert done.exit_code == 1 and "1 of 4 searches have ended" in done.stdout
    assert re.match(r"nsr: failed: standard-100-\w+: StoreError: .*is damaged", done.stderr.splitlines()[-1])


def test_tune_refuses_a_row_that_nobody_searches(own):
    done = nsr("tune", "--only", "joint")
    assert done.exit_code == 2 and "unknown method 'joint': choose one of standard, " in done.stderr


def reference(store: Path) -> Path:
    """The quick runs in a store, and the file with their numbers as what they are compared with."""
    for order in reproduce.orders("quick"):
        runs.run(order.spec, order.measurements, store=store)
    reproduce.write_reference(store, reproduce.QUICK)
    return reproduce.QUICK


def test_reproduce_compares_with_the_reference_and_a_number_apart_ends_with_1(scheduler, own):
    quick = reference(own)
    words = ("reproduce", "--scheduler", scheduler, "--store", own)
    done = nsr(*words)
    assert done.exit_code == 0 and done.stdout.splitlines()[-1].startswith("4 of 4 numbers agree")
    assert nsr(*words, "--only", "standard").exit_code == 0
    known = json.loads(quick.read_text())
    known["standard"]["AUC"] += 0.06
    quick.write_text(json.dumps(known))
    done = nsr(*words)
    assert done.exit_code == 1 and done.stdout.splitlines()[-1].startswith("3 of 4 numbers agree")
    (line,) = [line for line in done.stdout.splitlines() if "<- differs" in line]
    assert line.startswith("standard ") and " AUC " in line


@pytest.mark.parametrize("content", [None, b"{}", b"null", b'{"standerd": {"AUC": 0.5}}', b"[" * 10**5], ids=range(5))
def test_reproduce_refuses_a_spoilt_reference_before_anything_is_computed(content, scheduler, own):
    if content is not None:
        reproduce.QUICK.write_bytes(content)
    done = nsr("reproduce", "--scheduler", scheduler, "--store", own / "reproduced")
    (line,) = done.stderr.splitlines()
    assert done.exit_code == 2 and "quick.json" in line and done.stdout == "" and not own.exists()


def test_reproduce_lists_a_run_that_failed_and_ends_with_1(scheduler, own):
    reference(own)
    first, _ = reproduce.orders("quick")
    folder = own / first.spec.folder
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "checkpoint.safetensors").write_bytes(b"junk")
    done = nsr("reproduce", "--scheduler", scheduler, "--store", own)
    assert done.exit_code == 1 and done.stdout.splitlines()[-1].startswith("2 of 2 numbers agree")
    assert re.match(rf"nsr: failed: {folder.name}: StoreError: .*is damaged", done.stderr.splitlines()[-1])


@pytest.mark.parametrize("command", ["train", "contour", "runs", "tune", "reproduce"])
def test_each_command_s_help_says_what_it_does_and_is_listed(command):
    words = " ".join(nsr(command, "--help").stdout.split())
    assert command in nsr("--help").stdout
    teaching = {
        "train": ("nsr train at_beta_high --seed 3", "goes on from its last finished epoch", "--set", "--sizes"),
        "contour": ("accuracy over a grid of input and weight radii", "the paper's attack", "relative", "certified"),
        "runs": ("every file checked against its digest", "stale", "Exit code 1"),
        "tune": ("on validation images", "--scheduler", "--out", "--only", "a night of one core", "Exit code 1"),
        "reproduce": ("from nothing", "--scale", "--only", "Exit code 1", "tolerance"),
    }
    assert all(words.count(part) for part in teaching[command])
