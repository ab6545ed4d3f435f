"""`nsr tune` and `reproduce`: many runs at once."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from tqdm import tqdm

from nsr.cli.options import Scheduler, Workers, path_option
from nsr.cli.terminal import excerpt, refusals, refuse_unwritable_files, room, table
from nsr.runs import Job, reproduce, sweep, tuning
from nsr.training import METHODS

commands = room()


@commands.command("tune")
def tune_command(
    store: Annotated[Path, path_option("folder for the candidates' runs")] = Path("runs/tuning"),
    scheduler: Scheduler = None,
    workers: Workers = None,
    out: Annotated[Path, path_option("where the table of candidates is written")] = Path("tuning.json"),
    only: Annotated[list[str] | None, typer.Option(help="these rows alone; may be repeated")] = None,
) -> None:
    """Search the numbers of all methods on validation images, and write the table of all candidates.

    Each row climbs by SGD and by Adam until every neighbour of its best candidate has been tried and none is better.
    Takes a night of one core. The table is written after every round; candidates that are stored, or that the
    table has by the same procedure and code, are not trained again. Exit code 1: a candidate could not be had, or a
    search ended at the limit of its ladders.
    """
    with refusals():
        refuse_unwritable_files(out)
        _refuse_unknown(only, tuning.SEARCHES)
        tuning.take(out, store)
        with sweep.cluster(scheduler, workers) as client, _bar() as bar:
            names = only or tuple(tuning.SEARCHES)
            grow = functools.partial(_grow, bar)
            report = tuning.run(store, out, client, names=names, watch=_watching(bar), grow=grow)
        record = tuning.record(store)
    header = ("method", "numbers", "clean %", "AUC", "certified", "own", "")
    typer.echo(table(header, map(_candidate, record["candidates"]), words=2))
    ended = sum(search["ended"] for search in record["searches"])
    main = f"; the main optimiser is {record['main optimiser']}" if record["main optimiser"] else ""
    typer.echo(f"\n{ended} of {len(record['searches'])} searches have ended{main}\nwritten: {out}")
    edges = [search for search in record["searches"] if search["edges"]]
    for search in edges:
        numbers = ", ".join(search["edges"])
        typer.echo(f"nsr: {search['method']} by {search['optimiser']} ended at the limit of {numbers}", err=True)
    _end(report, failed=bool(edges))


@commands.command("reproduce")
def reproduce_command(
    scale: Annotated[
        Literal["quick", "paper", "companions"],
        typer.Option(help="quick: minutes; paper: a night and more on two cores; companions: chapters 14 to 16, hours"),
    ] = "quick",
    store: Annotated[Path, path_option("folder for these runs, apart from all others")] = Path("runs/reproduced"),
    scheduler: Scheduler = None,
    workers: Workers = None,
    only: Annotated[list[str] | None, typer.Option(help="these methods alone; may be repeated")] = None,
) -> None:
    """Compute the runs of the book from nothing and compare them with those that are shipped.

    What is interrupted goes on where it stopped when the same command is given again. Exit code 1: a run failed, or
    a number differs from the reference by more than the tolerance.
    """
    with refusals():
        _refuse_unknown(only, METHODS)
        orders = [o for o in reproduce.orders(scale) if not only or o.spec.name in only]
        reference = reproduce.reference(scale)  # what is wrong with it shows before anything is computed
        with sweep.cluster(scheduler, workers) as client:
            report = _swept(orders, store, client)
        found = reproduce.compare(reproduce.numbers(scale, store), reference)
    rows = [(a.run, a.what, f"{a.ours:.3f}", f"{a.reference:.3f}", "" if a.agrees else "<- differs") for a in found]
    typer.echo(table(("run", "number", "here", "reference", ""), rows, words=2))
    apart = sum(not agreement.agrees for agreement in found)
    typer.echo(f"\n{len(found) - apart} of {len(found)} numbers agree with the reference within {reproduce.TOLERANCE}")
    _end(report, failed=apart > 0 or not found)


def _refuse_unknown(only: Sequence[str] | None, names: Collection[str]) -> None:
    if unknown := sorted(set(only or []) - set(names)):
        raise ValueError(f"unknown method {unknown[0]!r:.60}: choose one of {', '.join(names)}")


def _candidate(record: dict[str, Any]) -> tuple[str, ...]:
    numbers = ", ".join(f"{name}={value}" for name, value in record["numbers"].items())
    if record["clean"] is None:
        return record["method"], numbers, "collapsed", "", "", "", ""
    own = f"{record['own']:.3f}" if "own" in record else ""
    found = f"{100 * record['clean']:.2f}", f"{record['auc']:.3f}", f"{record['certified']:.3f}", own
    return record["method"], numbers, *found, "<- chosen" if record["chosen"] else ""


def _bar(jobs: int = 0) -> contextlib.closing[tqdm]:
    return contextlib.closing(tqdm(total=jobs, unit="job"))


def _grow(bar: tqdm, jobs: int) -> None:
    bar.total += jobs
    bar.refresh()


def _watching(bar: tqdm) -> sweep.Watch:
    def watch(job: Job | None, done: int) -> None:
        bar.update(done)
        if job is not None:
            bar.set_postfix_str(f"{job.spec.folder} {job.what}")

    return watch


def _swept(orders: Sequence[sweep.Order], store: Path, client: sweep.Client) -> sweep.Report:
    with _bar(sum(order.jobs for order in orders)) as bar:
        return sweep.run(orders, store, client, _watching(bar))


def _end(report: sweep.Report, failed: bool = False) -> None:
    for folder, reason in report.failed.items():
        typer.echo(f"nsr: failed: {folder}: {excerpt(reason)}", err=True)
    if report.failed or failed:
        raise typer.Exit(1)
