"""What decides a run: a row of the table of methods, the data, the widths and the seed, every number of it checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from nsr import data
from nsr.training import METHODS, Method, loss

# PAPER: unstated, we chose these widths; the paper names neither data set nor network.
SIZES = (784, 128, 64, 32, 10)
NUMBERS = tuple(f.name for f in fields(Method) if f.name != "title")

_WIDTH, _CLASSES = {"mnist": 784, "fashion-mnist": 784, "digits": 64}, 10
_IMAGES = {"mnist": 50_000, "fashion-mnist": 50_000, "digits": data.DIGITS_TRAIN}  # to train on
_Rule = tuple[str, Callable[[Any], bool]]  # what is allowed in words, and the test of it
_MOST = 1e30  # float32 holds it, and its products with a few more
_FROM_0: _Rule = ("a number from 0 to 1e30", lambda value: 0 <= value <= _MOST)
_FROM_1: _Rule = ("a whole number from 1 to 10**9", lambda value: 1 <= value <= 10**9)
_SHARE: _Rule = ("a number from 0 to 1", lambda value: 0 <= value <= 1)
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(NUMBERS, _FROM_0),
    **dict.fromkeys(("attack_steps", "epochs", "batch"), _FROM_1),
    **dict.fromkeys(("certified", "ramp"), _SHARE),
    "bound": (f"one of {', '.join(loss.BOUNDS)}", loss.BOUNDS.__contains__),
    "optimiser": ("sgd or adam", ("sgd", "adam").__contains__),
    "lr": ("a number above 0 and at most 1e30", lambda value: 0 < value <= _MOST),
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
    def differs(self) -> str:
        """What differs from the row of the table of methods, in words; nothing where nothing does."""
        row = {**asdict(METHODS[self.name]), "sizes": SIZES, "images": None, "dataset": "mnist"}
        here = {**asdict(self.method), "sizes": self.sizes, "images": self.images, "dataset": self.dataset}
        words = {name: "-".join(map(str, v)) if name == "sizes" else v for name, v in here.items() if v != row[name]}
        return ", ".join(f"{name} {value}" for name, value in words.items())

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
        raise ValueError(what_is_wrong(error)) from None


def _must_be(name: str, value: Any) -> str:
    return f"{name} must be {_RULES[name][0]}, got {value!r:.60}"


def what_is_wrong(error: ValidationError) -> str:
    """The first thing that is wrong, in one line."""
    first = error.errors()[0]
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    names = [part for part in first["loc"] if part in _RULES]
    return _must_be(names[-1], first["input"]) if names else f"{first['loc']}: {first['msg']}"
