"""Floor 9: the command line `nsr`: parse, dispatch, print; nothing else."""

from __future__ import annotations

import typer

from nsr.cli.chapters import Pairs, book_command, run_command
from nsr.cli.judge import assess_command
from nsr.cli.ledger import claims_command, provenance_command
from nsr.cli.many import reproduce_command, tune_command
from nsr.cli.single import contour_command, runs_command, train_command
from nsr.cli.terminal import INTERRUPTED, REFUSED

__all__ = [
    "INTERRUPTED",
    "REFUSED",
    "app",
    "assess_command",
    "book_command",
    "claims_command",
    "contour_command",
    "nsr",
    "provenance_command",
    "reproduce_command",
    "run_command",
    "runs_command",
    "train_command",
    "tune_command",
]

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.callback()
def nsr() -> None:
    """Robustness of neural networks when inputs and weights are perturbed together."""


# in the order of `nsr --help`
app.command("assess")(assess_command)
app.command("train")(train_command)
app.command("contour")(contour_command)
app.command("runs")(runs_command)
app.command("tune")(tune_command)
app.command("reproduce")(reproduce_command)
app.command("run", cls=Pairs)(run_command)
app.command("book")(book_command)
app.command("claims")(claims_command)
app.command("provenance")(provenance_command)
