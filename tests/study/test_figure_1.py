"""Claims about Figure 1: six panels from whatever runs there are, the same bytes each time, cells that repeat."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import nsr.runs
from nsr import contour, data, mlp, mlp_init, paths
from nsr.attack import Ascent, Attack
from nsr.contour import Contour, Protocol
from nsr.runs import Measurement, Run
from nsr.study import figure_1, select, statistics
from nsr.training import METHODS, PANELS

PART = {"code": {"train": "aaaa"}, "data": {"images": "0123456789"}, "package": "0.1.0", "seconds": 1.0}
TINY = Measurement(Protocol((0.0, 0.1, 0.2), (0.0, 0.01), (0.0, 0.1), images=30), Attack((Ascent(5),)))
SURE = replace(TINY, attack=None, method="tight")
KINDS = ("paper", "full", "strong", "relative", "per_sample")


def plane(height: float, grid_x=(0.0, 0.1, 0.3), grid_w=(0.0, 0.004, 0.01)) -> Contour:
    rows = tuple(tuple(height * (1 - a / 0.4) * (1 - b / 0.02) for b in grid_w) for a in grid_x)
    return Contour(grid_x, grid_w, rows)


def run(name: str, seed: int = 0, **contours: Contour) -> Run:
    net = mlp(mlp_init((64, 8, 10), torch.Generator().manual_seed(seed)))
    spec = nsr.runs.spec(name, seed, dataset="digits", sizes=(64, 8, 10))
    return Run(spec, net, (), contours, {"training": PART, "contours": {}}, Path(), ())


@pytest.fixture(scope="module")
def runs():
    sure = plane(0.5, (0.0, 0.05, 0.1), tuple(8 * k / 10_000 for k in range(6)))
    heights = [plane(0.9 + seed / 100) for seed in range(3)]
    group = {name: tuple(run(name, k, paper=p, full=p) for k, p in enumerate(heights)) for name in PANELS[:-1]}
    return {
        **group,
        "at": tuple(run("at", k, paper=plane(0.8), full=plane(0.8), certified=sure, tight=sure) for k in range(2)),
        "jiwp": (),
    }


def titles(figure) -> list[str]:
    return [ax.get_title() for ax in figure.axes if ax.get_title()]


def test_figure_1_has_the_papers_six_panels_in_order_with_their_aucs(runs):
    drawn = titles(figure_1.figure(runs))
    names = [METHODS[name].title for name in PANELS]
    assert [text.split(", n")[0].split("\n")[0] for text in drawn] == [
        f"({letter}) {name}" for letter, name in zip("abcdef", names, strict=True)
    ]
    expected = statistics.estimate(select.aucs(runs["standard"], "full").values())
    assert drawn[0] == f"(a) Standard, n = 3\nAUC {expected}"


def test_no_title_of_a_panel_lies_on_another(runs):
    figure = figure_1.figure(runs)
    figure.draw_without_rendering()
    boxes = [ax.title.get_window_extent() for ax in figure.axes if ax.get_title()]
    assert len(boxes) == 6 and not [(a, b) for k, a in enumerate(boxes) for b in boxes[:k] if a.overlaps(b)]


def test_a_panel_without_runs_says_so(runs):
    *_, last = [ax for ax in figure_1.figure(runs).axes if ax.get_title()]
    assert [text.get_text() for text in last.texts] == ["not measured"]
    assert all("not measured" in ax.texts[0].get_text() for ax in figure_1.figure({}).axes)


def test_one_seed_can_be_drawn_alone(runs):
    assert "n = 1\nAUC" in titles(figure_1.figure(figure_1.of(runs, [1])))[0]
    assert "(one seed)" in titles(figure_1.figure(figure_1.of(runs, [1])))[0]


def test_the_vector_files_are_the_same_each_time_and_hold_the_aucs_as_text(runs):
    once, again = (figure_1.vectors(figure_1.figure(runs)) for _ in range(2))
    assert once == again and set(once) == {"svg", "pdf"}
    assert str(statistics.estimate(select.aucs(runs["at"], "full").values())) in once["svg"].decode()


def test_the_shipped_vector_figure_shows_the_shipped_runs():
    shown = (paths.CHAPTERS / "figures" / f"{figure_1.NAME}.svg").read_text()
    for name, group in figure_1.of(select.by_method(), range(5)).items():
        found = statistics.estimate(select.aucs(group, "full").values())
        assert f"AUC {found}" in shown, f"{name} has changed: run make chapters"


@pytest.mark.parametrize(("kind", "what"), [("paper", TINY), ("certified", SURE)])
def test_a_cell_measured_again_agrees_and_a_changed_one_does_not(monkeypatch, kind, what):
    monkeypatch.setitem(nsr.runs.MEASUREMENTS, kind, what)
    blank = run("at")
    samples = data.load("digits").test.first(30)
    arguments = blank.network, samples.x, samples.y, what.protocol.grid_x, what.grid_w
    found = contour.measure(*arguments, attack=what.attack) if what.attack else contour.certified(*arguments)
    honest = replace(blank, contours={kind: found})
    checks = figure_1.again([honest], kind, 3, torch.Generator().manual_seed(0))
    assert len(checks) == 3 and all(c.agrees and c.stored == c.live for c in checks)
    assert all(c.eps_x > 0 and c.eps_w > 0 for c in checks)
    raised = replace(found, accuracy=tuple(tuple(min(1.0, a + 0.05) for a in row) for row in found.accuracy))
    (check,) = figure_1.again([replace(blank, contours={kind: raised})], kind, 1, torch.Generator().manual_seed(0))
    assert not check.agrees


def test_the_whole_plane_is_the_auc_and_a_cut_is_not(runs):
    whole, half = (figure_1.within(runs, "paper", share, share) for share in (1.0, 0.5))
    assert whole["at"] == pytest.approx(select.aucs(runs["at"], "paper"))
    assert half["at"][0] > whole["at"][0] and "jiwp" not in whole


def test_certified_and_attacked_meet_at_the_radii_that_both_grids_have(runs):
    found = figure_1.shared_cells(runs["at"][0], "certified", "paper")
    assert len(found) == 4 and all(sure < hard for sure, hard in found)  # eps_x 0 and .1, eps_w 0 and .004
    assert figure_1.shared_cells(runs["standard"][0], "certified", "paper") == []


def test_accuracy_that_rises_with_a_radius_is_seen_on_either_axis():
    falling = Contour((0.0, 0.1), (0.0, 0.1), ((0.9, 0.5), (0.4, 0.2)))
    assert figure_1.rise(falling) == 0
    assert figure_1.rise(replace(falling, accuracy=((0.9, 0.5), (0.4, 0.6)))) == pytest.approx(0.2)
    assert figure_1.rise(replace(falling, accuracy=((0.5, 0.5), (0.8, 0.4)))) == pytest.approx(0.3)


def test_a_weight_set_of_its_own_for_each_image_lowers_no_auc_below_that_of_one_for_all():
    net = mlp(mlp_init((64, 8, 10), torch.Generator().manual_seed(0)))
    one, all_six = figure_1.by_crowd(net, data.load("digits").test.first(6), (0.0, 0.05), (0.0, 0.02), (1, 6), 10)
    assert 0 <= one <= all_six <= 1


def views(page: str) -> dict[tuple[str, ...], dict]:
    """What a page of interactive views offers, by the choices that lead to it."""
    (found,) = re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    known = json.loads(found)["views"]
    assert len({tuple(view["at"]) for view in known}) == len(known)
    return {tuple(view["at"]): view for view in known}


def test_the_interactive_figure_offers_every_panel_that_is_measured_and_no_other(runs):
    known = views(figure_1.interactive(runs, {"paper": "attacked", "strong": "not there", "certified": "certified"}))
    assert list(known) == [
        ("attacked", "on clean inputs", "0"),
        ("attacked", "on clean inputs", f"{METHODS['weight_perturb'].beta:g}"),
        *(
            ("attacked", "on attacked inputs", f"{METHODS[name].beta:g}")
            for name in ("at", "at_beta_low", "at_beta_high")
        ),
        ("certified", "on attacked inputs", "0"),
    ]


def test_under_the_pointer_stands_the_mean_accuracy_and_the_number_of_seeds(runs):
    known = views(figure_1.interactive(runs, {"paper": "attacked"}))
    filled, *_ = known["attacked", "on clean inputs", "0"]["data"]
    mean = select.mean_contour(runs["standard"], "paper")
    assert (filled["x"], filled["y"]) == ([*mean.grid_x], [*mean.grid_w])
    for j, row in enumerate(filled["z"]):
        assert row == pytest.approx([100 * column[j] for column in mean.accuracy], abs=0.01)
    assert f"{METHODS['standard'].title}, n = 3" in filled["hovertemplate"]


def test_the_interactive_figure_names_its_runs_once_and_says_when_they_are_stale(runs):
    page = figure_1.interactive(runs, {"paper": "attacked", "certified": "certified"})
    assert page.count("14 runs, seeds 0-2") == 1 and "STALE" not in page
    old = {"at": tuple(replace(run, stale=("loss",)) for run in runs["at"])}
    assert "STALE: loss" in figure_1.interactive(old, {"paper": "attacked"})


def test_the_shipped_figure_is_small_and_the_same_each_time():
    shipped, kinds = figure_1.of(select.by_method(), range(5)), {kind: kind for kind in KINDS}
    once, again = (figure_1.interactive(shipped, kinds) for _ in range(2))
    assert once == again and len(once) < 150_000
    assert figure_1.interactive({}, kinds) == "<p>not measured</p>"


def test_the_line_of_half_the_images_is_drawn_for_every_method_that_crosses_it(runs) -> None:
    low = {"standard": tuple(run("standard", seed, paper=plane(0.4)) for seed in range(2))}
    figure = figure_1.halves({**runs, **low}, "paper")
    (ax,), (legend,) = figure.axes, figure.legends
    crossing = [METHODS[name].title for name, group in runs.items() if group and name != "standard"]
    assert [text.get_text() for text in legend.get_texts()] == crossing
    on_the_line = [c.get_paths()[0].vertices for c in ax.collections]
    heights = [0.9 + 1 / 100 if name != "at" else 0.8 for name, group in runs.items() if group and name != "standard"]
    for height, line in zip(heights, on_the_line, strict=True):
        x, w = line[0]
        assert height * (1 - x / 0.4) * (1 - w / 0.02) == pytest.approx(0.5, abs=0.05)


def test_the_certified_corner_is_hatched_where_half_of_the_images_are_certified(runs) -> None:
    sure = {
        **runs,
        "at": tuple(run("at", s, full=plane(0.8), certified=plane(0.9, (0.0, 0.05, 0.3))) for s in range(2)),
    }
    figure = figure_1.figure(sure)
    hatched = [any(getattr(part, "hatches", [None])[0] for part in ax.collections) for ax in figure.axes[:6]]
    assert hatched == [name == "at" for name in PANELS]
