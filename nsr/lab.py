"""Floor 6: from a specification to a run: a trained network and its contours, loaded if it is stored, else computed.

A run is a folder of a store: `spec.json`, `weights.safetensors`, `history.json`, `contours/*.json` and
`provenance.json`, which holds the digest of every other file and its own. What is unfinished lies there too, so every
run is taken up where it stopped.

`next_job` says what a run lacks next, `Job.result` computes it from values alone, wherever that is, and `keep` puts it
into the store: one loop over the three is `run`, and the same loop over many runs and workers is `sweep`.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import io
import json
import math
import os
import platform
import subprocess
import time
import tokenize
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from nsr import contour, data, loss, paths, train
from nsr.attack import PAPER, STRONG, Attack
from nsr.contour import BRIEF, FULL, GEOMETRIES, SMALL, Contour, Protocol
from nsr.data import Split
from nsr.files import StoreError, write_whole
from nsr.methods import METHODS, Method
from nsr.network import Network, Weights, mlp, mlp_init

# PAPER: unstated, we chose these widths; the paper names neither data set nor network.
SIZES = (784, 128, 64, 32, 10)
TRAINING = ("network", "dense", "directions", "norms", "data", "budget", "ascent", "bounds", "certify", "loss", "train")
MEASURING = ("network", "dense", "directions", "data", "budget", "ascent", "bounds", "attack", "certify", "contour")
NUMBERS = tuple(f.name for f in fields(Method) if f.name != "title")

_WIDTH, _CLASSES = {"mnist": 784, "fashion-mnist": 784, "digits": 64}, 10
_IMAGES = {"mnist": 50_000, "fashion-mnist": 50_000, "digits": data.DIGITS_TRAIN}  # to train on
_Rule = tuple[str, Callable[[Any], bool]]  # what is allowed in words, and the test of it
_AT_LEAST_0: _Rule = ("a finite number of at least 0", lambda value: 0 <= value < math.inf)
_AT_LEAST_1: _Rule = ("a whole number of at least 1", lambda value: value >= 1)
_SHARE: _Rule = ("a number from 0 to 1", lambda value: 0 <= value <= 1)
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(NUMBERS, _AT_LEAST_0),
    **dict.fromkeys(("attack_steps", "epochs", "batch"), _AT_LEAST_1),
    **dict.fromkeys(("certified", "ramp"), _SHARE),
    "bound": (f"one of {', '.join(loss.BOUNDS)}", loss.BOUNDS.__contains__),
    "optimiser": ("sgd or adam", ("sgd", "adam").__contains__),
    "lr": ("a number above 0 and at most 1e30", lambda value: 0 < value <= 1e30),
    "momentum": ("a number from 0 to below 1", lambda value: 0 <= value < 1),
    "seed": ("a whole number from 0 to below 2**63", lambda value: 0 <= value < 2**63),
    "images": ("a whole number of at least 1", lambda value: value is None or value >= 1),
    "sizes": ("two or more whole numbers of at least 1", lambda value: len(value) > 1 and min(value) >= 1),
    "name": ("a word", str.isidentifier),
    "dataset": (f"one of {', '.join(_WIDTH)}", _WIDTH.__contains__),
}


class Spec(BaseModel):
    """All that decides a run: equal specifications give equal runs, to the bit on one machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: Literal["mnist", "fashion-mnist", "digits"] = "mnist"
    sizes: tuple[int, ...] = SIZES
    images: int | None = None  # how many training images, the first ones; None: all
    name: str  # of the row in the table of methods that the numbers come from
    method: Method
    seed: int

    @field_validator("method", mode="before")
    @classmethod
    def _as_numbers(cls, value: Any) -> Any:
        """A Method is taken apart and its numbers read again: lr=1 and 1.0, beta=0 and -0.0 are one specification."""
        numbers = asdict(value) if isinstance(value, Method) else value
        return {k: 0 if v == 0 else v for k, v in numbers.items()} if isinstance(numbers, dict) else numbers

    @model_validator(mode="after")
    def _sensible(self) -> Spec:
        for name, value in {**asdict(self.method), **dict(self)}.items():
            if name in _RULES and not _RULES[name][1](value):
                raise ValueError(_must_be(name, value))
        if self.images is not None and self.images > _IMAGES[self.dataset]:
            raise ValueError(f"images: {self.dataset} has {_IMAGES[self.dataset]:,} to train on, not {self.images:,}")
        ends = (_WIDTH[self.dataset], _CLASSES)
        if (self.sizes[0], self.sizes[-1]) != ends:
            raise ValueError(f"sizes must begin with {ends[0]} and end with {ends[1]} for {self.dataset}")
        return self

    @property
    def key(self) -> str:
        """The digest of everything in it but the words."""
        values = self.model_dump(mode="json")
        values["method"].pop("title")
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    @property
    def folder(self) -> str:
        return f"{self.name}-{self.seed}-{self.key[:8]}"


def spec(
    name: str,
    seed: int = 0,
    *,
    dataset: str = "mnist",
    sizes: Sequence[int] = SIZES,
    images: int | None = None,
    **numbers: float | str,
) -> Spec:
    """The specification of one row of the table of methods, some of its `numbers` replaced."""
    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}: choose one of {', '.join(METHODS)}")
    if unknown := sorted(set(numbers) - set(NUMBERS)):
        raise ValueError(f"unknown number {unknown[0]!r}: a method has {', '.join(NUMBERS)}")
    row = {**asdict(METHODS[name]), **numbers}
    try:
        return Spec(dataset=dataset, sizes=tuple(sizes), images=images, name=name, method=row, seed=seed)
    except ValidationError as error:
        raise ValueError(_reason(error)) from None


def _must_be(name: str, value: Any) -> str:
    return f"{name} must be {_RULES[name][0]}, got {value!r}"


def _reason(error: ValidationError) -> str:
    """The first thing that is wrong, in one line."""
    first = error.errors()[0]
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    names = [part for part in first["loc"] if part in _RULES]
    return _must_be(names[-1], first["input"]) if names else f"{first['loc']}: {first['msg']}"


@dataclass(frozen=True)
class Measurement:
    """One kind of contour: who attacks (None: certificates), over which grid, on how many test images."""

    protocol: Protocol
    attack: Attack | None = None
    geometry: str = "absolute"
    part: str = "test"  # of the data set

    @property
    def grid_w(self) -> tuple[float, ...]:
        return self.protocol.grid_w if self.geometry == "absolute" else self.protocol.grid_r

    @property
    def inherits(self) -> bool:
        """Whether a cell behind one where nothing was left is known: the truth there is 0, and the paper's attack
        is reported as it comes out, whatever the truth."""
        return self.attack != PAPER

    @property
    def record(self) -> dict[str, Any]:
        return json.loads(json.dumps(asdict(self)))


FEW_CELLS = Protocol((0.0, 0.1, 0.2, 0.3), (0.0, 0.003, 0.006, 0.01), (0.0, 0.03, 0.06, 0.1), images=500)
MEASUREMENTS: dict[str, Measurement] = {
    "paper": Measurement(BRIEF, PAPER),
    "strong": Measurement(BRIEF, STRONG),
    "relative": Measurement(BRIEF, STRONG, "relative"),
    "certified": Measurement(SMALL),
    "small": Measurement(SMALL, STRONG),
    "full": Measurement(FULL, PAPER),
    "quick": Measurement(Protocol((0.0, 0.1, 0.2), (0.0, 0.003, 0.006), (0.0, 0.03, 0.06), images=200), PAPER),
    # what the numbers of the methods are chosen by: a brief scale-free attack, and certificates
    "validation": Measurement(FEW_CELLS, Attack((replace(STRONG.members[-1], steps=50),)), part="validation"),
    "validation_certified": Measurement(SMALL, part="validation"),
}


def measurement(name: str) -> Measurement:
    """The kind of contour of this name."""
    if name not in MEASUREMENTS:
        raise ValueError(f"unknown kind of contour {name!r}: choose one of {', '.join(MEASUREMENTS)}")
    return MEASUREMENTS[name]


@dataclass(frozen=True)
class Run:
    """A stored run. `stale` names the modules that decide its numbers and have changed since they were computed."""

    spec: Spec
    network: Network
    history: tuple[dict[str, float], ...]
    contours: dict[str, Contour]
    provenance: dict[str, Any]
    folder: Path
    stale: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """What the training cost, on one thread of the machine that the provenance names."""
        return float(self.provenance["training"]["seconds"])


# what a run lacks, computed from values alone -----------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """A piece of work on one run: an epoch of training, or one row of cells of a contour."""

    spec: Spec
    what: str  # "training", or the name of a contour
    call: Callable[..., Any]
    arguments: tuple[Any, ...]

    def result(self) -> Any:
        """Computed on one thread, with denormal numbers read as 0: on them a training step takes ten times as long."""
        code = _code_at_first_use(TRAINING if self.what == "training" else MEASURING, paths.PACKAGE)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        torch.set_flush_denormal(True)
        started = time.perf_counter()
        try:
            value = self.call(*self.arguments)
            circumstances = _circumstances(self.spec.dataset)
        finally:
            torch.set_num_threads(threads)
            torch.set_flush_denormal(False)
        seconds = round(time.perf_counter() - started, 2)
        return value, {**circumstances, "seconds": seconds, "code": dict(code)}


def train_epoch(spec: Spec, checkpoint: bytes | None) -> bytes:
    """The state after one more epoch; its record says how well the validation images are classified."""
    parts = _data(spec.dataset)
    samples = parts.train if spec.images is None else parts.train.first(spec.images)
    generator = torch.Generator().manual_seed(spec.seed)
    network = mlp(mlp_init(spec.sizes, generator))
    state = None if checkpoint is None else _state(checkpoint)
    reached = next(train.states(network, samples.x, samples.y, spec.method, generator=generator, state=state))
    *before, record = reached.history
    record = {**record, "validation": _accuracy(network.at(reached.W), parts.validation)}
    return _checkpoint(train.State(reached.epoch, reached.W, reached.optimiser, reached.generator, (*before, record)))


def measure_row(spec: Spec, weights: bytes, what: Measurement, rows: Sequence[Sequence[float]]) -> list[float]:
    """The accuracies of the next row of cells, behind the `rows` that are known."""
    part: Split = getattr(_data(spec.dataset), what.part)
    samples = part.first(min(what.protocol.images, len(part)))
    network = mlp(_weights(weights))
    eps_x, found = what.protocol.grid_x[len(rows)], []
    for j, radius in enumerate(what.grid_w):
        if what.inherits and (0 in found or any(row[j] == 0 for row in rows)):
            found.append(0.0)
            continue
        xi = GEOMETRIES[what.geometry](eps_x, radius, network.W)
        if what.attack is None:
            found += contour.certifiable(network, samples.x, samples.y, [xi])
        else:
            found += contour.attacked(network, samples.x, samples.y, [xi], what.attack)
    return found


@functools.lru_cache(maxsize=1)
def _data(name: str) -> data.Dataset:
    return data.load(name)


def _accuracy(network: Network, split: Split) -> float:
    return round(float((network(split.x).argmax(-1) == split.y).double().mean()), 6)


# the store ----------------------------------------------------------------------------------------------------------


def next_job(store: Path, spec: Spec, measurements: Sequence[str]) -> Job | None:
    """What the run lacks next, None if nothing; the contours in the order of `measurements`."""
    folder = store / spec.folder
    if not (folder / "weights.safetensors").exists():
        return Job(spec, "training", train_epoch, (spec, _unfinished(folder)))
    for name in measurements:
        what, rows = measurement(name), _rows(folder, name)
        if len(rows) < len(what.protocol.grid_x):
            weights = (folder / "weights.safetensors").read_bytes()
            return Job(spec, name, measure_row, (spec, weights, what, rows))
    return None


def keep(store: Path, job: Job, value: Any, circumstances: dict[str, Any]) -> None:
    """Put the result of a job into the store, each file whole; a run is complete when its provenance says so."""
    folder = store / job.spec.folder
    if job.what == "training":
        _keep_epoch(folder, job.spec, value, circumstances)
        return
    what, rows = MEASUREMENTS[job.what], [*job.arguments[-1], value]
    if len(_rows(folder, job.what)) >= len(rows):
        return  # another process at the same run was faster
    record = {**what.record, "accuracy": rows}
    write_whole(folder / "contours" / f"{job.what}.json", _json(record))
    if len(rows) == len(what.protocol.grid_x):
        known = _provenance(folder)
        known["files"].pop(f"contours/{job.what}.json", None)
        circumstances = {name: value for name, value in circumstances.items() if name != "seconds"}  # of one row
        _seal(folder, {**known, "contours": {**known["contours"], job.what: circumstances}})


def _keep_epoch(folder: Path, spec: Spec, checkpoint: bytes, circumstances: dict[str, Any]) -> None:
    state, known = _state(checkpoint), _unfinished(folder)
    if (folder / "weights.safetensors").exists() or (known and _state(known).epoch >= state.epoch):
        return  # another process at the same run was faster
    history, tensors = list(state.history), {f"W{m}": W_m for m, W_m in enumerate(state.W, start=1)}
    history[-1]["seconds"] = circumstances["seconds"]
    if state.epoch < spec.method.epochs:
        state = train.State(state.epoch, state.W, state.optimiser, state.generator, tuple(history))
        write_whole(folder / "checkpoint.safetensors", _checkpoint(state))
        return
    seconds = round(sum(record.pop("seconds", 0.0) for record in history), 1)
    write_whole(folder / "spec.json", spec.model_dump_json(indent=1).encode() + b"\n")
    write_whole(folder / "history.json", _json(history))
    training = {**circumstances, "seconds": seconds}
    _seal(folder, {"training": training, "contours": {}}, weights=save_tensors(tensors))
    (folder / "checkpoint.safetensors").unlink(missing_ok=True)


def _seal(folder: Path, provenance: dict[str, Any], weights: bytes | None = None) -> None:
    """Write provenance.json with the digests of all finished files; the weights last: they make a run a run.

    A digest that is known stays, so that a file changed since it was written is never taken for a good one.
    """
    files = {"spec.json", "history.json", *(f"contours/{name}.json" for name in provenance["contours"])}
    known = provenance.get("files", {})
    digests = {name: known.get(name) or _sha256((folder / name).read_bytes()) for name in sorted(files)}
    digests["weights.safetensors"] = known["weights.safetensors"] if weights is None else _sha256(weights)
    content = {**{k: v for k, v in provenance.items() if k != "sha256"}, "files": digests}
    write_whole(folder / "provenance.json", _json({**content, "sha256": _sha256(_json(content))}))
    if weights is not None:
        write_whole(folder / "weights.safetensors", weights)


def _provenance(folder: Path) -> dict[str, Any]:
    """provenance.json, once its own digest and its layout are known to be right."""
    path = folder / "provenance.json"
    content = _parsed(path)
    sealed = {k: v for k, v in content.items() if k != "sha256"}
    if content.get("sha256") != _sha256(_json(sealed)) or path.read_bytes() != _json(content):
        raise StoreError(f"{path}: has been changed since it was written; remove the folder to compute the run again")
    return content


def load(folder: Path) -> Run:
    """The run in this folder, every file checked against its digest; a changed byte is refused."""
    provenance = _provenance(folder)
    files = {name: _verified(folder / name, digest) for name, digest in provenance.get("files", {}).items()}
    try:
        spec = Spec.model_validate_json(files["spec.json"])
        network = mlp(_weights(files["weights.safetensors"]))
        contours = {name: _contour(files[f"contours/{name}.json"]) for name in provenance["contours"]}
        history, stale = tuple(json.loads(files["history.json"])), _stale(provenance)
    except (ValidationError, SafetensorError, ValueError, KeyError, TypeError) as error:
        reason = _reason(error) if isinstance(error, ValidationError) else " ".join(str(error).split())[:200]
        raise StoreError(f"{folder}: not a run of this version ({reason})") from None
    if spec.folder != folder.name:
        raise StoreError(f"{folder}: holds the run {spec.folder}; give the folder that name")
    return Run(spec, network, history, contours, provenance, folder, stale)


def runs(*stores: Path) -> Iterator[Run]:
    """Every finished run of these stores, by default the user's and the shipped one; the first of equals."""
    return map(load, folders(*stores))


def folders(*stores: Path) -> Iterator[Path]:
    """The folders of the runs, not looked into."""
    seen: set[str] = set()
    for store in stores or (paths.store(), paths.SHIPPED):
        for folder in sorted(path.parent for path in store.glob("*/weights.safetensors")):
            if folder.name not in seen:
                seen.add(folder.name)
                yield folder


def stored(spec: Spec, *stores: Path) -> Run | None:
    """The run of this specification, None where no store has it."""
    for store in stores or (paths.store(), paths.SHIPPED):
        if (store / spec.folder / "weights.safetensors").exists():
            return load(store / spec.folder)
    return None


def run(
    spec: Spec,
    measurements: Sequence[str] = (),
    *,
    store: Path | None = None,
    watch: Callable[[Job, Any], None] = lambda job, value: None,
) -> Run:
    """The run of this specification with these contours: a stored one that is complete and not stale, else computed.

    What is computed goes into `store`, the user's own by default, piece by piece.
    """
    for name in measurements:
        measurement(name)
    found = stored(spec, *([store] if store else []))
    if found and not found.stale and set(measurements) <= set(found.contours):
        return found
    store = store or paths.store()
    refuse_stale(store, spec)
    while job := next_job(store, spec, measurements):
        value, circumstances = job.result()
        keep(store, job, value, circumstances)
        watch(job, value)
    return load(store / spec.folder)


def refuse_stale(store: Path, spec: Spec) -> None:
    """Stop where the store's run of this specification is damaged or was computed by other code."""
    found = stored(spec, store)
    if found and found.stale:
        raise StoreError(
            f"{found.folder}: was computed before a change of {', '.join(found.stale)}; remove it to compute it again"
        )


def progress(store: Path, spec: Spec) -> dict[str, float]:
    """The record of the last finished epoch of a run that may be under way."""
    folder = store / spec.folder
    if (folder / "weights.safetensors").exists():
        return json.loads((folder / "history.json").read_bytes())[-1]
    return _state(_unfinished(folder) or b"").history[-1]


def _unfinished(folder: Path) -> bytes | None:
    """The checkpoint of a training that is under way, None before its first."""
    path = folder / "checkpoint.safetensors"
    try:
        content = path.read_bytes()
        _state(content)
    except FileNotFoundError:
        return None
    except StoreError as error:
        raise StoreError(f"{path}: {error}") from None
    return content


def _rows(folder: Path, name: str) -> list[list[float]]:
    """The finished rows of a contour that may be under way; a file of another protocol is refused."""
    path = folder / "contours" / f"{name}.json"
    if not path.exists():
        return []
    record = _parsed(path)
    rows = record.pop("accuracy", None)
    if record != MEASUREMENTS[name].record or not isinstance(rows, list):
        raise StoreError(f"{path}: was measured by another protocol; remove it to measure it again")
    sealed = name in _provenance(folder)["contours"]
    return rows if sealed else rows[: len(MEASUREMENTS[name].protocol.grid_x) - 1]  # killed just before the seal


def _contour(content: bytes) -> Contour:
    record = json.loads(content)
    protocol, rows = record["protocol"], tuple(map(tuple, record["accuracy"]))
    grid_w = protocol["grid_w"] if record["geometry"] == "absolute" else protocol["grid_r"]
    found = Contour(tuple(protocol["grid_x"]), tuple(grid_w), rows, record["geometry"])
    # what broke inside a smaller ball breaks inside the larger; the paper's attack is shown as it came out
    return found if record["attack"] in (None, Measurement(BRIEF, PAPER).record["attack"]) else found.envelope


def _verified(path: Path, digest: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror}); remove its run to compute it again") from None
    if _sha256(content) != digest:
        raise StoreError(f"{path}: has been changed since it was written; remove its run to compute it again")
    return content


def _parsed(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path}: cannot be read ({' '.join(str(error).split())}); remove it to start afresh"
        ) from None
    if not isinstance(content, dict):
        raise StoreError(f"{path}: is not what it should be; remove it to start afresh")
    return content


# tensors as bytes ---------------------------------------------------------------------------------------------------


def _checkpoint(state: train.State) -> bytes:
    tensors = {f"W{m}": W_m for m, W_m in enumerate(state.W, start=1)}
    for at, parts in state.optimiser.items():
        tensors |= {f"optimiser.{at}.{name}": part for name, part in parts.items() if part is not None}
    words = {"epoch": str(state.epoch), "history": json.dumps(state.history)}
    return save_tensors({**tensors, "generator": state.generator}, words)


def _state(checkpoint: bytes) -> train.State:
    try:
        tensors = load_tensors(checkpoint)
        size = int.from_bytes(checkpoint[:8], "little")
        words = json.loads(checkpoint[8 : 8 + size])["__metadata__"]
    except (SafetensorError, ValueError, KeyError) as error:
        raise StoreError(f"is damaged ({' '.join(str(error).split())}); remove it to start afresh") from None
    optimiser: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith("optimiser."):
            _, at, name = key.split(".")
            optimiser.setdefault(int(at), {})[name] = tensor
    history = tuple(json.loads(words["history"]))
    return train.State(int(words["epoch"]), _in_order(tensors), optimiser, tensors["generator"], history)


def _weights(content: bytes) -> Weights:
    return _in_order(load_tensors(content))


def _in_order(tensors: dict[str, torch.Tensor]) -> Weights:
    return tuple(tensors[f"W{m}"] for m in range(1, 1 + sum(key.startswith("W") for key in tensors)))


def _json(content: Any) -> bytes:
    return json.dumps(content, indent=1).encode() + b"\n"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# provenance ---------------------------------------------------------------------------------------------------------


def fingerprints(modules: Sequence[str]) -> dict[str, str]:
    """The digest of the code of each module: what it does, not what its comments and docstrings say."""
    return {module: _sha256(_bare((paths.PACKAGE / f"{module}.py").read_text()).encode())[:16] for module in modules}


@functools.cache
def _code_at_first_use(modules: Sequence[str], package: Path) -> dict[str, str]:
    """The fingerprints of the code that this process runs: what is edited while it computes is not what computed."""
    return fingerprints(modules)


def _stale(provenance: dict[str, Any]) -> tuple[str, ...]:
    """The modules whose code is not what it was when the run was computed."""
    recorded = [provenance["training"]["code"], *(part["code"] for part in provenance["contours"].values())]
    now = fingerprints(sorted({module for code in recorded for module in code if _exists(module)}))
    changed = {module for code in recorded for module, digest in code.items() if now.get(module) != digest}
    return tuple(sorted(changed))


def _exists(module: str) -> bool:
    return (paths.PACKAGE / f"{module}.py").exists()


@functools.cache  # every run of a store asks for the same dozen files
def _bare(source: str) -> str:
    """Source code without comments, docstrings and empty lines."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False):
            first, last = node.body[0].lineno - 1, node.body[0].end_lineno
            if lines[first].lstrip().startswith(("def ", "class ")):
                continue  # all on one line, and code with it
            for at in range(first, last):
                lines[at] = ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and lines[token.start[0] - 1]:
            lines[token.start[0] - 1] = lines[token.start[0] - 1][: token.start[1]]
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _circumstances(dataset: str) -> dict[str, Any]:
    """Where and with what something is being computed."""
    return {
        "package": version("nsr"),
        "commit": _commit(),
        "data": data.digests(dataset),
        "torch": torch.__version__,
        "hardware": f"{_processor()}, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
    }


@functools.cache
def _commit() -> str | None:
    """The commit the code was taken from, None outside a repository."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, check=False)
    except OSError:  # there is no git
        return None
    return found.stdout.strip() or None


@functools.cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
