"""`nsr assess`: judge your own model."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer
from tqdm import tqdm

from nsr import assess
from nsr.assess import NAMES, AssessError, Assessment, Plan
from nsr.cli.leave import INTERRUPTED, REFUSED, at_once
from nsr.cli.options import path_option
from nsr.cli.terminal import percent, room, row, stop
from nsr.contour import COARSE, Cell, Contour, Decided
from nsr.data import DataError, Split
from nsr.files import StoreError
from nsr.network import Network

commands = room()
FEW = 6  # cells that a flag names one by one
WIDE = 20  # of the column of names
PAUSE = 1  # seconds between two signs of life inside a cell
LONG = 2  # minutes from which on an estimate is given


@commands.command("assess")
def assess_command(
    model: Annotated[str, typer.Argument(help="file.py:function; called without arguments, it returns the module")],
    data: Annotated[
        str,
        typer.Option(help="mnist, fashion-mnist, digits (test samples), an .npz with x and y, or file.py:function"),
    ],
    weights: Annotated[Path | None, path_option("the module's weights: safetensors, or a .pt of tensors")] = None,
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
    only: Annotated[str | None, typer.Option(help="which tensors move, by name: weight, fc1.*; default: all")] = None,
    box: Annotated[str, typer.Option(metavar="LOW,HIGH", help="the interval that every input stays in")] = "0,1",
    certify: Annotated[
        bool | None, typer.Option("--certify/--no-certify", help="certificates; default: where there are any")
    ] = None,
    strong: Annotated[bool, typer.Option(help="the strong attack too, several times the time")] = True,
    exact: Annotated[
        bool, typer.Option("--exact", help="decide the first samples exactly: proved robust or broken; dense models")
    ] = False,
    exact_images: Annotated[
        int | None, typer.Option(min=1, help=f"how many samples --exact decides; default: the first {assess.DECIDED}")
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(help=f"what --exact may take for one sample and budget; default {assess.SECONDS:g}"),
    ] = None,
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

    Samples lie in [0, 1], or in --box, and the module returns logits [B, K]. Every parameter tensor is attacked,
    biases and batch-norm's included, unless --only names some; the module is in eval mode and is never changed. Chains
    of dense, convolutional and ReLU layers are certified too, dense ones attacked with weights of each image's own. A
    run that is interrupted goes on where it stopped when the same command is given again.

    With --exact, for dense ReLU networks, a search decides, for each of the first samples and each budget, whether any
    input and weights inside it flip the sample. What takes longer than --seconds stays open, so the truth lies between
    two numbers.
    """
    kept = f"interrupted; the same command goes on from the cells in {out}"
    watch, screen, what = _Bars(), sys.stdout, None

    def leave() -> None:
        """Close the bar, and show what is decided by now."""
        watch.close()
        if watch.planes and what:
            truth = {"exact": Decided.of(what.grid_x, what.grid_w, watch.planes, what.geometry)}
            typer.echo("\n".join(_truth(truth, what.seconds)).lstrip(), file=screen)

    try:
        if not exact and (exact_images is not None or seconds is not None):
            raise AssessError("--exact-images and --seconds are for --exact, which was not given")
        options = {"points": points, "geometry": geometry, "strong": strong, "certify": certify, "only": only}
        if exact:
            options |= {"decided": assess.DECIDED if exact_images is None else exact_images}
            options |= {"seconds": assess.SECONDS if seconds is None else seconds}
        what = assess.plan(eps_x=eps_x, eps_w=eps_w, box=_interval(box), **options)
        # what a stranger's model prints is no part of what was found
        with contextlib.closing(watch), contextlib.redirect_stdout(sys.stderr), at_once(kept, leave):
            how = {"weights": weights, "images": images, "device": device, "watch": watch, "on_pass": watch.passed}
            how |= {"on_plane": watch.planned, "on_ready": partial(_say_how_long, what=what)}
            found = assess.assess(model, data, what, out, **how)
    except (AssessError, DataError, OSError) as error:
        stop(str(error), REFUSED)
    except StoreError as error:
        stop(f"{error}, or choose another --out", REFUSED)
    except KeyboardInterrupt:
        leave()
        stop(kept, INTERRUPTED)
    typer.echo("\n".join(_table(found)))
    typer.echo(f"\nwritten: {out / 'contour.png'}, {out / 'assessment.json'}")


def _interval(text: str) -> tuple[float, float]:
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        raise AssessError(f"--box takes two numbers, as in 0,1; got {text[:40]!r}") from None
    return low, high


def _say_how_long(network: Network, split: Split, what: Plan) -> None:
    """Before a long run: how long, and that it can be stopped."""
    minutes = assess.estimate(network, split, what) / 60
    if minutes > LONG:
        words = f"{minutes / 60:.1f} hours" if minutes > 100 else f"{minutes:.0f} minutes"
        typer.echo(
            f"nsr: the attacks may take {words}; fewer --images or --points take less, Ctrl-C keeps cells", err=True
        )


class _Bars:
    """A bar for each curve on stderr: cells done and time left, which cells of an earlier run do not count into.

    Inside a long cell it tells how often the model has been run.
    """

    bar: tqdm | None = None
    passes, told = 0, 0.0
    planes: Sequence[str] = ()

    def __call__(self, curve: str, done: int, total: int) -> None:
        if self.bar is None or self.bar.desc != curve:
            self.close()
            unit = "sample" if curve == "exact" else "cell"
            self.bar = tqdm(total=total, initial=done, desc=curve, unit=unit)
        self.bar.update(done - self.bar.n)

    def passed(self) -> None:
        self.passes += 1
        if self.bar is not None and time.monotonic() - self.told > PAUSE:
            self.told = time.monotonic()
            self.bar.set_postfix_str(f"model run {self.passes:,} times")

    def planned(self, planes: Sequence[str], settled: int) -> None:
        """Planes of verdicts so far: how many have an open cell, and how far the next one is."""
        self.planes = planes
        if self.bar is not None:
            left = sum("o" in plane for plane in planes)
            self.bar.set_postfix_str(f"{left} open" + (f", {settled} cells of the next settled" if settled else ""))

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def _table(found: Assessment) -> Iterator[str]:
    """What was found, line by line."""
    paper = found.contours["paper"]
    yield f"{found.model} on {found.data}, {found.images} samples, {paper.geometry} weight radii"
    if found.settings:
        yield f"{found.settings['parameters attacked']:,} of {found.settings['parameters']:,} parameters attacked"
    yield f"\nclean accuracy {100 * found.clean:.1f} %"
    yield from _edges(found.contours)
    for name, c in found.contours.items():
        yield from _joint(NAMES[name], c)
    yield "\njoint AUC: the mean accuracy over the whole grid, in [0, 1]"
    yield from (row(NAMES[name], [f"{c.auc:.3f}"], WIDE) for name, c in found.contours.items())
    if found.truth:
        yield from _truth(found.truth, found.settings["plan"]["seconds"])
    yield "\nnotes and flags"
    yield from (f"  {note}" for note in found.notes)
    yield from (f"  {what}: {_places(cells, paper)}" for what, cells in found.flags.items())
    if not (found.notes or found.flags):
        yield "  none"


def _truth(truth: Mapping[str, Contour], seconds: float) -> Iterator[str]:
    """What is decided exactly, between what bounds it on the same samples."""
    shown, exact = assess.layers(truth), truth["exact"]
    yield f"\nthe truth about the first {len(exact.verdicts)} samples, each facing weights of its own"
    yield from _edges(shown)
    yield from _joint(NAMES["exact"], exact)
    if exact.open:
        yield from _joint(NAMES["possible"], shown["possible"])
    yield "\njoint AUC of these samples"
    yield from (row(NAMES[name], [f"{c.auc:.3f}"], WIDE) for name, c in shown.items())
    if exact.open:
        yield f"  open: neither proved nor broken within {seconds:g} s; the truth lies between the two lines"
        yield f"  {100 * exact.open:.1f} % of samples and budgets are open; more --seconds leave less"
    else:
        yield "  nothing is open: each sample is proved robust or broken in every budget"


def _edges(contours: Mapping[str, Contour]) -> Iterator[str]:
    """The two edges of each contour, where one kind of perturbation is alone."""
    some = next(iter(contours.values()))
    yield "\naccuracy (%) when only the inputs move"
    yield row("eps_x", [f"{e:.3g}" for e in some.grid_x], WIDE)
    yield from (row(NAMES[name], percent(c.edge_x), WIDE) for name, c in contours.items())
    yield "\naccuracy (%) when only the weights move"
    yield row(_radius(some), [f"{e:.3g}" for e in some.grid_w], WIDE)
    yield from (row(NAMES[name], percent(c.edge_w), WIDE) for name, c in contours.items())


def _joint(name: str, c: Contour) -> Iterator[str]:
    """The cells of a contour inside the two edges."""
    yield f"\naccuracy (%) when both move, {name}: eps_x down, {_radius(c)} to the right"
    yield row("", [f"{e:.3g}" for e in c.grid_w[1:]], WIDE)
    yield from (
        row(f"{e:.3g}", percent(cells[1:]), WIDE) for e, cells in zip(c.grid_x[1:], c.accuracy[1:], strict=True)
    )


def _radius(c: Contour) -> str:
    return "eps_w" if c.geometry == "absolute" else "r"


def _places(cells: Sequence[Cell], on: Contour) -> str:
    named = ", ".join(f"({on.grid_x[i]:.3g}, {on.grid_w[j]:.3g})" for i, j in cells[:FEW])
    more = f" and {len(cells) - FEW} more" if len(cells) > FEW else ""
    return f"at (eps_x, {_radius(on)}) = {named}{more}"
