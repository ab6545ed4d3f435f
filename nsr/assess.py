"""Judge anybody's model: load it, attack it over a grid of budgets, write down what was found.

What cannot be judged is refused in one line, before anything is computed or written.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import sys
import textwrap
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_model as load_weights
from torch import Tensor, nn

from nsr import data
from nsr.attack import PAPER, STRONG, Attack, survivors
from nsr.contour import COARSE, GEOMETRIES, Cell, Contour, certifiable, stored
from nsr.data import Split
from nsr.figures.contours import contours as drawn
from nsr.files import StoreError, refuse_unwritable, write_whole
from nsr.network import Network

ATTACKS = {"paper": PAPER, "strong": STRONG}
CERTIFIED = "certified"
RESULTS = ("contour.png", "assessment.json")
NAMES = {"paper": "paper's attack", "strong": "strong attack", CERTIFIED: "certified"}
IMAGES = COARSE.images
POINTS = len(COARSE.grid_x)
MOST_POINTS = 1_000  # a side
LEAST, MOST = 1e-30, 1e30  # radii that float32 holds, steps of a grid and products with a few weights included
AT_ONCE = 256  # inputs in one clean forward pass

Watch = Callable[[str, int, int], None]  # (curve, cells done, cells in all)


class AssessError(ValueError):
    """This cannot be assessed as given; the message says in one line why."""


@dataclass(frozen=True)
class Plan:
    """The grid, what grid_w means, and what is measured on it besides the paper's attack.

    `certify=None` certifies where that is possible, that is dense ReLU networks.
    """

    grid_x: tuple[float, ...]
    grid_w: tuple[float, ...]
    geometry: str = "absolute"
    strong: bool = True
    certify: bool | None = None

    @property
    def attacks(self) -> dict[str, Attack]:
        """Who attacks, by the name of the contour."""
        return {name: attack for name, attack in ATTACKS.items() if self.strong or name != "strong"}

    def certifies(self, network: Network) -> bool:
        return network.is_mlp and self.certify is not False


@dataclass(frozen=True)
class Assessment:
    """What was found: `contours` by name, "paper", and where they were asked for "strong" and "certified"."""

    model: str
    data: str
    images: int
    contours: dict[str, Contour]

    @property
    def clean(self) -> float:
        """Accuracy without any perturbation."""
        return self.contours["paper"].clean

    @property
    def flags(self) -> dict[str, tuple[Cell, ...]]:
        """Cells that deserve a second look, by what is the matter with them; only what does occur."""
        paper, strong = self.contours["paper"], self.contours.get("strong")
        found = {
            f"the {NAMES[name]} leaves over a point more accuracy than inside a smaller budget": raw.disagreements(
                raw.envelope
            )
            for name, raw in self.contours.items()
            if name != CERTIFIED
        }
        if strong:
            apart = paper.disagreements(strong)
            below = tuple((i, j) for i, j in apart if strong.accuracy[i][j] < paper.accuracy[i][j])
            found["the strong attack lies over a point below the paper's"] = below
            found["the strong attack lies over a point above the paper's"] = tuple(c for c in apart if c not in below)
        return {what: cells for what, cells in found.items() if cells}

    def to_json(self) -> str:
        """Everything, AUCs and flags included, for people and for `from_json`."""
        auc = {name: contour.auc for name, contour in self.contours.items()}
        return json.dumps({**asdict(self), "clean": self.clean, "auc": auc, "flags": self.flags}, indent=1)

    @staticmethod
    def from_json(text: str) -> Assessment:
        found = json.loads(text)
        contours = {name: Contour.from_json(json.dumps(part)) for name, part in found["contours"].items()}
        return Assessment(found["model"], found["data"], found["images"], contours)


def plan(
    *,
    eps_x: float | None = None,
    eps_w: float | None = None,
    points: int = POINTS,
    geometry: str = "absolute",
    strong: bool = True,
    certify: bool | None = None,
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
    grid_x, grid_w = (tuple(end * k / (points - 1) for k in range(points)) for end in ends.values())
    return Plan(grid_x, grid_w, geometry, strong, certify)


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
) -> Assessment:
    """Judge the module that "file.py:function" returns on a data set or .npz file, and leave the results in `folder`.

    An interrupted run is taken up where it stopped by the same call.
    """
    if folder.exists() and not folder.is_dir():
        raise AssessError(f"{folder}: results go into a folder, and this is a file")
    if device == "cuda" and not torch.cuda.is_available():
        raise AssessError("no CUDA device was found: use the device cpu")
    network, split = load_model(model, weights), load_samples(samples, images)
    if what.certify and not network.is_mlp:
        raise AssessError(f"{model}: certificates are for chains of dense and ReLU layers, and this model is not one")
    with _refusing(f"{model}: cannot be brought to the device {device}", BaseException):
        network, split = network.to(device), split.to(torch.device(device))
    network, split = prepare(network, split, what)
    for name in RESULTS:
        if (folder / name).exists() and not (folder / name).is_file():
            raise AssessError(f"{folder / name}: a result goes there, and this is no plain file")
    refuse_unwritable(folder / "cells")
    try:
        found = measure(network, split, what, folder / "cells", watch)
    except (OSError, StoreError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a stranger's forward may raise anything, and at any call
        raise AssessError(f"{model} failed on the way ({_reason(error)}); finished cells are in {folder}") from error
    assessment = Assessment(model, samples, len(split), found)
    write(assessment, folder)
    return assessment


def measure(network: Network, split: Split, what: Plan, folder: Path, watch: Watch | None = None) -> dict[str, Contour]:
    """The contours of a plan by name, each resumed from and stored in its own file of `folder`."""
    found = {}
    for name, attack in what.attacks.items():
        found[name] = stored.attacked(
            folder / f"{name}.json",
            network,
            split.x,
            split.y,
            what.grid_x,
            what.grid_w,
            attack=attack,
            geometry=what.geometry,
            watch=_named(watch, name),
        )
    if what.certifies(network):
        found[CERTIFIED] = stored.certified(
            folder / f"{CERTIFIED}.json",
            network,
            split.x,
            split.y,
            what.grid_x,
            what.grid_w,
            geometry=what.geometry,
            watch=_named(watch, CERTIFIED),
        )
    return found


def write(assessment: Assessment, folder: Path) -> None:
    """RESULTS, each whole or not at all."""
    picture_file, record_file = RESULTS
    attacked = {NAMES[name]: c for name, c in assessment.contours.items() if name != CERTIFIED}
    sure = assessment.contours.get(CERTIFIED)
    picture = io.BytesIO()
    drawn(attacked, dict.fromkeys(attacked, sure) if sure else {}).savefig(picture, format="png", dpi=200)
    write_whole(folder / picture_file, picture.getvalue())
    write_whole(folder / record_file, assessment.to_json().encode() + b"\n")


# what is to be judged -----------------------------------------------------------------------------------------------


def load_model(where: str, weights: Path | None = None) -> Network:
    """The network that "file.py:function" returns, with the tensors of a safetensors file where one is given."""
    path, _, name = where.rpartition(":")
    if not path or not name:
        raise AssessError(f"{where!r}: name a model as file.py:function, where the function returns it")
    module = _built(Path(path), name)
    if not isinstance(module, nn.Module):
        raise AssessError(f"{where} must return a torch.nn.Module, and returned {_a(module)}")
    if weights is not None:
        with _refusing(f"{weights}: these weights do not fit {where}", BaseException):
            with _refusing(f"{weights}: not a safetensors file", SafetensorError):
                with _refusing(f"{weights}: cannot be read", OSError, UnicodeError):
                    load_weights(module, weights)
    with _refusing(where, BaseException):  # whatever keeps a stranger's module from being copied
        return Network.from_module(module)


def load_samples(name: str, images: int = IMAGES) -> Split:
    """The first `images` test samples of a data set, as images, or samples of an .npz file with arrays x and y."""
    if images < 1:
        raise AssessError(f"at least one image is needed, got {images}")
    if name in data.NAMES:
        test = data.load(name, flat=False).test
        return test.first(min(images, len(test)))
    if Path(name).suffix != ".npz":
        raise AssessError(f"unknown data {name!r}: name a file ending in .npz or one of {', '.join(data.NAMES)}")
    x, y = _arrays(Path(name))
    if x.dtype.kind not in "fiub" or x.ndim < 2:
        raise AssessError(f"{name}: x must hold one row of numbers per sample, got {x.dtype} {list(x.shape)}")
    if y.dtype.kind not in "iu" or y.shape != x.shape[:1]:
        raise AssessError(
            f"{name}: y must hold one whole-numbered label for each of {len(x)} samples, got {y.dtype} {list(y.shape)}"
        )
    if x.size == 0:
        raise AssessError(f"{name}: holds no samples")
    x, y = x[:images], y[:images]
    if not np.isfinite(x).all():
        raise AssessError(f"{name}: x holds NaN or infinite values")
    if x.min() < 0 or x.max() > 1:
        raise AssessError(f"{name}: x must lie in [0, 1], and its values span [{x.min():g}, {x.max():g}]")
    return Split(torch.from_numpy(x.astype(np.float64)), torch.from_numpy(y.astype(np.int64)))


def prepare(network: Network, split: Split, what: Plan | None = None) -> tuple[Network, Split]:
    """Network and samples in one dtype and in the shape that the network takes, once everything is known to fit."""
    x = _fitting(network, split.x.to(network.W[0].dtype))
    with torch.no_grad(), _refusing("the model and the data do not fit", BaseException):
        z = torch.cat([network(part) for part in x.split(AT_ONCE)])
        again = network(x[:AT_ONCE])
    if len(z) != len(x):
        raise AssessError(f"the model gives {len(z)} rows of logits for {len(x)} samples")
    if not z.isfinite().all():
        raise AssessError("the model's logits are NaN or infinite on these samples")
    if not torch.allclose(z[:AT_ONCE], again):
        raise AssessError("the model gives other logits each time it is asked, so nothing it does can be judged")
    low, high, K = int(split.y.min()), int(split.y.max()), z.shape[1]
    if low < 0 or high >= K:
        raise AssessError(f"the labels span [{low}, {high}], and the model has logits for the classes 0 to {K - 1}")
    _rehearse(network, x[:2], split.y[:2], what or plan())
    return network, Split(x, split.y)


def _rehearse(network: Network, x: Tensor, y: Tensor, what: Plan) -> None:
    """All that will be measured, on two samples and one step: what fails shows now, not in some cell of the grid."""
    eps_x, eps_w = what.grid_x[-1], what.grid_w[-1]
    corners = {"inputs": (eps_x, 0.0), "weights": (0.0, eps_w), "inputs and weights": (eps_x, eps_w)}
    for moving, radii in corners.items():
        xi = GEOMETRIES[what.geometry](*radii, network)
        for attack in what.attacks.values():
            with _refusing(f"the model cannot be attacked where its {moving} move", BaseException):
                survivors(network, x, y, [xi], attack.with_steps(0))
        if what.certifies(network):
            with _refusing("the model cannot be certified, see --no-certify", BaseException):
                certifiable(network, x, y, [xi])


def _fitting(network: Network, x: Tensor) -> Tensor:
    """x as it is or flattened, whichever the network turns into logits [B, K]; dense networks get it flat."""
    views = [x.flatten(1)] if network.is_mlp else [x, x.flatten(1)][: x.ndim - 1]
    troubles = []
    for view in views:
        few = view[:2]
        try:
            with torch.no_grad():
                z = network(few)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever a stranger's forward raises
            troubles.append(f"x {_shape(view)} raises {_reason(error)}")
            continue
        if isinstance(z, Tensor) and z.is_floating_point() and z.ndim == 2 and len(z) == len(few) and z.shape[1] > 1:
            return view
        got = f"{list(z.shape)} for {len(few)} samples" if isinstance(z, Tensor) else _a(z)
        troubles.append(f"x {_shape(view)} gives {got} instead of logits [B, K]")
    raise AssessError(f"the model and the data do not fit: {'; '.join(troubles)}")


def _built(file: Path, name: str) -> object:
    """What the function `name` of a Python file returns."""
    if not file.is_file():
        raise AssessError(f"{file}: there is no such file")
    spec = importlib.util.spec_from_file_location(f"assessed_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise AssessError(f"{file}: is no Python file; name a model as file.py:function")
    code = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = code  # where dataclasses and deepcopy look for it
    before = [*sys.path]
    sys.path.insert(0, str(file.resolve().parent))  # as Python does for a file that it runs
    try:
        with torch.random.fork_rng(devices=[]), contextlib.chdir("."):  # the file may go elsewhere; we come back
            torch.manual_seed(0)  # a model that draws its weights is then the same one when a run is taken up again
            with _refusing(f"{file}: cannot be imported", BaseException):
                spec.loader.exec_module(code)
            if not callable(function := getattr(code, name, None)):
                raise AssessError(f"{file}: has no function {name}")
            with _refusing(f"{file}: {name}() failed", BaseException):
                return function()
    finally:
        sys.path[:] = before


def _arrays(file: Path) -> tuple[np.ndarray, np.ndarray]:
    if not file.is_file():
        raise AssessError(f"{file}: there is no such file")
    damage = (OSError, ValueError, EOFError, MemoryError, NotImplementedError, zipfile.BadZipFile, zlib.error)
    with _refusing(f"{file}: not an .npz file of plain arrays", *damage), file.open("rb") as stream:
        found = np.load(stream, allow_pickle=False)
        arrays = {key: found[key] for key in found} if isinstance(found, np.lib.npyio.NpzFile) else {}
    if missing := {"x", "y"} - set(arrays):
        has = f"it has {', '.join(arrays)}" if arrays else "it has none"
        raise AssessError(f"{file}: the arrays x and y are needed, {' and '.join(sorted(missing))} missing; {has}")
    return arrays["x"], arrays["y"]


@contextlib.contextmanager
def _refusing(what: str, *errors: type[BaseException]) -> Iterator[None]:
    """Turn these errors, where they are not refusals yet nor the user's Ctrl-C, into a refusal of one line."""
    try:
        yield
    except (AssessError, KeyboardInterrupt):
        raise
    except errors as error:
        raise AssessError(f"{what}: {_reason(error)}") from None


def _reason(error: BaseException) -> str:
    try:
        words = f"{type(error).__name__}: {error}"
    except BaseException:  # a stranger's error may fail even at saying what it is
        words = type(error).__name__
    return textwrap.shorten("".join(c if c.isprintable() else " " for c in words), 300, placeholder=" ...")


def _a(thing: object) -> str:
    return "None" if thing is None else f"an object of type {type(thing).__name__}"


def _shape(x: Tensor) -> str:
    return str(list(x.shape))


def _named(watch: Watch | None, name: str) -> Callable[[int, int], None] | None:
    return (lambda done, total: watch(name, done, total)) if watch else None
