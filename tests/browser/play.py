"""What the page computes where the reader moves the sliders is what `nsr` computes; `make test-browser`."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page

from nsr.figures import play
from nsr.theory import counterexamples
from nsr.theory.counterexamples import COUNTEREXAMPLE, COUNTEREXAMPLE_JOINT, Instance, rational

STATIC = Path(__file__).resolve().parents[2] / "_static"
HEAD = '<!doctype html><html lang="en"><meta charset="utf-8"><title>play</title>'
PHONE = {"width": 390, "height": 844}
SHAPES = [(1,), (2, 1), (1, 2), (2, 1)]  # of x, W^1, W^2, W^3 of the counterexample


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """HTML of `play` -> a page that holds it, opened from a folder as a reader without a server does."""
    context = browser.new_context()

    def open_page(body: str, script: str) -> Page:
        for file in (script, "play.css"):
            (tmp_path / file).write_bytes((STATIC / file).read_bytes())
        links = f'<link rel="stylesheet" href="play.css"><script src="{script}"></script>'
        (tmp_path / "page.html").write_text(f"{HEAD}{links}<body>{body}</body></html>")
        page = context.new_page()
        page.on("pageerror", lambda error: pytest.fail(str(error)))
        page.goto((tmp_path / "page.html").as_uri())
        return page

    yield open_page
    context.close()


def number(page: Page, k: int) -> float:
    """The k-th number beside a bar, to the last digit."""
    return float(page.locator(".nsr-play-bars data").nth(k).get_attribute("value"))


def in_order(values: list[float]) -> list:
    """The sliders' values as x, W^1, W^2, W^3."""
    rest, found = iter(values), []
    for shape in SHAPES:
        flat = rational([repr(next(rest)) for _ in range(shape[0] * (shape[1] if len(shape) > 1 else 1))])
        found.append(flat.reshape(shape))
    return found


def sliders(page: Page) -> list[Locator]:
    return page.locator("input[type=range]").all()


# ---------------------------------------------------------------- break the theorem


@pytest.mark.parametrize("case", [COUNTEREXAMPLE, COUNTEREXAMPLE_JOINT])
def test_the_margin_under_the_sliders_and_the_bounds_are_those_of_the_package(
    opened: Callable[..., Page], case: Instance
) -> None:
    page, draw = opened(play.theorem(), "play_theorem.js"), random.Random(0)
    if case.eps_x:
        page.get_by_label("the input moves, too").check()
    found = sliders(page)
    assert len(found) == sum(W_m.size for W_m in case.W) + case.x.size
    for _ in range(8):
        for one in found:
            low, step = (float(one.get_attribute(name)) for name in ("min", "step"))
            if one.is_enabled():
                one.fill(f"{low + step * draw.randrange(41):.6g}")
        x_hat, *W_hat = in_order([float(one.input_value()) for one in found])
        there = replace(case, x_hat=x_hat, W_hat=tuple(W_hat))  # it refuses a point outside the ball
        known = counterexamples.attained(there), counterexamples.printed(case), counterexamples.repaired(case)
        assert [number(page, k) for k in range(3)] == pytest.approx([float(v) for v in known], abs=1e-9)


@pytest.mark.parametrize("case", [COUNTEREXAMPLE, COUNTEREXAMPLE_JOINT])
def test_the_page_says_so_where_the_margin_exceeds_the_printed_bound(
    opened: Callable[..., Page], case: Instance
) -> None:
    page = opened(play.theorem(), "play_theorem.js")
    words = page.locator("[aria-live]")
    assert "is below the printed bound" in words.inner_text() and page.locator(".nsr-play-broken").count() == 0
    if case.eps_x:
        page.get_by_label("the input moves, too").check()
    page.get_by_role("button", name="Show the worst corner").click()
    over = counterexamples.attained(case) - counterexamples.printed(case)
    assert f"by {float(over):g}: the theorem is false" in words.inner_text()
    assert page.locator(".nsr-play-broken").count() == 1
    page.get_by_role("button", name="Back to the clean weights").click()
    assert number(page, 0) == float(counterexamples.clean(case)) and page.locator(".nsr-play-broken").count() == 0


def test_the_keyboard_alone_reaches_a_margin_above_the_printed_bound(opened: Callable[..., Page]) -> None:
    page = opened(play.theorem(), "play_theorem.js")
    page.get_by_label("layer 1, row 1, column 1").focus()
    for key in ("End", "Home", "End", "End", "End", "Home"):  # of W^1, W^2 and W^3
        page.keyboard.press(key)
        page.keyboard.press("Tab")
    assert number(page, 0) == float(counterexamples.attained(COUNTEREXAMPLE))
    assert Fraction(number(page, 0)) > counterexamples.printed(COUNTEREXAMPLE)


# ---------------------------------------------------------------- both


PLACES = [(play.theorem, "play_theorem.js")]


@pytest.mark.parametrize(("make", "script"), PLACES)
def test_it_fits_a_phone_names_every_control_and_gives_way_to_words_on_paper(
    opened: Callable[..., Page], make: Callable[[], str], script: str
) -> None:
    page = opened(make(), script)
    page.set_viewport_size(PHONE)
    page.locator(".nsr-play-live").wait_for()
    assert page.evaluate("() => document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    nameless = "all => all.filter(e => !e.getAttribute('aria-label') && !e.labels?.[0]?.textContent.trim()).length"
    assert page.locator("input, select").evaluate_all(nameless) == 0
    instead = page.locator(".nsr-play-instead")
    assert not instead.is_visible()
    page.emulate_media(media="print")
    assert instead.is_visible() and not page.locator(".nsr-play-live").is_visible()


@pytest.mark.parametrize(("make", "script"), PLACES)
def test_without_scripts_a_sentence_stands_in_its_place(
    browser: Browser, tmp_path: Path, make: Callable[[], str], script: str
) -> None:
    (tmp_path / "page.html").write_text(f"{HEAD}<body>{make()}</body></html>")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    assert len(page.locator(".nsr-play-instead").inner_text().split()) > 10
    context.close()
