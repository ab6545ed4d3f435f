"""The types that a chapter's `parameters` cell names: what a parameter may be, as pydantic says and checks it."""

from typing import Annotated, Literal, TypeVar

from pydantic import Field

from nsr.data import NAMES
from nsr.training import METHODS

Entry = TypeVar("Entry")
NonEmpty = Annotated[list[Entry], Field(min_length=1, max_length=100)]
Pair = Annotated[list[Entry], Field(min_length=2, max_length=2)]

Dataset = Literal[NAMES]
Row = Literal[tuple(METHODS)]  # of the table of methods
Seed = Annotated[int, Field(ge=0, le=10**9)]
Index = Annotated[int, Field(ge=0, le=10**5)]
Count = Annotated[int, Field(ge=1, le=10**5)]
Several = Annotated[int, Field(ge=2, le=10**5)]
Width = Annotated[int, Field(ge=1, le=5000)]
Widths = Annotated[list[Width], Field(min_length=1, max_length=20)]  # of layers
Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
NonNegative = Annotated[float, Field(ge=0, le=1000)]
Positive = Annotated[float, Field(gt=0, le=1000)]
