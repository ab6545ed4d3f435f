"""The companion runs are on equal terms, none is ordered for two reasons by mistake, and the protocol names them."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import asdict

from nsr import paths
from nsr.runs import companions
from nsr.runs.protocols import MEASUREMENTS, READINGS
from nsr.runs.sweep import Order

ORDERS = companions.orders()
PROTOCOL = " ".join((paths.CHAPTERS / "appendix" / "protocol.md").read_text().split())


def measured() -> dict[str, tuple[Order, set[str]]]:
    """Folder -> its specification and all that is ever measured of it."""
    found: dict[str, tuple[Order, set[str]]] = {}
    for order in ORDERS:
        found.setdefault(order.spec.folder, (order, set()))[1].update(order.measurements)
    return found


def test_two_rungs_of_one_ladder_are_two_runs() -> None:
    for ladder in (*companions.RADII.values(), *companions.STRENGTHS.values()):
        folders = [spec.folder for spec in companions.rungs(ladder, 0).values()]
        assert len(set(folders)) == len(folders) == len(ladder) + 1


def test_one_run_has_one_specification() -> None:
    specs = defaultdict(set)
    for order in ORDERS:
        specs[order.spec.folder].add(order.spec.key)
    assert all(len(keys) == 1 for keys in specs.values())


def test_all_runs_share_the_common_terms() -> None:
    for order in ORDERS:
        method = order.spec.method
        assert (method.optimiser, method.lr, method.clip, method.epochs, method.batch) == ("sgd", 0.2, 1.0, 8, 256)


def test_a_ladder_changes_nothing_but_what_it_is_a_ladder_of() -> None:
    foot = asdict(companions.spec("standard", 0).method)
    for name, ladder in companions.STRENGTHS.items():
        for strength, (row, numbers) in ladder.items():
            rung = asdict(companions.rungs(ladder, 0)[strength].method)
            changed = {key for key, value in rung.items() if value != foot[key]}
            assert row == "standard" and changed <= set(numbers), name


def test_everything_is_ordered_for_every_seed() -> None:
    seeds = defaultdict(set)
    for order, _ in measured().values():
        seeds[order.spec.model_copy(update={"seed": 0}).key].add(order.spec.seed)
    assert {frozenset(found) for found in seeds.values()} == {frozenset(companions.SEEDS)}


def test_every_measurement_that_is_ordered_exists_and_every_run_is_read() -> None:
    for order, what in measured().values():
        assert "inside" in what, order.spec.folder
        assert what <= {*MEASUREMENTS, *READINGS}


def test_the_strengths_of_equal_accuracy_lie_on_their_ladders_and_have_the_contours_they_are_compared_by() -> None:
    found = measured()
    assert set(companions.EQUAL) == set(companions.STRENGTHS)
    for name, strength in companions.EQUAL.items():
        for seed in companions.SEEDS:
            spec = companions.rungs(companions.STRENGTHS[name], seed)[strength]
            asked = {"few", "coarse", "coarse_own"} | ({"exact_few"} if seed == 0 else set())
            assert asked <= found[spec.folder][1], name


def test_kernels_are_trained_on_rungs_of_the_same_ladders() -> None:
    for name, strengths in companions.OF_KERNELS.items():
        assert set(strengths) <= set(companions.STRENGTHS[name])


# the protocol -------------------------------------------------------------------------------------------------------


def numbers(text: str) -> list[float]:
    return [float(word) for word in re.findall(r"\d+(?:\.\d+)?", text)]


def between(start: str, end: str) -> str:
    return PROTOCOL.partition(start)[2].partition(end)[0]


def test_the_protocol_has_the_common_terms() -> None:
    said = between("**Equal terms.** SGD with", "The rate was")
    terms = companions.TERMS
    assert numbers(said) == [0.9, terms["lr"], terms["clip"], terms["epochs"], terms["batch"], *companions.SEEDS]


def test_the_protocol_has_the_radii_of_every_ladder() -> None:
    inputs, weights, both = (numbers(part) for part in between("Training radii:", "Strengths:").split(";"))
    assert inputs == [0, *companions.RADII["inputs"]]
    assert weights == [0, *companions.RADII["weights"]]
    assert both == [0, *companions.RADII["both"]]
    ratios = {n["attack_x"] / n["attack_w"] for _, n in companions.RADII["both"].values()}
    assert all(abs(ratio - 20) < 1e-9 for ratio in ratios) and "a twentieth of it for weights" in PROTOCOL


def test_the_protocol_has_both_ends_of_every_ladder_of_strengths() -> None:
    said = numbers(re.sub(r"\$l_(?:1|\\infty)\$", "", between("Strengths:", ", four rungs each")))
    ends = [end for ladder in companions.STRENGTHS.values() for end in (next(iter(ladder)), list(ladder)[-1])]
    assert said == ends
    assert {len(ladder) for ladder in companions.STRENGTHS.values()} == {4}


def test_the_protocol_has_the_strength_that_equal_accuracy_is_measured_by() -> None:
    assert rf"at $\beta = {companions.EQUAL['zeta alone']}$" in PROTOCOL
