"""What a benchmark reads: a file of the public benchmark of verifiers is the problem that is solved, or is refused."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch

from nsr.budget import UNIT, Budget
from nsr.network import mlp
from nsr.paths import ROOT

IMAGE = (0, 3, 128, 252, 255)
EPS = 0.03
LABEL = 1


@pytest.fixture(scope="module")
def vnncomp() -> Iterator[ModuleType]:
    """The script as a module, which finds its neighbours as it does when it is run."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        yield import_module("vnncomp")
    for name in {"vnncomp", "bounds"} - before:
        sys.modules.pop(name, None)


def vnnlib(low: torch.Tensor, high: torch.Tensor, classes: int = 3) -> str:
    declared = [f"(declare-const X_{i} Real)" for i in range(len(low))]
    declared += [f"(declare-const Y_{j} Real)" for j in range(classes)]
    box = [
        f"(assert (<= X_{i} {b}))\n(assert (>= X_{i} {a}))"
        for i, (a, b) in enumerate(zip(low.tolist(), high.tolist(), strict=True))
    ]
    others = [f"    (and (>= Y_{j} Y_{LABEL}))" for j in range(classes) if j != LABEL]
    return "\n".join(["; property with label: 1. (", *declared, "", *box, "(assert (or", *others, "))"])


@pytest.fixture
def text() -> str:
    x = torch.tensor(IMAGE) / 255
    return vnnlib(*Budget(EPS, ()).interval(x, UNIT))


@pytest.fixture
def file(text: str, tmp_path: Path) -> Path:
    path = tmp_path / "prop_7_0.03.vnnlib"
    path.write_text(text)
    return path


def test_a_file_gives_back_its_image_label_and_box(vnncomp: ModuleType, file: Path) -> None:
    problem = vnncomp.problem_of(file)
    assert (problem.x * 255).round().int().tolist() == list(IMAGE)
    assert (problem.y, problem.eps) == (LABEL, EPS)
    assert problem.off(torch.float32) == 0


def test_the_radius_in_float64_leaves_nothing_of_the_published_box_out(vnncomp: ModuleType, file: Path) -> None:
    problem = vnncomp.problem_of(file)
    low, high = Budget(problem.reach, ()).interval(problem.x, UNIT)
    assert (low <= problem.low + 1e-15).all() and (high >= problem.high - 1e-15).all()
    assert problem.reach == pytest.approx(EPS, abs=1e-7)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("(and (>= Y_0 Y_1))", "(and (>= Y_0 Y_1) (<= Y_2 Y_1))", "left over"),
        ("    (and (>= Y_2 Y_1))\n", "", "every other class"),
        ("(and (>= Y_2 Y_1))", "(and (>= Y_1 Y_2))", "every other class"),
        ("(assert (>= X_0 0.0))", "", "lower and an upper end"),
        ("(assert (>= X_0 0.0))", "(assert (>= X_0 X_1))", "left over"),
        ("(assert (>= X_0 0.0))", "(assert (>= X_0 0.0)) (assert (>= X_0 0.5))", "twice"),
        ("(declare-const X_4 Real)", "", "lower and an upper end"),
    ],
)
def test_a_file_that_asks_anything_else_is_refused(
    vnncomp: ModuleType, text: str, old: str, new: str, why: str
) -> None:
    assert old in text
    with pytest.raises(ValueError, match=why):
        vnncomp.parse(text.replace(old, new))


@pytest.mark.parametrize("eps", ["0.02", "0.05"])
def test_a_box_of_another_radius_than_its_name_says_is_refused(vnncomp: ModuleType, file: Path, eps: str) -> None:
    with pytest.raises(ValueError, match="radius"):
        vnncomp.problem_of(file.rename(file.with_name(f"prop_7_{eps}.vnnlib")))


def test_a_violating_input_counts_only_inside_the_published_box(vnncomp: ModuleType, file: Path) -> None:
    problem = vnncomp.problem_of(file)
    # the label's logit is 0, that of class 2 is the first input less a threshold
    W = torch.zeros(3, 5, dtype=torch.float64)
    W[2, 0] = 1.0
    for threshold, expected in ((EPS / 2, True), (2 * EPS, False)):
        network = mlp((W, torch.tensor([-1.0, 0.0, -threshold], dtype=torch.float64)))
        assert vnncomp.reaches(network, problem, problem.x + 3 * EPS) is expected


def test_most_tools_make_the_published_verdict(vnncomp: ModuleType, tmp_path: Path) -> None:
    said = {"one": ("holds", 9.0), "two": ("UNSAT", 2.0), "three": ("SAT", 1.0), "four": ("timeout", 120.0)}
    said["RPM"] = ("violated", 0.1)
    for tool, (word, seconds) in said.items():
        row = f"mnistfc,./b/mnist-net_256x2.onnx,./b/prop_7_0.03.vnnlib,.1,{word},{seconds}\n"
        (tmp_path / f"{tool}.csv").write_text(row + row.replace("mnistfc", "another"))
    key = ("256x2", "prop_7_0.03")
    answers = vnncomp.published(tmp_path)
    assert vnncomp.vote(answers, key) == vnncomp.Vote(4, "holds", 2, 3, "two", 2.0)
    del answers["two"]
    assert vnncomp.vote(answers, key).word == "open"


@pytest.mark.parametrize(
    ("ours", "eps_w", "expected"),
    [("holds", 0.0, False), ("violated", 0.0, True), ("violated", 1e-3, False), ("open", 0.0, False)],
)
def test_a_violation_by_weights_contradicts_no_published_verdict(
    vnncomp: ModuleType, ours: str, eps_w: float, expected: bool
) -> None:
    vote = vnncomp.Vote(3, "holds", 3, 3, "one", 2.0)
    assert vnncomp.Answer("256x2", eps_w, "prop_7_0.03", ours, 1.0, vote, None).contradicts is expected
