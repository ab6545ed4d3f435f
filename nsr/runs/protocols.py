"""What is measured of a run: the kinds of contours, each an attack, certificates or the truth over a grid."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from nsr import contour, data, inside
from nsr.attack import OWN, PAPER, STRONG, Attack
from nsr.attack.offsets import by_neuron
from nsr.contour import BRIEF, FULL, GEOMETRIES, SMALL, Protocol
from nsr.data import Split
from nsr.network import Network
from nsr.runs.code_digest import ATTACKING, CERTIFYING, DECIDING, READING, TRAINING


@dataclass(frozen=True)
class Measurement:
    """One kind of contour: who attacks, or else the method that certifies, over which grid, on how many images.

    The method "exact" decides every image's whole plane, with a limit of `seconds` for each question.
    """

    protocol: Protocol
    attack: Attack | None = None
    geometry: str = "absolute"
    part: str = "test"  # of the data set
    images_per_W: int | None = None  # whom one W_hat serves: all images (None), or each its own (1)
    method: str | None = None
    seconds: float | None = None

    @property
    def grid_w(self) -> tuple[float, ...]:
        return self.protocol.grid_w if self.geometry == "absolute" else self.protocol.grid_r

    @property
    def words(self) -> tuple[str, str, str]:
        """What this kind of contour is called in the book: who attacks, in which radii, whom one W_hat serves."""
        methods = {"linear": "certified", "tight": "certified over tight boxes", "exact": "decided exactly"}
        attackers = {PAPER: "paper's attack", STRONG: "strong attack", OWN: "strong attack on each class"}
        if self.attack is None:
            who = methods[self.method]
        else:
            who = attackers.get(self.attack) or f"brief attack of {self.attack.members[0].steps} steps"
        return who, f"{self.geometry} radii", "" if self.images_per_W is None else "weights of its own for each image"

    @property
    def label(self) -> str:
        """The same in one line; absolute radii go without saying."""
        return ", ".join(part for part in self.words if part not in ("", "absolute radii"))

    @property
    def inherits(self) -> bool:
        """Whether a cell behind one where nothing was left is known: the truth there is 0, and the paper's attack
        is reported as it comes out, whatever the truth."""
        return self.attack != PAPER

    @property
    def folder(self) -> str:
        """Of a run, where it lies."""
        return "contours"

    @property
    def shape(self) -> tuple[int, int]:
        """How many pieces of work it is, and how many numbers each gives: rows of cells, or the plane of an image."""
        rows, columns = len(self.protocol.grid_x), len(self.grid_w)
        return (self.protocol.images, rows * columns) if self.method == "exact" else (rows, columns)

    @property
    def unit(self) -> str:
        """What a piece of work is."""
        return "image" if self.method == "exact" else "row"

    def plane(self, network: Network, samples: Split, k: int) -> str:
        """The verdicts on image number k in every cell of the grid."""
        x, y = samples.x[k : k + 1], samples.y[k : k + 1]
        grids = self.protocol.grid_x, self.grid_w
        return contour.plane(network, x, y, *grids, geometry=self.geometry, seconds=self.seconds)

    def cell(self, network: Network, samples: Split, eps_x: float, radius: float) -> float:
        """The accuracy in one cell of the grid."""
        xi = GEOMETRIES[self.geometry](eps_x, radius, network)
        if self.attack is None:
            (found,) = contour.certifiable(network, samples.x, samples.y, [xi], method=self.method)
        else:
            net = by_neuron(network) if self.images_per_W == 1 and network.is_dense else network
            (found,) = contour.attacked(net, samples.x, samples.y, [xi], self.attack, images_per_W=self.images_per_W)
        return found

    @property
    def record(self) -> dict[str, Any]:
        return json.loads(json.dumps(asdict(self)))


@dataclass(frozen=True)
class Reading:
    """What is read off a network itself, by `nsr.inside`; `eps` is the size of the directions that it is moved in."""

    eps: float
    shape = (1, 1)
    folder = "readings"
    unit = "reading"

    def of(self, network: Network, parts: data.Dataset) -> dict[str, Any]:
        return asdict(inside.inside(network, parts.train, parts.test, self.eps, torch.Generator().manual_seed(0)))

    @property
    def record(self) -> dict[str, Any]:
        return json.loads(json.dumps(asdict(self)))


FEW_CELLS = Protocol((0.0, 0.1, 0.2, 0.3), (0.0, 0.003, 0.006, 0.01), (0.0, 0.03, 0.06, 0.1), images=500)
_SCALE_FREE = Attack((replace(STRONG.members[-1], steps=50),))
TRUTH = replace(SMALL, images=50)  # whom the exact decisions and what they are held against are measured on
MEASUREMENTS: dict[str, Measurement] = {
    "paper": Measurement(BRIEF, PAPER),
    "strong": Measurement(BRIEF, STRONG),
    "relative": Measurement(BRIEF, STRONG, "relative"),
    "per_sample": Measurement(BRIEF, STRONG, images_per_W=1),
    "certified": Measurement(SMALL, method="linear"),
    "exact": Measurement(TRUTH, method="exact", seconds=3.0),
    "tight": Measurement(TRUTH, method="tight"),
    "own": Measurement(TRUTH, OWN, images_per_W=1),
    # the same on more images, of the rows with the most to prove
    "exact_many": Measurement(replace(SMALL, images=200), method="exact", seconds=3.0),
    "own_many": Measurement(replace(SMALL, images=200), OWN, images_per_W=1),
    "small": Measurement(SMALL, STRONG),
    "full": Measurement(FULL, PAPER),
    "quick": Measurement(Protocol((0.0, 0.1, 0.2), (0.0, 0.003, 0.006), (0.0, 0.03, 0.06), images=200), PAPER),
    # what the numbers of the methods are chosen by: a brief scale-free attack, and certificates
    "validation": Measurement(FEW_CELLS, _SCALE_FREE, part="validation"),
    "validation_own": Measurement(FEW_CELLS, _SCALE_FREE, part="validation", images_per_W=1),
    "validation_certified": Measurement(SMALL, method="linear", part="validation"),
}


# for networks of the companion papers, of which there are many, and for convolutions, which cost ten times as much
_FEW = Protocol((0.0, 0.1, 0.2), (0.0, 0.004), (0.0, 0.04), images=500)
_FEW_TRUTH = Protocol((0.0, 0.02, 0.04, 0.06), (0.0, 0.0016), (0.0, 0.02), images=50)
MEASUREMENTS |= {
    "few": Measurement(_FEW, STRONG),
    "coarse": Measurement(FEW_CELLS, STRONG),
    "coarse_own": Measurement(replace(FEW_CELLS, images=200), STRONG, images_per_W=1),
    "exact_few": Measurement(_FEW_TRUTH, method="exact", seconds=3.0),
}
READINGS = {"inside": Reading(eps=0.1)}


def measurement(name: str) -> Measurement | Reading:
    """The kind of contour, or of reading, of this name."""
    if name in READINGS:
        return READINGS[name]
    if name not in MEASUREMENTS:
        names = f"{', '.join(MEASUREMENTS)}, or the reading {', '.join(READINGS)}"
        raise ValueError(f"unknown kind of contour {name!r:.60}: choose one of {names}")
    return MEASUREMENTS[name]


def deciding(what: str) -> tuple[str, ...]:
    """The roles of the code that decides the numbers of a "training" or of a kind of contour."""
    if what == "training":
        return TRAINING
    if what in READINGS:
        return READING
    if measurement(what).attack is not None:
        return ATTACKING
    return DECIDING if measurement(what).method == "exact" else CERTIFYING
