"""Floor 9: the command line `nsr`: parse, dispatch, print; nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, NoReturn

import typer
from tqdm import tqdm
from typer.core import TyperCommand

from nsr import assess, claims, lab, paths, provenance, reproduce, sweep, tune
from nsr.assess import NAMES, AssessError, Assessment
from nsr.contour import COARSE, Cell, Contour
from nsr.data import DataError
from nsr.files import StoreError, write_whole
from nsr.lab import Job, Run
from nsr.methods import METHODS
from nsr.train import CollapseError

REFUSED, INTERRUPTED = 2, 130
FEW = 6  # cells that a flag names one by one

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.callback()
def nsr() -> None:
    """Robustness of neural networks when inputs and weights are perturbed together."""


@app.command("assess")
def assess_command(
    model: Annotated[str, typer.Argument(help="file.py:function; called without arguments, it returns the module")],
    data: Annotated[str, typer.Option(help="mnist, fashion-mnist, digits (test samples), or an .npz with x and y")],
    weights: Annotated[Path | None, typer.Option(help="safetensors file with the module's weights")] = None,
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
    out: Annotated[Path, typer.Option(help="folder for contour.png, assessment.json and finished cells")] = Path(
        "assessment"
    ),
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
        with contextlib.closing(_Bars()) as watch:
            found = assess.assess(model, data, what, out, weights=weights, images=images, device=device, watch=watch)
    except (AssessError, DataError, OSError) as error:
        _stop(str(error), REFUSED)
    except StoreError as error:
        _stop(f"{error}, or choose another --out", REFUSED)
    except KeyboardInterrupt:
        _stop(f"interrupted; the same command goes on from the cells in {out}", INTERRUPTED)
    typer.echo("\n".join(_table(found)))
    typer.echo(f"\nwritten: {out / 'contour.png'}, {out / 'assessment.json'}")


Seed = Annotated[int, typer.Option(min=0, help="of first weights, order of the samples and inner attacks")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="replace a number of the row; may be repeated")
]
Images = Annotated[int | None, typer.Option(min=1, help="train on the first so many images; default: all")]
Store = Annotated[Path | None, typer.Option(help="folder of runs; default: NSR_RUNS, or runs/")]
Scheduler = Annotated[
    str | None, typer.Option(help="tcp://host:port of a dask scheduler; default: workers on this machine")
]
Workers = Annotated[int | None, typer.Option(min=1, help="worker processes on this machine; default: its cores")]


@app.command()
def train(
    method: Annotated[str, typer.Argument(help=f"a row of the table of methods: {', '.join(METHODS)}")],
    seed: Seed = 0,
    dataset: Annotated[Literal["mnist", "fashion-mnist", "digits"], typer.Option(help="what to train on")] = "mnist",
    sizes: Annotated[str, typer.Option(help="widths from input to classes")] = ",".join(map(str, lab.SIZES)),
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
    the weights that it would have had. A run that is stored already is shown, not computed again.
    """
    with _refusals():
        widths = _sizes(sizes)
        spec = lab.spec(method, seed, dataset=dataset, sizes=widths, images=images, **_changes(numbers or []))
        bar = tqdm(total=spec.method.epochs, desc=spec.folder, unit="epoch")
        with contextlib.closing(bar):
            found = lab.run(spec, store=store, watch=lambda job, value: _epoch(bar, job, store))
    typer.echo("\n".join(_runs_table([found])))
    typer.echo(f"\nin {found.folder}")


@app.command("contour")
def contour_command(
    run: Annotated[str, typer.Argument(help="a run as `nsr runs` names it, or the start of its name")],
    kind: Annotated[str, typer.Argument(help=f"what to measure: {', '.join(lab.MEASUREMENTS)}")],
    store: Store = None,
) -> None:
    """Measure a contour of a stored run: accuracy over a grid of input and weight radii.

    paper: the paper's attack; strong, relative: the strong attack over absolute and relative weight radii; certified,
    small: certificates, and the strong attack on their grid; full: the paper's attack on 11 x 11 cells and 10,000
    images. A contour that is interrupted goes on from its last finished row of cells.
    """
    with _refusals():
        rows = len(lab.measurement(kind).protocol.grid_x)
        chosen = _chosen(run, store)
        with contextlib.closing(tqdm(total=rows, desc=f"{chosen.folder.name} {kind}", unit="row")) as bar:
            found = lab.run(chosen.spec, (kind,), store=store or chosen.folder.parent, watch=lambda *_: bar.update())
    measured = found.contours[kind]
    typer.echo(f"accuracy (%), one line for each eps_x, {measured.geometry} weight radii from left to right")
    typer.echo(_row("", [f"{radius:.3g}" for radius in measured.grid_w]))
    for eps_x, accuracies in zip(measured.grid_x, measured.accuracy, strict=True):
        typer.echo(_row(f"{eps_x:.3g}", _percent(accuracies)))
    typer.echo(f"\nAUC {measured.auc:.3f}")


@app.command()
def runs(store: Store = None) -> None:
    """List the stored runs, the shipped and your own, every file checked against its digest.

    A run is stale when code that decides its numbers has changed since. Exit code 1: a run was refused.
    """
    found, refused = [], []
    for folder in lab.folders(*([store] if store else [])):
        try:
            found.append(lab.load(folder))
        except StoreError as error:
            refused.append(str(error))
    typer.echo("\n".join(_runs_table(found)) if found else "there are no runs yet: see nsr train --help")
    for message in refused:
        typer.echo(f"nsr: refused: {message}", err=True)
    if refused:
        raise typer.Exit(1)


@app.command("tune")
def tune_command(
    store: Annotated[Path, typer.Option(help="folder for the candidates' runs")] = Path("runs/tuning"),
    scheduler: Scheduler = None,
    workers: Workers = None,
    out: Annotated[Path, typer.Option(help="where the table of candidates is written")] = Path("tuning.json"),
) -> None:
    """Choose the numbers of all methods on validation images, as the book's were chosen, and write the table.

    Takes about 15 minutes on two cores; candidates that are stored are not trained again.
    """
    with _refusals(), sweep.cluster(scheduler, workers) as client:
        report = _swept(tune.orders(), store, client)
        records = tune.write(store, out)
    for record in records:
        numbers = ", ".join(f"{name}={value}" for name, value in record["numbers"].items())
        if record["clean"] is None:
            typer.echo(f"  {record['method']:15} {numbers:36} failed")
        else:
            entries = [f"{100 * record['clean']:.2f}", f"{record['auc']:.3f}", f"{record['certified']:.3f}"]
            typer.echo(_row(record["method"], entries) + f"  {numbers}{'  <- chosen' if record['chosen'] else ''}")
    typer.echo(f"\nwritten: {out}")
    _end(report)


@app.command("reproduce")
def reproduce_command(
    scale: Annotated[
        Literal["quick", "paper"], typer.Option(help="quick: minutes; paper: a night on two cores")
    ] = "quick",
    store: Annotated[Path, typer.Option(help="folder for these runs, apart from all others")] = Path("runs/reproduced"),
    scheduler: Scheduler = None,
    workers: Workers = None,
    only: Annotated[list[str] | None, typer.Option(help="these methods alone; may be repeated")] = None,
) -> None:
    """Compute the runs of the book from nothing and compare them with those that are shipped.

    What is interrupted goes on where it stopped when the same command is given again. Exit code 1: a run failed, or
    a number differs from the reference by more than the tolerance.
    """
    with _refusals():
        if unknown := sorted(set(only or []) - set(METHODS)):
            raise ValueError(f"unknown method {unknown[0]!r}: choose one of {', '.join(METHODS)}")
        orders = [o for o in reproduce.orders(scale) if not only or o.spec.name in only]
        with sweep.cluster(scheduler, workers) as client:
            report = _swept(orders, store, client)
        found = reproduce.compare(scale, store)
    for agreement in found:
        mark = "" if agreement.agrees else "  <- differs"
        numbers = [f"{agreement.ours:.3f}", f"{agreement.reference:.3f}"]
        typer.echo(f"{agreement.run:28} {agreement.what:20}" + "".join(f"{n:>9}" for n in numbers) + mark)
    apart = sum(not agreement.agrees for agreement in found)
    typer.echo(f"\n{len(found) - apart} of {len(found)} numbers agree with the reference within {reproduce.TOLERANCE}")
    _end(report, failed=apart > 0 or not found)


class _Pairs(TyperCommand):
    """A command that takes `-p NAME VALUE`, which typer cannot declare, as `-p NAME=VALUE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        joined, rest = [], list(args)
        while rest:
            word = rest.pop(0)
            if word in ("-p", "--parameter") and len(rest) > 1 and "=" not in rest[0]:
                rest[:2] = [f"{rest[0]}={rest[1]}"]
            joined.append(word)
        return super().parse_args(ctx, joined)


@app.command("run", cls=_Pairs)
def run_command(
    chapter: Annotated[str, typer.Argument(help="a chapter's name or the start of it: 04")],
    pairs: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="NAME VALUE", help="set one parameter; may be repeated"),
    ] = None,
    params: Annotated[Path | None, typer.Option(help="YAML file of lines `name: value`; -p goes before it")] = None,
    help_parameters: Annotated[
        bool, typer.Option("--help-parameters", help="list the chapter's parameters and run nothing")
    ] = False,
) -> None:
    """Execute one chapter with other parameters, beside the book's own.

    For example

    \b
        nsr run 04 --help-parameters
        nsr run 04 -p seed 1 -p hidden "[64, 32]"

    Every parameter is checked before anything runs. The executed notebook and its page go into a folder of their own
    under _build/runs. Exit code 1: a cell failed; the notebook up to it is kept.
    """
    rerun = _rerun()
    with _refusals(), _chapters_refusals(rerun):
        (notebook,) = rerun.chapters([chapter])
        if help_parameters:
            typer.echo("\n".join(_parameters(rerun.of_chapter(notebook))))
            return
        given = (rerun.of_file(params) if params else {}) | _assignments(pairs or [], "-p takes NAME VALUE")
        done = rerun.run(notebook, given)
    typer.echo(f"notebook: {done.notebook}\npage:     {done.page}")


@app.command("book")
def book_command(
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="set one parameter; may be repeated")
    ] = None,
) -> None:
    """Rebuild the whole book under one set of parameters, beside the first, with a page that compares the two.

    For example

    \b
        nsr book --set dataset=digits --set seed=1

    Each chapter takes the parameters that it declares, or with 08.seeds=2 chapter 8 alone; chapters that take none are
    copied as they are. Exit code 1: a chapter failed; the book is built nevertheless and shows where.
    """
    rerun = _rerun()
    with _refusals(), _chapters_refusals(rerun):
        edition = rerun.rebuild(rerun.plan(_assignments(settings or [], "--set takes NAME=VALUE")))
    for error in edition.failed.values():
        typer.echo(f"nsr: {error}\n", err=True)
    typer.echo(f"book:     {edition.index}\ncompared: {edition.compared}")
    if edition.failed:
        raise typer.Exit(1)


def _rerun() -> ModuleType:
    """Loaded late: only these commands need the packages of the book, which a bare installation lacks."""
    try:
        from nsr import rerun
    except ModuleNotFoundError as error:
        _stop(f"{error.name} is missing: install the book's packages with pip install -e '.[book]'", REFUSED)
    return rerun


@contextlib.contextmanager
def _chapters_refusals(rerun: ModuleType) -> Iterator[None]:
    try:
        yield
    except (rerun.ChapterError, rerun.BuildError) as error:
        typer.echo(f"nsr: {error}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        _stop("interrupted; the same command starts again", INTERRUPTED)


def _assignments(texts: Sequence[str], form: str) -> dict[str, object]:
    for text in texts:
        if "=" not in text:
            raise ValueError(f"{form}, got {text!r}")
    return dict(text.split("=", 1) for text in texts)


def _parameters(known: Mapping[str, Any]) -> Iterator[str]:
    """Name, type and limit, default and meaning of every parameter, one a line."""
    rows = [(p.name, p.allowed, str(p.default), p.meaning) for p in known.values()]
    widths = [min(max(len(row[k]) for row in rows), 40) for k in range(3)] if rows else []
    for row in [("name", "takes", "default", "meaning"), *rows]:
        yield "  ".join([f"{cell:{width}}" for cell, width in zip(row[:3], widths, strict=True)] + [row[3]])


@app.command("claims")
def claims_command(
    store: Annotated[Path | None, typer.Option(help="folder of runs to decide by; default: the shipped ones")] = None,
    interval: Annotated[
        Literal["bootstrap", "student"], typer.Option(help="of a difference over seeds; Student's is the wider")
    ] = "bootstrap",
    out: Annotated[Path | None, typer.Option(help="write the ledger there as JSON, with every number")] = None,
    markdown: Annotated[Path | None, typer.Option(help="write the table there as markdown")] = None,
) -> None:
    """Decide the paper's nine claims by stored runs: verdicts computed from differences paired by seed."""
    with _refusals():
        shelf = claims.shelf(*([store] if store else []))
        found = claims.ledger(shelf, claims.Rules(interval=interval))
        if out:
            write_whole(out, claims.to_json(shelf, claims.Rules(interval=interval)).encode())
        if markdown:
            write_whole(markdown, claims.markdown(found).encode())
    for name, row in found.items():
        typer.echo(f"{name}  {row.words:50}  {row.claim.title}")
        typer.echo(f"    {claims.number(row.cases[0].telling)}")
        for setting in row.undecided:
            typer.echo(f"    too few seeds: {setting}")
    for run in claims.used(shelf):
        if run.stale:
            typer.echo(f"nsr: stale: {run.folder.name}: {', '.join(run.stale)} changed since", err=True)


@app.command("provenance")
def provenance_command() -> None:
    """Write codecheck.yml and ro-crate-metadata.json: what is in this repository, for machines.

    Both are computed from the tree, the stored runs included, and hold no time: without a change they stay the same.
    """
    with _refusals():
        written = provenance.write()
    typer.echo(f"written: {', '.join(path.name for path in written)}")


def _swept(orders: Sequence[sweep.Order], store: Path, client: sweep.Client) -> sweep.Report:
    with contextlib.closing(tqdm(total=sum(order.jobs for order in orders), unit="job")) as bar:

        def watch(job: Job | None, done: int) -> None:
            bar.update(done)
            if job is not None:
                bar.set_postfix_str(f"{job.spec.folder} {job.what}")

        return sweep.run(orders, store, client, watch)


def _end(report: sweep.Report, failed: bool = False) -> None:
    for folder, reason in report.failed.items():
        typer.echo(f"nsr: failed: {folder}: {reason}", err=True)
    if report.failed or failed:
        raise typer.Exit(1)


def _epoch(bar: tqdm, job: Job, store: Path | None) -> None:
    """The bar after an epoch, with what the epoch's record says."""
    record = lab.progress(store or paths.store(), job.spec)
    bar.update(record["epoch"] - bar.n)
    bar.set_postfix_str(f"loss {record['loss']:.3f}, validation {100 * record['validation']:.1f} %")


def _chosen(name: str, store: Path | None) -> Run:
    folders = [folder for folder in lab.folders(*([store] if store else [])) if folder.name.startswith(name)]
    if len(folders) != 1:
        what = f"{len(folders)} runs begin with" if folders else "no run begins with"
        raise ValueError(f"{what} {name!r}: nsr runs lists them all")
    return lab.load(folders[0])


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--sizes takes whole numbers and commas, such as 784,128,10; got {text!r}") from None


def _changes(assignments: Sequence[str]) -> dict[str, float | str]:
    found: dict[str, float | str] = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--set takes NAME=VALUE, got {text!r}")
        if name not in lab.NUMBERS:
            raise ValueError(f"unknown number {name!r}: a method has {', '.join(lab.NUMBERS)}")
        try:
            number = float(value)
            found[name] = int(number) if number.is_integer() and "." not in value else number
        except ValueError:
            found[name] = value
    return found


def _runs_table(found: Sequence[Run]) -> Iterator[str]:
    kinds = [name for name in lab.MEASUREMENTS if any(name in run.contours for run in found)]
    yield f"{'run':34}{'validation':>11}" + "".join(f"{'AUC ' + name:>15}" for name in kinds) + f"{'s':>8}"
    for run in found:
        aucs = [f"{run.contours[name].auc:.3f}" if name in run.contours else "-" for name in kinds]
        stale = f"  stale: {', '.join(run.stale)}" if run.stale else ""
        clean = f"{100 * run.history[-1]['validation']:.2f} %"
        yield f"{run.folder.name:34}{clean:>11}" + "".join(f"{auc:>15}" for auc in aucs) + f"{run.seconds:>8.0f}{stale}"


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """What cannot be done ends in one line and an exit code."""
    try:
        yield
    except (ValueError, StoreError, DataError, OSError, CollapseError) as error:
        _stop(str(error), REFUSED)
    except KeyboardInterrupt:
        _stop("interrupted; the same command goes on from what is stored", INTERRUPTED)


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
    yield _row("eps_x", [f"{e:.3g}" for e in paper.grid_x])
    yield from (_row(NAMES[name], _percent(c.edge_x)) for name, c in found.contours.items())
    yield "\naccuracy (%) when only the weights move"
    yield _row("eps_w" if paper.geometry == "absolute" else "r", [f"{e:.3g}" for e in paper.grid_w])
    yield from (_row(NAMES[name], _percent(c.edge_w)) for name, c in found.contours.items())
    yield "\njoint AUC: the mean accuracy over the whole grid, in [0, 1]"
    yield from (_row(NAMES[name], [f"{c.auc:.3f}"]) for name, c in found.contours.items())
    yield "\nflags"
    yield from (f"  {what}: {_places(cells, paper)}" for what, cells in found.flags.items())
    if not found.flags:
        yield "  none"


def _row(name: str, entries: Sequence[str]) -> str:
    return f"  {name:15}" + "".join(f"{entry:>9}" for entry in entries)


def _percent(shares: Sequence[float]) -> list[str]:
    return [f"{100 * share:.1f}" for share in shares]


def _places(cells: Sequence[Cell], on: Contour) -> str:
    named = ", ".join(f"({on.grid_x[i]:.3g}, {on.grid_w[j]:.3g})" for i, j in cells[:FEW])
    more = f" and {len(cells) - FEW} more" if len(cells) > FEW else ""
    return f"at (eps_x, {'eps_w' if on.geometry == 'absolute' else 'r'}) = {named}{more}"


def _stop(message: str, code: int) -> NoReturn:
    typer.echo(f"nsr: {' '.join(message.split())}", err=True)
    raise typer.Exit(code)


if __name__ == "__main__":
    app(prog_name="nsr")
