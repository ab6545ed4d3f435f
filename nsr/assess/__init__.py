"""Judge anybody's model: load it, attack it over a grid of budgets, write down what was found.

What cannot be judged is refused in one line, before anything is computed or written.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nsr.assess.loading import AssessError, load_model, load_samples, logits, reason, refusing, together
from nsr.attack import PAPER, STRONG, Attack, survivors
from nsr.attack.offsets import by_neuron
from nsr.budget import UNIT, Box, Budget
from nsr.certify import exact
from nsr.contour import (
    COARSE,
    GEOMETRIES,
    Cell,
    Contour,
    attacked,
    certifiable,
    decided,
    over_grid,
    verdict_file,
)
from nsr.contour.stored import Cells, Planes, digest
from nsr.data import Split
from nsr.figures.contours import contours as drawn
from nsr.files import StoreError, refuse_unwritable, write_whole
from nsr.network import Network, Weights
from nsr.runs.code_digest import ATTACKING, CERTIFYING, DECIDING, code_digests
from nsr.steps import Affine

__all__ = [
    "Assessment",
    "AssessError",
    "Plan",
    "assess",
    "decide",
    "estimate",
    "layers",
    "load_model",
    "load_samples",
    "measure",
    "plan",
    "ready",
    "write",
]

ATTACKS = {"paper": PAPER, "strong": STRONG}
RESULTS = ("contour.png", "assessment.json")
NAMES = {
    "paper": "paper's attack",
    "strong": "strong attack",
    "own": "strong, own weights",
    "certified": "certified",
    "exact": "proved robust",
    "possible": "robust or open",
}
BOUNDS = "certified", "own"  # what the truth lies between
IMAGES = COARSE.images
DECIDED = 20  # samples that are decided exactly, each a search of its own
SECONDS = 10.0  # for each question of a search
POINTS = len(COARSE.grid_x)
MOST_POINTS = 1_000  # a side
LEAST, MOST = 1e-30, 1e30  # radii that float32 holds, steps of a grid and products with a few weights included
PROBED = 16  # inputs whose gradients are looked at in each cell
TIMED = 64  # inputs on which the time of steps is taken
SHARES = 0.02, 0.06  # of the steps of each attack that are timed
DEAD = 1 / 8  # the share of them without a gradient from which on a cell is flagged

DETACHED = " (is there a detach, a no_grad or a cache in its forward?)"

Watch = Callable[[str, int, int], None]  # (curve, cells done, cells in all)
OnPlane = Callable[[Sequence[str], int], None]  # (planes of verdicts so far, cells settled of the next)
Shares = Callable[[Sequence[Budget]], list[float]]


@dataclass(frozen=True)
class Plan:
    """The grid, what grid_w means, which tensors move, and what is measured besides the paper's attack.

    `certify=None` certifies where that is possible, that is chains of dense and ReLU layers or convolutions, perhaps
    behind a normalisation.
    The first `decided` samples are decided exactly, within `seconds` a question.
    """

    grid_x: tuple[float, ...]
    grid_w: tuple[float, ...]
    geometry: str = "absolute"
    strong: bool = True
    certify: bool | None = None
    box: Box = UNIT
    only: str | None = None
    decided: int = 0
    seconds: float = SECONDS

    def threat(self, network: Network, eps_x: float, radius: float) -> Budget:
        return GEOMETRIES[self.geometry](eps_x, radius, network, self.only)

    @property
    def question(self) -> dict[str, Any]:
        """How each sample is decided exactly."""
        return {"box": self.box, "geometry": self.geometry, "only": self.only, "seconds": self.seconds}

    def curves(self, network: Network, x: Tensor, y: Tensor) -> dict[str, Shares]:
        """What is measured, by the name of the contour: the share of inputs that each of some budgets leaves."""
        box = self.box
        found: dict[str, Shares] = {"paper": partial(attacked, network, x, y, attack=ATTACKS["paper"], box=box)}
        if self.strong:
            found["strong"] = partial(attacked, network, x, y, attack=ATTACKS["strong"], box=box)
        if self.strong and network.is_dense:
            own = by_neuron(network)
            found["own"] = partial(attacked, own, x, y, attack=ATTACKS["strong"], images_per_W=1, box=box)
        if network.is_chain and self.certify is not False:
            found["certified"] = partial(certifiable, network, x, y, box=box)
        return found


@dataclass(frozen=True)
class Assessment:
    """What was found: `contours` by name, and whatever a reader has to know besides."""

    model: str
    data: str
    images: int
    contours: dict[str, Contour]
    dead: tuple[tuple[float, ...], ...] = ()  # share of probed inputs without a usable gradient, cell by cell
    notes: tuple[str, ...] = ()
    settings: Mapping[str, Any] | None = None
    truth: Mapping[str, Contour] = field(default_factory=dict)  # of the samples that are decided exactly, by name

    @property
    def clean(self) -> float:
        """Accuracy without any perturbation."""
        return self.contours["paper"].clean

    @property
    def flags(self) -> dict[str, tuple[Cell, ...]]:
        """Cells that deserve a second look, by what is the matter with them; only what does occur."""
        attacks = {name: raw for name, raw in self.contours.items() if name != "certified"}
        found = {
            f"the {NAMES[name]} leaves over a point more accuracy than inside a smaller budget": raw.disagreements(
                raw.envelope
            )
            for name, raw in attacks.items()
        }
        if "strong" in attacks:
            paper, strong = self.contours["paper"], self.contours["strong"]
            above = (c for c in paper.disagreements(strong) if strong.array[c] > paper.array[c])
            found["the strong attack leaves over a point more than the paper's"] = tuple(above)
        weak = ((i, j) for i, row in enumerate(self.dead) for j, share in enumerate(row) if share >= DEAD)
        for (less, low), (more, high) in itertools.pairwise(layers(self.truth).items()):
            above = (c for c in low.disagreements(high, by=0.0) if low.array[c] > high.array[c])
            found[f"of the decided samples more are {NAMES[less]} than {NAMES[more]}, which rounding may do"] = tuple(
                above
            )
        found["gradients vanish or are not finite, so what is left may be no robustness"] = tuple(weak)
        return {what: cells for what, cells in found.items() if cells}

    def to_json(self) -> str:
        """Everything, AUCs and flags included, for people and for `from_json`."""
        auc, truth = ({n: c.auc for n, c in part.items()} for part in (self.contours, layers(self.truth)))
        follows = {"clean": self.clean, "auc": auc, "auc of the decided samples": truth, "flags": self.flags}
        return json.dumps({**asdict(self), **follows}, indent=1)

    @staticmethod
    def from_json(text: str) -> Assessment:
        found = json.loads(text)
        contours, truth = (
            {name: Contour.from_json(json.dumps(part)) for name, part in found.get(kind, {}).items()}
            for kind in ("contours", "truth")
        )
        dead, notes = tuple(map(tuple, found["dead"])), tuple(found["notes"])
        words = found["model"], found["data"], found["images"]
        return Assessment(*words, contours, dead, notes, found["settings"], truth)


def layers(truth: Mapping[str, Contour]) -> dict[str, Contour]:
    """Of the decided samples, each a lower bound of the next: certified, robust, robust or open, left by an attack.

    What the search left open and the attack broke is broken.
    """
    if "exact" not in truth:
        return {}
    possible = truth["exact"].possible
    found = {**truth, "possible": possible.at_most(truth["own"]) if "own" in truth else possible}
    return {name: found[name] for name in ("certified", "exact", "possible", "own") if name in found}


def plan(
    *,
    eps_x: float | None = None,
    eps_w: float | None = None,
    points: int = POINTS,
    geometry: str = "absolute",
    strong: bool = True,
    certify: bool | None = None,
    box: Box = UNIT,
    only: str | None = None,
    decided: int = 0,
    seconds: float = SECONDS,
) -> Plan:
    """A grid of `points` x `points` budgets from 0 to (eps_x, eps_w), which default to the book's coarse protocol."""
    if geometry not in GEOMETRIES:
        raise AssessError(f"unknown geometry {geometry!r}: choose one of {', '.join(GEOMETRIES)}")
    usual_w = COARSE.grid_w if geometry == "absolute" else COARSE.grid_r
    ends = {"eps_x": eps_x or COARSE.grid_x[-1], "eps_w": eps_w or usual_w[-1]}
    for name, given in (("eps_x", eps_x), ("eps_w", eps_w)):
        if given is not None and not LEAST <= given <= MOST:
            raise AssessError(f"{name} must be positive, from {LEAST} to {MOST}, got {given}")
    if not 2 <= points <= MOST_POINTS:
        raise AssessError(f"a grid needs at least two points a side and takes {MOST_POINTS:,}, got {points}")
    if not -MOST < box[0] < box[1] < MOST:
        raise AssessError(f"the box must be low,high with low < high, got {box[0]:g},{box[1]:g}")
    if decided < 0:
        raise AssessError(f"the number of samples to decide exactly must not be negative, got {decided}")
    if not 0 < seconds < math.inf:
        raise AssessError(f"the seconds for a question must be a positive number, got {seconds:g}")
    grid_x, grid_w = (tuple(end * k / (points - 1) for k in range(points)) for end in ends.values())
    return Plan(grid_x, grid_w, geometry, strong, certify, box, only, decided, seconds)


def ready(
    module: nn.Module, split: Split, what: Plan | None = None, where: str = "the model", device: str = "cpu"
) -> tuple[Network, Split]:
    """A module as a network, and its samples as the network takes them, once all that will be measured works."""
    what = what or plan()
    network, split = together(module, split, where)
    for asked, fits, name, layers, option in (
        (what.certify, network.is_chain, "certificates", "dense and ReLU layers or convolutions", "--certify"),
        (what.decided, network.is_dense, "exact verdicts", "dense and ReLU layers", "--exact"),
    ):
        if asked and not fits:
            why = f"{name} are for chains of {layers}; this is none: {network.not_dense}"
            raise AssessError(f"{where}: {why}; it can be assessed without {option}")
    with refusing(f"{where}: cannot be brought to the device {device}", BaseException):
        network, split = network.to(device), split.to(torch.device(device))
    with refusing("the model cannot be differentiated", BaseException):
        reached = _reached(network, split)
    if not any(reached):
        raise AssessError(
            f"{where}: its outputs have no gradient by inputs or weights (a rounding or a detach in its forward?), so "
            "attacks that follow gradients cannot judge it"
        )
    _rehearse(network, split.first(min(2, len(split))), what)
    return network, split


def assess(
    model: str,
    samples: str,
    what: Plan,
    folder: Path,
    *,
    weights: Path | None = None,
    images: int = IMAGES,
    device: str = "cpu",
    watch: Watch | None = None,
    on_ready: Callable[[Network, Split], None] = lambda network, split: None,
    on_pass: Callable[[], None] = lambda: None,
    on_plane: OnPlane = lambda planes, settled: None,
) -> Assessment:
    """Judge a model on a data set and leave the results in `folder`.

    An interrupted run is taken up where it stopped by the same call. `on_ready` is told what will be judged, `on_pass`
    of each time that a model which is no dense chain is run, `on_plane` of verdicts.
    """
    if folder.exists() and not folder.is_dir():
        raise AssessError(f"{folder}: results go into a folder, and this is a file")
    if device == "cuda" and not torch.cuda.is_available():
        raise AssessError("no CUDA device was found: use the device cpu")
    module, split = load_model(model, weights), load_samples(samples, images, what.box)
    network, split = ready(module, split, what, model, device)
    for name in RESULTS:
        if (folder / name).exists() and not (folder / name).is_file():
            raise AssessError(f"{folder / name}: a result goes there, and this is no plain file")
    refuse_unwritable(folder / "cells")
    on_ready(network, split)
    try:
        if what.decided:
            _verdicts(network, what, folder / "cells").read()  # what is refused is refused before anything is computed
        found = measure(_heard(network, on_pass), split, what, folder / "cells", watch)
        truth = decide(network, split, what, folder / "cells", found, watch, on_plane) if what.decided else {}
        dead = _dead(network, split, what)
    except (OSError, StoreError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a stranger's forward may raise anything, and at any call
        raise AssessError(f"{model} failed on the way ({reason(error)}); finished cells are in {folder}") from error
    told = _notes(network, split, what), _settings(network, what)
    assessment = Assessment(model, samples, len(split), found, dead, *told, truth)
    write(assessment, folder)
    return assessment


def measure(
    network: Network,
    split: Split,
    what: Plan,
    folder: Path,
    watch: Watch | None = None,
    names: Sequence[str] = tuple(NAMES),
) -> dict[str, Contour]:
    """The contours of a plan, or `names` of them, each resumed from and stored in its own file of `folder`."""
    belongs: dict[str, Any] = {
        "samples": digest(split.x, split.y),
        "model": digest(*network.W, logits(network, split.x)),
        "settings": {**asdict(what), "strong": None, "certify": None},
    }
    for name in ("decided", "seconds"):  # no cell hangs on them, nor did any know of them once
        del belongs["settings"][name]
    curves = {name: shares for name, shares in what.curves(network, split.x, split.y).items() if name in names}
    stores = {}
    for name in curves:
        code = code_digests(CERTIFYING if name == "certified" else ATTACKING)
        stores[name] = Cells(folder / f"{name}.json", {**belongs, "code": code}, (len(what.grid_x), len(what.grid_w)))
        stores[name].read()  # what is refused is refused before anything is computed
    found = {}
    for name, shares in curves.items():
        how: dict[str, Any] = {"cells": stores[name], "watch": partial(watch, name) if watch else None}
        together = split.x.device.type == "cuda" and name in ATTACKS
        grid = what.grid_x, what.grid_w, what.geometry
        found[name] = over_grid(shares, partial(what.threat, network), *grid, together=together, **how)
    return found


def decide(
    network: Network,
    split: Split,
    what: Plan,
    folder: Path,
    known: Mapping[str, Contour],
    watch: Watch | None = None,
    on_plane: OnPlane = lambda planes, settled: None,
) -> dict[str, Contour]:
    """The truth about the first samples of a plan, and the contours that bound it from below and above on the same.

    Those are the `known` ones where all samples are decided.
    """
    few, tell = split.first(min(what.decided, len(split))), watch or (lambda curve, done, total: None)

    def planes_so_far(planes: Sequence[str], settled: int) -> None:
        tell("exact", len(planes), len(few))
        on_plane(planes, settled)

    store = _verdicts(network, what, folder)
    here = network.to("cpu"), few.x.cpu(), few.y.cpu(), what.grid_x, what.grid_w  # the search is done there
    how = {**what.question, "path": store.path, "code": store.belongs["code"], "watch": planes_so_far}
    found = {"exact": decided(*here, **how)}
    if len(few) == len(split):
        return {name: known[name] for name in known if name in BOUNDS} | found
    first = f"first-{len(few)}"

    def elsewhere(curve: str, done: int, total: int) -> None:
        tell(f"{curve}, {first}", done, total)

    return measure(network, few, what, folder / first, elsewhere, BOUNDS) | found


def _verdicts(network: Network, what: Plan, folder: Path) -> Planes:
    here = network.to("cpu"), what.grid_x, what.grid_w
    return verdict_file(folder / "exact.json", *here, **what.question, code=code_digests(DECIDING))


def _heard(network: Network, on_pass: Callable[[], None]) -> Network:
    """The network, with `on_pass` called each time it is run; dense ones are quick and left as they are."""

    def forward(W: Weights, x: Tensor) -> Tensor:
        on_pass()
        return network.forward(W, x)

    return network if network.is_dense else replace(network, forward=forward)


def estimate(network: Network, split: Split, what: Plan) -> float:
    """About how many seconds the attacks of a plan take on a CPU, from a few steps of each on some of the samples."""
    xi, seconds, few = what.threat(network, what.grid_x[-1], what.grid_w[-1]), 0.0, split.first(min(TIMED, len(split)))

    def spent(attack: Attack, net: Network, images_per_W: int | None, share: float) -> float:
        start = time.perf_counter()
        survivors(net, few.x, few.y, [xi], attack.with_steps(share), box=what.box, images_per_W=images_per_W)
        return time.perf_counter() - start

    for how in _attacks(network, what):
        less, more = (spent(*how, share) for share in SHARES)
        seconds += max(0.0, more - less) / (SHARES[1] - SHARES[0]) * len(split) / len(few)
    return seconds * len(what.grid_x) * len(what.grid_w) / torch.get_num_threads()


def write(assessment: Assessment, folder: Path) -> None:
    """RESULTS, each whole or not at all."""
    picture_file, record_file = RESULTS
    shown = {NAMES[name]: c for name, c in assessment.contours.items() if name != "certified"}
    sure = assessment.contours.get("certified")
    picture = io.BytesIO()
    certified = dict.fromkeys(shown, sure) if sure else {}
    if truth := assessment.truth.get("exact"):
        name = f"{NAMES['possible']}, first {len(truth.verdicts)}"
        shown, certified = {**shown, name: truth.possible}, {**certified, name: truth}
    drawn(shown, certified).savefig(picture, format="png", dpi=200)
    write_whole(folder / picture_file, picture.getvalue())
    write_whole(folder / record_file, assessment.to_json().encode() + b"\n")


def _attacks(network: Network, what: Plan) -> list[tuple[Attack, Network, int | None]]:
    found: list[tuple[Attack, Network, int | None]] = [(ATTACKS["paper"], network, None)]
    if what.strong:
        found.append((ATTACKS["strong"], network, None))
    if what.strong and network.is_dense:
        found.append((ATTACKS["strong"], by_neuron(network), 1))
    return found


def _rehearse(network: Network, few: Split, what: Plan) -> None:
    """All that will be measured, on two samples and one step: what fails shows now, not in some cell of the grid."""
    eps_x, eps_w = what.grid_x[-1], what.grid_w[-1]
    corners = {"inputs": (eps_x, 0.0), "weights": (0.0, eps_w), "inputs and weights": (eps_x, eps_w)}
    for moving, radii in corners.items():
        with refusing("--only", ValueError):
            xi = what.threat(network, *radii)
        for attack, net, images_per_W in _attacks(network, what):
            with refusing(f"the model cannot be attacked where its {moving} move{DETACHED}", BaseException):
                survivors(net, few.x, few.y, [xi], attack.with_steps(0), box=what.box, images_per_W=images_per_W)
        if network.is_chain and what.certify is not False:
            with refusing("the model cannot be certified, see --no-certify", BaseException):
                certifiable(network, few.x, few.y, [xi], box=what.box)
        if what.decided:
            with refusing("the model cannot be decided exactly, leave out --exact", BaseException):
                exact(network.to("cpu"), few.x.cpu(), few.y.cpu(), xi, box=what.box, seconds=0.0)


# what a reader has to know besides ----------------------------------------------------------------------------------


def _notes(network: Network, split: Split, what: Plan) -> tuple[str, ...]:
    z, notes = logits(network, split.x), []
    if bool((z >= 0).all()) and torch.allclose(z.sum(1), torch.ones_like(z[:, 0]), atol=1e-4):
        notes.append("each row of outputs sums to 1, as after a softmax: attacks want the logits, return those")
    if not network.is_chain:
        notes.append(f"no certificates: {network.not_dense}")
    elif network.affine is not None or any(isinstance(step, Affine) for step in network.steps):
        notes.append("the inputs are normalised by constants: certificates take that into account")
    moves = [True, *(e > 0 for e in what.threat(network, 0, 1).eps_w)]
    names = zip(("x", *network.names), moves, _reached(network, split), strict=True)
    if still := [name for name, moving, reached in names if moving and not reached]:
        notes.append(f"no gradient reaches {', '.join(still)} (unused, detached or rounded?), so no attack moves that")
    if what.only:
        moving = [name for name, e in zip(network.names, what.threat(network, 0, 1).eps_w, strict=True) if e]
        notes.append(f"only these tensors move: {', '.join(moving)}")
    return tuple(notes)


def _settings(network: Network, what: Plan) -> dict[str, Any]:
    """What the numbers hang on, so that they can be measured again."""
    free = [e > 0 for e in what.threat(network, 0, 1).eps_w]
    return {
        "plan": asdict(what),
        "attacks": {name: asdict(attack) for name, attack in ATTACKS.items()},
        "weights sha256": digest(*network.W),
        "parameters": sum(V.numel() for V in network.W),
        "parameters attacked": sum(V.numel() for V, moves in zip(network.W, free, strict=True) if moves),
        "versions": {name: version(name) for name in ("nsr", "torch")},
    }


def _dead(network: Network, split: Split, what: Plan) -> tuple[tuple[float, ...], ...]:
    """The share of the first inputs whose gradients are no use to an attack, cell by cell.

    Gradients of use are finite and not 0 at the clean point, from where attacks start, and at a random one of the ball.
    """
    clean = list(_gradients(network, split, Budget.uniform(0, 0, network)))

    def share(xi: Budget) -> float:
        pairs = zip(clean, _gradients(network, split, xi), strict=True)
        return sum(not all(_of_use(found, xi) for found in pair) for pair in pairs) / len(clean)

    return tuple(tuple(share(what.threat(network, e, radius)) for radius in what.grid_w) for e in what.grid_x)


def _of_use(gradients: Sequence[Tensor], xi: Budget) -> bool:
    """Whether x, if it moves, and the weights that move have a finite gradient that is not 0."""
    g_x, *g_W = gradients
    moving = [g for g, e in zip(g_W, xi.eps_w, strict=True) if e > 0]
    return (xi.eps_x == 0 or _usable([g_x])) and (not moving or _usable(moving))


def _reached(network: Network, split: Split) -> list[bool]:
    """Whether x, and each weight tensor, has a gradient at any of the first inputs."""
    still = Budget.uniform(0, 0, network)
    found = [[_usable([g]) for g in gradients] for gradients in _gradients(network, split, still)]
    return [any(one) for one in zip(*found, strict=True)]


def _gradients(network: Network, split: Split, xi: Budget) -> Iterator[tuple[Tensor, ...]]:
    """The gradients of the first inputs' margins by x and by each W^m, each at a random point of the ball."""
    generator = torch.Generator().manual_seed(0)
    for x, y in zip(split.x[:PROBED].split(1), split.y[:PROBED].tolist(), strict=True):
        x_hat, W_hat = xi.sample(x, network.W, generator)
        leaves = [t.detach().requires_grad_() for t in (x_hat, *W_hat)]
        z = network.forward(tuple(leaves[1:]), leaves[0])[0]
        margin = z[y] - torch.cat([z[:y], z[y + 1 :]]).max()
        if margin.requires_grad:
            yield torch.autograd.grad(margin, leaves, allow_unused=True, materialize_grads=True)
        else:
            yield tuple(map(torch.zeros_like, leaves))


def _usable(gradients: Sequence[Tensor]) -> bool:
    return all(bool(g.isfinite().all()) for g in gradients) and any(bool(g.any()) for g in gradients)
