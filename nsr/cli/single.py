"""`nsr train`, `contour` and `runs`: one run, computed or looked at."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import typer
from tqdm import tqdm

import nsr.runs
from nsr import paths
from nsr.cli.options import Store
from nsr.cli.terminal import excerpt, few, memory, percent, refusals, room, stores, table
from nsr.contour import Decided
from nsr.files import StoreError
from nsr.runs import Run, Spec
from nsr.training import METHODS, State

commands = room()

COPIES = 6  # of the weights while they are trained: with gradients, momentum, and a checkpoint of it all

T = TypeVar("T")
Seed = Annotated[int, typer.Option(min=0, help="of first weights, order of the samples and inner attacks")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="replace a number of the row; may be repeated")
]
Images = Annotated[int | None, typer.Option(min=1, help="train on the first so many images; default: all")]


@commands.command("train")
def train_command(
    method: Annotated[str, typer.Argument(help=f"a row of the table of methods: {', '.join(METHODS)}")],
    seed: Seed = 0,
    dataset: Annotated[Literal["mnist", "fashion-mnist", "digits"], typer.Option(help="what to train on")] = "mnist",
    net: Annotated[
        Literal["mlp", "cnn"], typer.Option(help="dense layers, or convolutions and one dense layer")
    ] = "mlp",
    sizes: Annotated[
        str | None,
        typer.Option(
            help="widths from input to classes; of a cnn the channels of images and convolutions, then classes; "
            f"default: {','.join(map(str, nsr.runs.SIZES))} or {','.join(map(str, nsr.runs.CNN_SIZES))}"
        ),
    ] = None,
    images: Images = None,
    numbers: Set = None,
    store: Store = None,
) -> None:
    """Train one network by a row of the table of methods and store it as a run.

    For example

    \b
        nsr train at_beta_high --seed 3
        nsr train at --set attack_x=0.1 --set epochs=4 --images 10000

    A run that is interrupted goes on from its last finished epoch when the same command is given again, and ends in
    the weights that it would have had. A run that is stored already is shown, not computed again; one that is stored
    without its weights is trained.
    """
    with refusals():
        widths = None if sizes is None else _sizes(sizes)
        spec = nsr.runs.spec(
            method, seed, dataset=dataset, net=net, sizes=widths, images=images, **_changes(numbers or [])
        )
        _refuse_what_does_not_fit(spec)
        bar = tqdm(total=spec.method.epochs, desc=spec.folder, unit="epoch")
        with contextlib.closing(bar):
            found = nsr.runs.run(spec, store=store, watch=lambda job, state: _epoch(bar, state))
    typer.echo(_runs_table([found]))
    typer.echo(f"\nin {found.folder}")


@commands.command("contour")
def contour_command(
    run: Annotated[str, typer.Argument(help="a run as `nsr runs` names it, or the start of its name")],
    kind: Annotated[str, typer.Argument(help=f"what to measure: {', '.join(nsr.runs.MEASUREMENTS)}")],
    store: Store = None,
) -> None:
    """Measure a contour of a stored run: accuracy over a grid of input and weight radii.

    paper: the paper's attack; strong, relative: the strong attack over absolute and relative weight radii; per_sample:
    as strong, each image facing weights of its own; full: the paper's attack on 11 x 11 cells and 10,000 images;
    quick: on few. On smaller radii, certified: certificates; small: the strong attack; exact: each image proved robust,
    broken or left open, for which tight and own are certificates and the strongest attack on the same images.

    A contour that is interrupted goes on from its last finished row of cells, or image. A shipped run is copied into
    your own store and measured there; only --store data/runs adds to those that are shipped. A run that is stored
    without its weights has to be trained again first, by nsr train.
    """
    with refusals():
        _refuse_readings(kind)
        what = nsr.runs.measurement(kind)
        found = _chosen(run, store)
        if kind not in found.contours or found.stale:
            _refuse_without_weights(found)
            home, words = store or _home(found), f"{found.folder.name} {kind}"
            with contextlib.closing(tqdm(total=what.shape[0], desc=words, unit=what.unit)) as bar:
                found = nsr.runs.run(found.spec, (kind,), store=home, watch=lambda *_: bar.update())
    shown = found.contour(kind)
    share = "proved robust" if isinstance(shown, Decided) else "accuracy"
    typer.echo(f"{share} (%), one line for each eps_x, {shown.geometry} weight radii from left to right")
    rows = ((f"{eps_x:.3g}", *percent(line)) for eps_x, line in zip(shown.grid_x, shown.accuracy, strict=True))
    typer.echo(table(("", *(f"{radius:.3g}" for radius in shown.grid_w)), rows))
    typer.echo(f"\nAUC {shown.auc:.3f}")
    if isinstance(shown, Decided) and shown.open:
        typer.echo(
            f"{100 * shown.open:.1f} % of images and cells are open, so the truth is at most {shown.possible.auc:.3f}"
        )


@commands.command("runs")
def runs_command(store: Store = None) -> None:
    """List the stored runs, the shipped and your own, every file checked against its digest, and what is under way.

    A run is stale when code that decides its numbers has changed since. One without weights shows what was found;
    nsr train has its weights again. Exit code 1: a run was refused.
    """
    refused: list[str] = []
    found = _read(nsr.runs.load, nsr.runs.folders(*stores(store)), refused)
    begun = _read(
        lambda folder: f"{folder.name}: {nsr.runs.how_far(folder)}", nsr.runs.under_way(*stores(store)), refused
    )
    typer.echo(_runs_table(found) if found else "there are no runs yet: see nsr train --help")
    if begun:
        typer.echo("\nunder way; the command that began it goes on with it\n  " + "\n  ".join(begun))
    for message in refused:
        typer.echo(f"nsr: refused: {excerpt(message)}", err=True)
    if refused:
        raise typer.Exit(1)


def _read(read: Callable[[Path], T], folders: Iterable[Path], refused: list[str]) -> list[T]:
    """What is read from these folders; the reason goes to `refused` for those that cannot be."""
    found = []
    for folder in folders:
        try:
            found.append(read(folder))
        except StoreError as error:
            refused.append(str(error))
    return found


def _epoch(bar: tqdm, state: State) -> None:
    """The bar after an epoch, with what the epoch's record says."""
    record = state.history[-1]
    bar.update(state.epoch - bar.n)
    bar.set_postfix_str(f"loss {record['loss']:.3f}, validation {100 * record['validation']:.1f} %")


def _chosen(name: str, store: Path | None) -> Run:
    folders = [folder for folder in nsr.runs.folders(*stores(store)) if folder.name.startswith(name)]
    if not folders:
        raise ValueError(f"no run begins with {name!r:.60}: nsr runs lists them all, of another folder with --store")
    if len(folders) > 1:
        names = few([folder.name for folder in folders])
        raise ValueError(f"{len(folders)} runs begin with {name!r:.60}: {names}; give more of one name")
    return nsr.runs.load(folders[0])


def _refuse_readings(kind: str) -> None:
    if kind in nsr.runs.READINGS:
        raise ValueError(f"{kind!r} is no contour but read off a network: nsr.runs.run(spec, ({kind!r},)) does it")


def _refuse_without_weights(run: Run) -> None:
    """Before a training is begun that nobody asked for; of a stale run the reason is that it is stale."""
    if not run.stale:
        run.network  # noqa: B018  raises


def _home(run: Run) -> Path:
    """The store to measure a run in: its own, or for a shipped one the user's, which then has a copy of it."""
    lies, own = run.folder.parent, paths.store()
    if lies == own or run.stale:
        return lies
    nsr.runs.adopt(run, own)
    typer.echo(f"nsr: {run.folder.name} is a shipped run: copied to {own} and measured there", err=True)
    return own


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--sizes takes whole numbers and commas, such as 784,128,10; got {text!r:.60}") from None


def _refuse_what_does_not_fit(spec: Spec) -> None:
    """Networks that this machine cannot hold; the system may promise their memory and kill the process that uses it."""
    most = 1 if spec.net == "mlp" else 14 * 14  # weights between two channels: of the last layer of a cnn
    weights = most * sum(math.prod(pair) for pair in itertools.pairwise(spec.sizes))
    if 4 * COPIES * weights > memory():
        widths = "-".join(map(str, spec.sizes))
        raise ValueError(f"sizes: a network {widths:.100} is too large to be trained in the memory of this machine")


def _changes(assignments: Sequence[str]) -> dict[str, float | str]:
    found: dict[str, float | str] = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        if not (name.strip() and equals):
            raise ValueError(f"--set takes NAME=VALUE, got {text!r:.60}")
        if name not in nsr.runs.NUMBERS:
            raise ValueError(f"unknown number {name!r:.60}: a method has {', '.join(nsr.runs.NUMBERS)}")
        try:
            number = float(value)
            found[name] = int(number) if number.is_integer() and "." not in value else number
        except ValueError:
            found[name] = value
    return found


def _runs_table(found: Sequence[Run]) -> str:
    """One line a run: its data, what differs from its row of the table of methods, what was found, if it is stale."""
    kinds = [name for name in nsr.runs.MEASUREMENTS if any(name in run.contours for run in found)]
    header = ("run", "data", "differs in", "validation", *(f"AUC {name}" for name in kinds), "s", "")
    rows = [
        (
            run.folder.name,
            run.spec.dataset,
            run.spec.differs or "-",
            f"{100 * run.history[-1]['validation']:.2f} %",
            *(f"{run.contour(name).auc:.3f}" if name in run.contours else "-" for name in kinds),
            f"{run.seconds:.0f}",
            "; ".join(_notes(run)),
        )
        for run in found
    ]
    return table(header, rows, words=3)


def _notes(run: Run) -> Iterator[str]:
    if not run.has_weights:
        yield "without weights"
    if run.stale:
        yield f"stale: {', '.join(run.stale)}"
