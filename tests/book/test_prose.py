"""Prose says what to look for; results come from code: one typed by hand would outlive its run."""

from __future__ import annotations

import json
import re

import nbformat
import pytest

from nsr import paths
from nsr.book.headlines import headlines

CHAPTERS = sorted(paths.CHAPTERS.glob("*.ipynb"))

# what is no prose: blocks of code, equations, indented code, roles and code in a line, links' addresses, citations
NO_PROSE = (
    r"(?ms)^(`{3,}|~{3,}).*?^\1",
    r"(?s)\$\$.*?\$\$",
    r"(?s)\$[^$]*\$",
    r"(?m)^(?: {4}|\t).*$",
    r"(?s)\{[\w:.-]+\}`[^`]*`",
    r"`[^`]*`",
    r"\]\([^)]*\)",
)
# what looks like a result: a number with decimals, a share, a factor, points
RESULT = re.compile(r"(?<![\w.-])\d+\.\d+(?!\.\d)|\d\s?%|\b\d+ (?:points?|times|percent)\b|\b\d+(?:x|-fold)\b")
# choices that prose may name: levels of confidence, versions, numbered parts; any other is written as $0.3$
CHOSEN = (r"\b9\d(?:\.\d)? % (?:confidence|intervals?|level)", r"(?:version|Section|section) \d+\.\d+")


def results(prose: str) -> list[str]:
    """What looks like a result in a markdown cell, each with the words around it."""
    for pattern in (*NO_PROSE, *CHOSEN):
        prose = re.sub(pattern, " ", prose)
    return [" ".join(prose[max(0, m.start() - 30) : m.end() + 15].split()) for m in RESULT.finditer(prose)]


def test_no_result_is_typed_into_a_chapters_prose() -> None:
    typed = [
        f"{path.stem}: {found}"
        for path in CHAPTERS
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "markdown"
        for found in results(cell.source)
    ]
    assert not typed, "print or glue a result; write a choice as $0.3$"


@pytest.mark.parametrize(
    "prose",
    ["the AUC is 0.31", "it falls to 50 %", "by 50%", "4 points lower", "a 3x step", "2.5 times", "12 times as long"],
)
def test_a_typed_result_is_found(prose: str) -> None:
    assert len(results(prose)) >= 1


@pytest.mark.parametrize(
    "prose",
    [
        "with $0.31$ and\n$$\nx = 0.5\n$$ (eq-a)",
        "{glue:text}`auc:.2f` of {glue:text}`share:.0f` %",
        "a `0.5` and a [link](page-0.5.html)",
        "```{code}\n0.5\n```\nafter",
        "    nsr run 04 -p eps_x 0.5",
        "its 95 % interval, in Section 4.1, for 100 images, with two layers and a 1-2-1-2 net",
    ],
)
def test_equations_code_and_choices_are_no_typed_results(prose: str) -> None:
    assert not results(prose)


def test_the_story_of_the_first_page_is_what_the_ledger_says() -> None:
    claims = {claim["name"]: claim for claim in json.loads((paths.ROOT / "data" / "claims.json").read_text())["claims"]}
    assert claims["C8"]["verdict"] == claims["C9"]["verdict"] == "not reproduced"  # Theorem 1 is false, min-max works
    # the two that hold in every setting
    assert {name for name, claim in claims.items() if claim["verdict"] == "reproduced"} == {"C6", "C10"}

    def sides(claim: str, what: str, setting: str = "") -> list[str]:
        cases = [case for case in claims[claim]["cases"] if setting in case["setting"]]
        return [d["on the claim's side"] for case in cases for d in case["differences"] if what in d["what"]]

    assert set(sides("C7", "AT: promised by both edges")) == {"yes"}  # withstood alone, lost together
    assert set(sides("C4", "JIWP - AT, joint AUC", "absolute radii")) == {"the other side"}  # nothing on relative radii
    assert set(sides("C8", "AT - Joint AT, joint AUC")) == {"the other side"}  # min-max is ahead under every attack
    gains = {case["setting"]: case["differences"][0] for case in claims["C5a"]["cases"]}
    weak = {setting: gain for setting, gain in gains.items() if "paper's attack" in setting}
    assert all(gain["mean"] < 0.1 for gain in weak.values())  # a share of AT's AUC: little or nothing
    assert {gain["on the claim's side"] for setting, gain in gains.items() if setting not in weak} == {"yes"}


def _glued(chapter: str, name: str) -> float:
    cells = nbformat.read(next(path for path in CHAPTERS if path.stem.startswith(chapter)), as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", ()) if "metadata" in output]
    (found,) = (o for o in outputs if o.metadata.get("scrapbook", {}).get("name") == name)
    return float(found.data["application/papermill.record/text/plain"])


def test_the_story_of_the_first_page_is_what_the_chapters_say() -> None:
    said = {path.stem[3:]: headlines(nbformat.read(path, as_version=4)) for path in CHAPTERS}
    assert _glued("04", "printed-share") < 1  # % of the repaired bound's rise: the repair costs almost nothing
    promised, robust, still_open = (float(said["truth"][name]) for name in ("promised", "robust-both", "share-open"))
    assert promised < 0.05 * robust and still_open < 10  # % of the images: almost none of the robust ones, few open
