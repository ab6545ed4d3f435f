"""`nsr claims` and `companion-claims`: what the stored runs say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer

from nsr import paths
from nsr.cli.options import path_option
from nsr.cli.terminal import few, refusals, refuse_unwritable_files, room, stores
from nsr.files import write_whole
from nsr.study import claims, companion_claims
from nsr.study.claims.verdict import UNKNOWN, Row

commands = room()


@commands.command("claims")
def claims_command(
    store: Annotated[Path | None, path_option("folder of runs to decide by; default: the shipped ones")] = None,
    interval: Annotated[
        Literal["bootstrap", "student"], typer.Option(help="of a difference over seeds; Student's is the wider")
    ] = "student",
    out: Annotated[Path | None, path_option("write the ledger there as JSON, with every number")] = None,
    markdown: Annotated[Path | None, path_option("write the table there as markdown")] = None,
) -> None:
    """Decide the paper's eleven claims by stored runs: verdicts computed from differences paired by seed.

    Exit code 1: runs or contours of the book are missing, and the ledger was decided without them.
    """
    with refusals():
        refuse_unwritable_files(out, markdown)
        shelf, lacking = claims.shelf(*stores(store)), claims.missing(*stores(store))
        found = claims.ledger(shelf, claims.Rules(interval=interval))
        if out:
            write_whole(out, claims.to_json(shelf, claims.Rules(interval=interval)).encode())
        if markdown:
            write_whole(markdown, claims.markdown(found).encode())
    _tell(found)
    stale: dict[tuple[str, ...], list[str]] = {}
    for run in claims.used(shelf):
        if run.stale:
            stale.setdefault(run.stale, []).append(run.folder.name)
    for changed, names in stale.items():
        typer.echo(f"nsr: stale, since {', '.join(changed)} changed: {few(names)}", err=True)
    if lacking:
        typer.echo(f"nsr: decided without {len(lacking)} runs or contours that the book has: {few(lacking)}", err=True)
        raise typer.Exit(1)


@commands.command("companion-claims")
def companion_claims_command(
    store: Annotated[Path | None, path_option("folder of runs to decide by; default: the shipped ones")] = None,
    out: Annotated[Path | None, path_option("write the ledger there as JSON, with every number")] = None,
) -> None:
    """Decide the claims of the two companion papers, B1 to B5 and D1 to D4, by Student's intervals over seeds.

    The runs are those of nsr reproduce --scale companions; what is not shipped is taken from your own.
    """
    with refusals():
        refuse_unwritable_files(out)
        if store is None:
            paths.refuse_without_checkout("the shipped runs")
        found = companion_claims.ledger(companion_claims.RULES, *stores(store))
        if out:
            write_whole(out, companion_claims.to_json(companion_claims.RULES, *stores(store)).encode())
    _tell(found)


def _tell(found: Mapping[str, Row]) -> None:
    for name, row in found.items():
        typer.echo(f"{name}  {row.words:50}  {row.claim.title}")
        typer.echo(f"    {claims.number(row.cases[0].telling)}")
        for setting, outcome in row.outcomes.items():
            if outcome in UNKNOWN:
                typer.echo(f"    {outcome}: {setting}")
