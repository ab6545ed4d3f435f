"""Two methods side by side in a browser show what `nsr` computes, whatever is chosen; `make test-browser`."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from nsr.runs import MEASUREMENTS
from nsr.study import compare, select
from nsr.training import METHODS

ROOT = Path(__file__).resolve().parents[2]
STATIC, PLOTLY = ROOT / "_static", ROOT / "_vendor" / "plotly"
HEAD = '<!doctype html><html lang="en" data-theme="light"><meta charset="utf-8"><title>compare</title>'
PHONE = {"width": 390, "height": 844}
PATIENCE = 120_000  # ms; a busy machine takes its time
RUNS = select.by_method()
START = "at", "joint_at"
KINDS = {compare.words(kind): kind for kind in MEASUREMENTS}
NAMES = {METHODS[name].title: name for name in METHODS}
Z = "all => all.map(plot => plot.data[0].z)"


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    """A page with the figure alone, opened from a folder as a reader without a server does."""
    shutil.copytree(STATIC, tmp_path / "_static")
    shutil.copytree(PLOTLY, tmp_path / "plotly")
    links = '<link rel="stylesheet" href="_static/book.css"><script src="_static/interactive.js"></script>'
    (tmp_path / "page.html").write_text(f"{HEAD}{links}<body>{compare.interactive(RUNS, *START)}</body></html>")
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.goto((tmp_path / "page.html").as_uri())
    page.wait_for_function("() => document.querySelectorAll('.nsr-plot-drawn .main-svg .gtitle').length >= 3")
    yield page
    page.close()


def choose(page: Page, label: str, choice: str) -> None:
    page.get_by_label(label).select_option(choice)


def offered(page: Page, label: str) -> list[str]:
    return page.get_by_label(label).locator("option").all_text_contents()


def chosen(page: Page) -> tuple[str, str, str]:
    """The kind of contour and the two methods that the controls show, as `nsr` calls them."""
    kind, left, right = (page.get_by_label(label).input_value() for label in ("Measured:", "Left:", "Right:"))
    return KINDS[kind], NAMES[left], NAMES[right]


def agrees(page: Page) -> None:
    """What is drawn, and what is said about it, is what `nsr` finds under the choice that the controls show."""
    kind, left, right = chosen(page)
    found = compare.shared(RUNS, kind, left, right)
    means = [select.mean_contour(found[name], kind) for name in (left, right)]
    before, after = (100 * mean.array.T for mean in means)
    drawn = [np.array(z) for z in page.locator(".nsr-plot-drawn").evaluate_all(Z)]
    for shown, expected in zip(drawn, (before, after, after - before), strict=True):
        np.testing.assert_allclose(shown, expected, atol=1e-4)
    titles = page.locator(".nsr-plot-drawn .gtitle").all_text_contents()
    for title, name, mean in zip(titles, (left, right), means, strict=False):
        told, auc = title.split("AUC ")
        assert told == f"{METHODS[name].title}, n = {len(found[name])}" and float(auc) == pytest.approx(
            mean.auc, abs=6e-4
        )
    words = page.locator(".nsr-plot-words").inner_text()
    assert f"both have: {', '.join(str(run.spec.seed) for run in found[left])}." in words
    for side, far in (("ahead", (after - before).max()), ("behind", (before - after).max())):
        if left != right:
            (said,) = re.findall(rf"{side} (?:by up to ([\d.]+) points|nowhere)", words)
            assert float(said or 0) == pytest.approx(max(0, far), abs=0.06) and bool(said) == (far > 1e-9)


def test_at_first_the_two_methods_of_the_static_figure_are_seen(page: Page) -> None:
    assert chosen(page) == ("paper", *START)
    agrees(page)


def test_every_kind_and_any_two_methods_show_the_means_and_the_difference_of_the_package(page: Page) -> None:
    draw = random.Random(0)
    for kind in offered(page, "Measured:"):
        choose(page, "Measured:", kind)
        for _ in range(3):
            for label in ("Left:", "Right:"):
                choose(page, label, draw.choice(offered(page, label)))
            agrees(page)


def test_what_was_measured_is_offered_and_nothing_else(page: Page) -> None:
    for kind in offered(page, "Measured:"):
        choose(page, "Measured:", kind)
        there = [METHODS[name].title for name, group in RUNS.items() if select.having(group, KINDS[kind])]
        assert offered(page, "Left:") == there and len(there) > 1
        for left in there:
            choose(page, "Left:", left)
            common = [
                right for right in there if compare.shared(RUNS, KINDS[kind], NAMES[left], NAMES[right])[NAMES[left]]
            ]
            assert offered(page, "Right:") == common


def test_the_same_method_twice_differs_nowhere(page: Page) -> None:
    for kind in offered(page, "Measured:"):
        choose(page, "Measured:", kind)
        choose(page, "Left:", offered(page, "Left:")[-1])
        choose(page, "Right:", page.get_by_label("Left:").input_value())
        *_, difference = page.locator(".nsr-plot-drawn").evaluate_all(Z)
        assert not np.any(difference) and "Twice the same" in page.locator(".nsr-plot-words").inner_text()


def test_the_colours_of_the_difference_have_zero_in_their_middle(page: Page) -> None:
    low, high = page.locator(".nsr-plot-drawn").last.evaluate("plot => [plot.data[0].zmin, plot.data[0].zmax]")
    *_, difference = page.locator(".nsr-plot-drawn").evaluate_all(Z)
    assert low == -high and np.abs(difference).max() <= high


def test_the_pointer_is_told_a_measured_difference_with_its_sign_and_its_radii(page: Page) -> None:
    plane = page.locator(".nsr-plot-drawn").last
    box = plane.locator(".nsewdrag").bounding_box()
    page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 0.4 * box["height"])
    plane.locator(".hoverlayer text").first.wait_for()
    told = re.sub("[\u200b]", "", plane.locator(".hoverlayer").text_content()).replace("\u2212", "-")
    ((eps_x, eps_w, said),) = re.findall(r"εx ([\d.]+), εw ([\d.]+): ([+-][\d.]+) points", told)
    kind, left, right = chosen(page)
    found = compare.shared(RUNS, kind, left, right)
    mean, other = (select.mean_contour(found[name], kind) for name in (left, right))
    i, j = mean.grid_x.index(float(eps_x)), mean.grid_w.index(float(eps_w))
    assert float(said) == pytest.approx(100 * (other.accuracy[i][j] - mean.accuracy[i][j]), abs=0.06)
    assert f"{METHODS[right].title} minus {METHODS[left].title}" in told


def test_the_keyboard_alone_reaches_another_pair(page: Page) -> None:
    before = chosen(page)
    page.get_by_label("Measured:").focus()
    for key in ("Tab", "ArrowDown", "Tab", "ArrowUp"):
        page.keyboard.press(key)
    assert all(a != b for a, b in zip(before[1:], chosen(page)[1:], strict=True))
    agrees(page)


def test_on_a_phone_the_planes_stand_one_above_the_other_and_nothing_scrolls_sideways(page: Page) -> None:
    page.set_viewport_size(PHONE)
    widest = "() => Math.max(...[...document.querySelectorAll('.nsr-plot-drawn .main-svg')].map(e => e.clientWidth))"
    page.wait_for_function(f"() => ({widest})() <= document.documentElement.clientWidth")
    assert page.evaluate("() => document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    boxes = [plot.bounding_box() for plot in page.locator(".nsr-plot-drawn").all()]
    assert all(a["y"] + a["height"] <= b["y"] for a, b in zip(boxes, boxes[1:], strict=False))


def test_a_tap_chooses_and_the_planes_follow(browser: Browser, page: Page) -> None:
    context = browser.new_context(has_touch=True, is_mobile=True, viewport=PHONE)
    phone = context.new_page()
    phone.goto(page.url)
    phone.locator(".nsr-plot-drawn .gtitle").nth(2).wait_for()
    phone.get_by_label("Left:").tap()
    choose(phone, "Left:", METHODS["standard"].title)
    agrees(phone)
    phone.locator(".nsr-plot-drawn").first.locator(".nsewdrag").tap()
    phone.locator(".nsr-plot-drawn").first.locator(".hoverlayer text").first.wait_for()
    context.close()
