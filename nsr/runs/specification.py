"""What decides a run: a row of the table of methods, the data, the widths and the seed, every number of it checked."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from nsr import data
from nsr.convnet import cnn, cnn_init
from nsr.network import Network, Weights, mlp, mlp_init
from nsr.training import METHODS, Method

# PAPER: unstated, we chose these widths; the paper names neither data set nor network.
SIZES = (784, 128, 64, 32, 10)
CNN_SIZES = (1, 16, 32, 10)  # channels of the image and of each convolution, then classes
NUMBERS = tuple(f.name for f in fields(Method) if f.name != "title")

# numbers that came later, and what leaves a training as it was without them: the names of older runs stay
LATER = {"norm_decay": 0, "norm": "linf", "weight_decay": 0, "most_singular": 0, "images_per_W": None}
LATER_FIELDS = {"net": "mlp"}

_CLASSES = 10
_WIDTH = {"mnist": 784, "fashion-mnist": 784, "digits": 64}
_SIDE = {"mnist": 28, "fashion-mnist": 28, "digits": 8}
_IMAGES = {"mnist": 50_000, "fashion-mnist": 50_000, "digits": data.DIGITS_TRAIN}  # to train on


class Spec(BaseModel):
    """All that decides a run: equal specifications give equal runs, to the bit on one machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: Literal["mnist", "fashion-mnist", "digits"] = "mnist"
    net: Literal["mlp", "cnn"] = "mlp"  # dense, or convolutions and one dense layer
    sizes: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=2)] = SIZES  # see SIZES and CNN_SIZES
    images: Annotated[int, Field(ge=1)] | None = None  # how many training images, the first ones; None: all
    name: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")]  # of the row of the table that the numbers come from
    method: Method
    seed: Annotated[int, Field(ge=0, lt=2**63)]

    @field_validator("method", mode="before")
    @classmethod
    def _as_numbers(cls, value: Any) -> Any:
        """A Method is taken apart and its numbers read again: lr=1 and 1.0, beta=0 and -0.0 are one specification."""
        numbers = asdict(value) if isinstance(value, Method) else value
        return {k: 0 if v == 0 else v for k, v in numbers.items()} if isinstance(numbers, dict) else numbers

    @model_validator(mode="after")
    def _fits_the_data(self) -> Spec:
        if self.images is not None and self.images > _IMAGES[self.dataset]:
            raise ValueError(f"images: {self.dataset} has {_IMAGES[self.dataset]:,} to train on")
        ends = (_WIDTH[self.dataset] if self.net == "mlp" else 1, _CLASSES)
        if (self.sizes[0], self.sizes[-1]) != ends:
            raise ValueError(f"sizes must begin with {ends[0]} and end with {ends[1]} for {self.dataset}")
        if self.net == "cnn" and not 3 <= len(self.sizes) < 2 + _SIDE[self.dataset].bit_length():
            raise ValueError(f"sizes: a cnn on {self.dataset} has one convolution or a few, each halves the image")
        return self

    def fresh(self, generator: torch.Generator) -> Network:
        """The network before its training."""
        if self.net == "mlp":
            return mlp(mlp_init(self.sizes, generator))
        *channels, classes = self.sizes
        return cnn(cnn_init(channels, generator, side=_SIDE[self.dataset], classes=classes))

    def network(self, W: Weights) -> Network:
        """The network at these weights."""
        return mlp(W) if self.net == "mlp" else cnn(W)

    @property
    def key(self) -> str:
        """The digest of everything in it but the words."""
        values = self.model_dump(mode="json")
        values = {k: v for k, v in values.items() if v != LATER_FIELDS.get(k, ...)}
        values["method"] = {k: v for k, v in values["method"].items() if k != "title" and v != LATER.get(k)}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    @property
    def folder(self) -> str:
        return f"{self.name}-{self.seed}-{self.key[:8]}"

    @property
    def differs(self) -> str:
        """What differs from the row of the table of methods, in words; nothing where nothing does."""
        row = {**asdict(METHODS[self.name]), "net": "mlp", "sizes": SIZES, "images": None, "dataset": "mnist"}
        here = {**asdict(self.method), **{name: getattr(self, name) for name in ("net", "sizes", "images", "dataset")}}
        words = {name: "-".join(map(str, v)) if name == "sizes" else v for name, v in here.items() if v != row[name]}
        return ", ".join(f"{name} {value}" for name, value in words.items() if name != "title")


def spec(
    name: str,
    seed: int = 0,
    *,
    dataset: str = "mnist",
    net: str = "mlp",
    sizes: Sequence[int] | None = None,
    images: int | None = None,
    **numbers: float | str,
) -> Spec:
    """The specification of one row of the table of methods, some of its `numbers` replaced."""
    if name not in METHODS:
        raise ValueError(f"unknown method {_short(name)}: choose one of {', '.join(METHODS)}")
    if unknown := sorted(set(numbers) - set(NUMBERS)):
        raise ValueError(f"unknown number {_short(unknown[0])}: a method has {', '.join(NUMBERS)}")
    row = {**asdict(METHODS[name]), **numbers}
    try:
        sizes = tuple(sizes or (CNN_SIZES if net == "cnn" else SIZES))
        return Spec(dataset=dataset, net=net, sizes=sizes, images=images, name=name, method=row, seed=seed)
    except ValidationError as error:
        raise ValueError(what_is_wrong(error)) from None


def what_is_wrong(error: ValidationError) -> str:
    """The first thing that is wrong, in one line."""
    first = error.errors()[0]
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    name = [part for part in first["loc"] if isinstance(part, str)][-1]
    said, must = first["msg"], "Input should be "
    if said.startswith(must):
        allowed = re.sub(r", (got|unable) .*", "", said.removeprefix(must)).replace("1" + 30 * "0", "1e30")
        return f"{name} must be {allowed}, got {_short(first['input'])}"
    return f"{name}: {said[0].lower()}{said[1:]}, got {_short(first['input'])}"


def _short(value: object) -> str:
    """A value as Python writes it, the beginning of a long one."""
    return f"{value!r:.60}"
