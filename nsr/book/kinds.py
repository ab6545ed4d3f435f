"""What a parameter of a chapter may be: a `parameters` cell annotates its names with these, as in `n: Count = 100`."""

from typing import Annotated, Literal, TypeVar

from pydantic import Field

from nsr.data import NAMES
from nsr.training import METHODS

Entry = TypeVar("Entry")
NonEmpty = Annotated[list[Entry], Field(min_length=1, max_length=100)]
TwoOf = Annotated[list[Entry], Field(min_length=2, max_length=2)]

DataSet = Literal[NAMES]
Seed = Annotated[int, Field(ge=0, le=10**9)]
Whole = Annotated[int, Field(ge=0, le=10**5)]
Count = Annotated[int, Field(ge=1, le=10**5)]
Several = Annotated[int, Field(ge=2, le=10**5)]
Width = Annotated[int, Field(ge=1, le=5000)]
Number = Annotated[float, Field(ge=0, le=1000)]
Positive = Annotated[float, Field(gt=0, le=1000)]
Share = Annotated[float, Field(gt=0, le=1)]
UpToOne = Annotated[float, Field(ge=0, le=1)]
Pair = TwoOf[Number]

Seeds, Wholes, Counts = NonEmpty[Seed], NonEmpty[Whole], NonEmpty[Count]
Numbers, Positives, Shares, UpToOnes = NonEmpty[Number], NonEmpty[Positive], NonEmpty[Share], NonEmpty[UpToOne]
Pairs, PositivePairs = NonEmpty[Pair], NonEmpty[TwoOf[Positive]]
Row = Literal[tuple(METHODS)]  # of the table of methods
Rows = NonEmpty[Row]
Widths = Annotated[list[Width], Field(min_length=1, max_length=20)]
Nets = NonEmpty[Annotated[list[Width], Field(min_length=2, max_length=20)]]
