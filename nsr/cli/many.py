"""`nsr tune` and `reproduce`: many runs at once."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
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
) -> None:
    """Choose the numbers of all methods on validation images, as the book's were chosen, and write the table.

    Takes about 15 minutes on two cores; candidates that are stored are not trained again.
    """
    with refusals():
        refuse_unwritable_files(out)
        with sweep.cluster(scheduler, workers) as client:
            report = _swept(tuning.orders(), store, client)
        records = tuning.write(store, out)
    typer.echo(table(("method", "numbers", "clean %", "AUC", "certified", ""), map(_candidate, records), words=2))
    typer.echo(f"\nwritten: {out}")
    _end(report)


@commands.command("reproduce")
def reproduce_command(
    scale: Annotated[
        Literal["quick", "paper"], typer.Option(help="quick: minutes; paper: a night on two cores")
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
        if unknown := sorted(set(only or []) - set(METHODS)):
            raise ValueError(f"unknown method {unknown[0]!r:.60}: choose one of {', '.join(METHODS)}")
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


def _candidate(record: dict[str, Any]) -> tuple[str, ...]:
    numbers = ", ".join(f"{name}={value}" for name, value in record["numbers"].items())
    if record["clean"] is None:
        return record["method"], numbers, "failed", "", "", ""
    found = f"{100 * record['clean']:.2f}", f"{record['auc']:.3f}", f"{record['certified']:.3f}"
    return record["method"], numbers, *found, "<- chosen" if record["chosen"] else ""


def _swept(orders: Sequence[sweep.Order], store: Path, client: sweep.Client) -> sweep.Report:
    with contextlib.closing(tqdm(total=sum(order.jobs for order in orders), unit="job")) as bar:

        def watch(job: Job | None, done: int) -> None:
            bar.update(done)
            if job is not None:
                bar.set_postfix_str(f"{job.spec.folder} {job.what}")

        return sweep.run(orders, store, client, watch)


def _end(report: sweep.Report, failed: bool = False) -> None:
    for folder, reason in report.failed.items():
        typer.echo(f"nsr: failed: {folder}: {excerpt(reason)}", err=True)
    if report.failed or failed:
        raise typer.Exit(1)
