"""`nsr assess`: judge your own model."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer
from tqdm import tqdm

from nsr import assess
from nsr.assess import NAMES, AssessError, Assessment
from nsr.cli.leave import INTERRUPTED, REFUSED
from nsr.cli.options import path_option
from nsr.cli.terminal import percent, room, row, stop
from nsr.contour import COARSE, Cell, Contour
from nsr.data import DataError
from nsr.files import StoreError

commands = room()
FEW = 6  # cells that a flag names one by one


@commands.command("assess")
def assess_command(
    model: Annotated[str, typer.Argument(help="file.py:function; called without arguments, it returns the module")],
    data: Annotated[str, typer.Option(help="mnist, fashion-mnist, digits (test samples), or an .npz with x and y")],
    weights: Annotated[Path | None, path_option("safetensors file with the module's weights")] = None,
    images: Annotated[int, typer.Option(min=1, help="how many samples, the first ones")] = assess.IMAGES,
    eps_x: Annotated[float | None, typer.Option(help=f"largest input radius; default {COARSE.grid_x[-1]:g}")] = None,
    eps_w: Annotated[
        float | None,
        typer.Option(help=f"largest weight radius; default {COARSE.grid_w[-1]:g}, relative {COARSE.grid_r[-1]:g}"),
    ] = None,
    points: Annotated[int, typer.Option(min=2, help="grid points a side, 0 included")] = assess.POINTS,
    geometry: Annotated[
        Literal["absolute", "relative"],
        typer.Option(help="one weight radius for all, or a multiple of each tensor's mean absolute weight"),
    ] = "absolute",
    certify: Annotated[
        bool | None, typer.Option("--certify/--no-certify", help="certificates; default: where the model is dense")
    ] = None,
    strong: Annotated[bool, typer.Option(help="the strong attack too, several times the time")] = True,
    out: Annotated[Path, path_option("for contour.png, assessment.json and finished cells")] = Path("assessment"),
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="where to compute")] = "cpu",
) -> None:
    """Judge your own model: how accurate it stays when its inputs, its weights or both are perturbed.

    For example, with this in model.py

    \b
        from torch import nn
        def make():
            return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

    and its trained weights saved by safetensors.torch.save_model(model, "trained.safetensors"):

    \b
        nsr assess model.py:make --weights trained.safetensors --data digits --images 100 --points 4

    Samples lie in [0, 1] and the module returns logits [B, K]. Every parameter tensor is attacked, biases and
    batch-norm's included; the module is in eval mode and is never changed. A run that is interrupted goes on where
    it stopped when the same command is given again.
    """
    try:
        what = assess.plan(eps_x=eps_x, eps_w=eps_w, points=points, geometry=geometry, strong=strong, certify=certify)
        # what a stranger's model prints is no part of what was found
        with contextlib.closing(_Bars()) as watch, contextlib.redirect_stdout(sys.stderr):
            found = assess.assess(model, data, what, out, weights=weights, images=images, device=device, watch=watch)
    except (AssessError, DataError, OSError) as error:
        stop(str(error), REFUSED)
    except StoreError as error:
        stop(f"{error}, or choose another --out", REFUSED)
    except KeyboardInterrupt:
        stop(f"interrupted; the same command goes on from the cells in {out}", INTERRUPTED)
    typer.echo("\n".join(_table(found)))
    typer.echo(f"\nwritten: {out / 'contour.png'}, {out / 'assessment.json'}")


class _Bars:
    """A bar for each curve on stderr: cells done and time left, which cells of an earlier run do not count into."""

    bar: tqdm | None = None

    def __call__(self, curve: str, done: int, total: int) -> None:
        if self.bar is None or self.bar.desc != curve:
            self.close()
            self.bar = tqdm(total=total, initial=done, desc=curve, unit="cell")
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def _table(found: Assessment) -> Iterator[str]:
    """What was found, line by line."""
    paper = found.contours["paper"]
    yield f"{found.model} on {found.data}, {found.images} samples, {paper.geometry} weight radii"
    yield f"\nclean accuracy {100 * found.clean:.1f} %"
    yield "\naccuracy (%) when only the inputs move"
    yield row("eps_x", [f"{e:.3g}" for e in paper.grid_x])
    yield from (row(NAMES[name], percent(c.edge_x)) for name, c in found.contours.items())
    yield "\naccuracy (%) when only the weights move"
    yield row("eps_w" if paper.geometry == "absolute" else "r", [f"{e:.3g}" for e in paper.grid_w])
    yield from (row(NAMES[name], percent(c.edge_w)) for name, c in found.contours.items())
    yield "\njoint AUC: the mean accuracy over the whole grid, in [0, 1]"
    yield from (row(NAMES[name], [f"{c.auc:.3f}"]) for name, c in found.contours.items())
    yield "\nflags"
    yield from (f"  {what}: {_places(cells, paper)}" for what, cells in found.flags.items())
    if not found.flags:
        yield "  none"


def _places(cells: Sequence[Cell], on: Contour) -> str:
    named = ", ".join(f"({on.grid_x[i]:.3g}, {on.grid_w[j]:.3g})" for i, j in cells[:FEW])
    more = f" and {len(cells) - FEW} more" if len(cells) > FEW else ""
    return f"at (eps_x, {'eps_w' if on.geometry == 'absolute' else 'r'}) = {named}{more}"
