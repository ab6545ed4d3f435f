"""The ledger: each claim of the paper, the test that decides it, the numbers from stored runs, the verdict.

A claim is tested as differences, each written so that the paper's claim puts it above zero and paired by seed, in
several settings: who attacks, absolute or relative weight radii, how the nets were trained. No verdict is written by
hand: it is reproduced if the claim holds in every setting that is measured, not reproduced if in none, and depends if
settings disagree; on what, is read off settings that differ in one thing only. It is open if the paper's own setting,
its attack with absolute radii (measured in full where all rows are those of Figure 1), is measured from too few seeds
or lacks one of the claim's differences; where another one is so, it is named beside the verdict.
"""

from nsr.study.claims.numbers import CONTOURS, GAIN, WORDS, mean_contours, missing, ranking, shelf, used
from nsr.study.claims.page import (
    MARKDOWN,
    SHIPPED,
    bands,
    by_contour,
    differences,
    having,
    markdown,
    matrix,
    number,
    other,
    page,
    to_json,
)
from nsr.study.claims.table import CLAIMS, ledger
from nsr.study.claims.verdict import Rules

__all__ = [
    "CLAIMS",
    "CONTOURS",
    "GAIN",
    "MARKDOWN",
    "SHIPPED",
    "WORDS",
    "Rules",
    "bands",
    "by_contour",
    "differences",
    "having",
    "ledger",
    "markdown",
]
__all__ += ["matrix", "mean_contours", "missing", "number", "other", "page", "ranking", "shelf", "to_json", "used"]
