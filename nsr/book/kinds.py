"""What a parameter of a chapter may be: a `parameters` cell annotates its names with these, as in `n: Count = 100`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field


def _row(name: str) -> str:
    from nsr.training import METHODS  # torch is slow to load, and only this needs it

    if name not in METHODS:
        raise ValueError(f"choose from {', '.join(METHODS)}")
    return name


_Any = Annotated[float, Field(ge=0, le=1e30, allow_inf_nan=False)]
_Pair = Annotated[list[_Any], Field(min_length=2, max_length=2)]

DataSet = Literal["mnist", "fashion-mnist", "digits"]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Whole = Annotated[int, Field(ge=0, le=10**7)]
Count = Annotated[int, Field(ge=1, le=10**7)]
Several = Annotated[int, Field(ge=2, le=10**4)]
Width = Annotated[int, Field(ge=1, le=10**5)]
Widths = Annotated[list[Width], Field(min_length=1)]
Number = _Any
Positive = Annotated[float, Field(gt=0, le=1e30, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]
UpToOne = Annotated[float, Field(ge=0, le=1)]
Seeds = Annotated[list[Seed], Field(min_length=1)]
Wholes = Annotated[list[Whole], Field(min_length=1)]
Counts = Annotated[list[Count], Field(min_length=1)]
Numbers = Annotated[list[_Any], Field(min_length=1)]
Positives = Annotated[list[Positive], Field(min_length=1)]
Shares = Annotated[list[Share], Field(min_length=1)]
UpToOnes = Annotated[list[UpToOne], Field(min_length=1)]
Pair = _Pair
Pairs = Annotated[list[_Pair], Field(min_length=1)]
PositivePairs = Annotated[list[Annotated[list[Positive], Field(min_length=2, max_length=2)]], Field(min_length=1)]
Nets = Annotated[list[Annotated[list[Width], Field(min_length=2)]], Field(min_length=1)]
Rows = Annotated[list[Annotated[str, AfterValidator(_row)]], Field(min_length=1)]

WORDS: dict[str, str] = {
    "DataSet": '"mnist", "fashion-mnist" or "digits"',
    "Seed": "a whole number from 0 to below 2**63",
    "Whole": "a whole number from 0 to 10**7",
    "Count": "a whole number from 1 to 10**7",
    "Several": "a whole number from 2 to 10**4",
    "Widths": "a list of whole numbers from 1 to 10**5",
    "Number": "a number from 0",
    "Positive": "a number above 0",
    "Share": "a number above 0, at most 1",
    "UpToOne": "a number from 0 to 1",
    "Seeds": "a list of whole numbers from 0",
    "Wholes": "a list of whole numbers from 0",
    "Counts": "a list of whole numbers from 1",
    "Numbers": "a list of numbers from 0",
    "Positives": "a list of numbers above 0",
    "Shares": "a list of numbers above 0, at most 1",
    "UpToOnes": "a list of numbers from 0 to 1",
    "Pair": "a pair of numbers from 0",
    "Pairs": "a list of pairs of numbers from 0",
    "PositivePairs": "a list of pairs of numbers above 0",
    "Nets": "a list of lists of two or more whole numbers from 1 to 10**5",
    "Rows": "a list of rows of the table of methods",
}


def kind(name: str) -> Any:
    """The type that a parameters cell calls by this name."""
    return globals()[name]
