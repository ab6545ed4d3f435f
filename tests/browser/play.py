"""What the page computes where the reader moves the sliders is what `nsr` computes; `make test-browser`."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Browser, Locator, Page

from nsr import Budget, data
from nsr.attack import reference
from nsr.figures import play
from nsr.network import Network
from nsr.study import select
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
        if script == "play_attack.js":
            (tmp_path / "networks").mkdir()
            for name in play.NETWORKS:
                (tmp_path / "networks" / f"{name}.js").write_text(play.script(name, shipped(name)))
        links = f'<link rel="stylesheet" href="play.css"><script src="{script}"></script>'
        (tmp_path / "page.html").write_text(f"{HEAD}{links}<body>{body}</body></html>")
        page = context.new_page()
        page.on("pageerror", lambda error: pytest.fail(str(error)))
        page.goto((tmp_path / "page.html").as_uri())
        return page

    yield open_page
    context.close()


def shipped(name: str) -> Network:
    (run,) = select.stored(name)
    return run.network


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


# ---------------------------------------------------------------- attack it yourself


def ran(page: Page) -> Page:
    """The page once the attack that was asked for last has run."""
    page.locator(".nsr-play[aria-busy=false]").wait_for()
    return page


def logits(page: Page) -> torch.Tensor:
    """Clean and attacked logits [2, 10], to the last digit."""
    found = page.locator(".nsr-play-logits data").evaluate_all("all => all.map(one => Number(one.value))")
    return torch.tensor(found, dtype=torch.float64).view(10, 2).T


@pytest.mark.parametrize(
    ("name", "attackers", "eps_x", "eps_w", "steps"),
    [
        ("standard", "input and weights", 0.05, 0.004, 100),
        ("standard", "input", 0.1, 0.004, 20),
        ("at_beta_high", "weights", 0.1, 0.006, 30),
        ("joint_at", "input and weights", 0.15, 0.002, 40),
        ("joint_at", "input and weights", 0.15, 0.002, 0),
    ],
)
def test_the_attack_in_the_page_reaches_the_logits_of_the_package(
    opened: Callable[..., Page], name: str, attackers: str, eps_x: float, eps_w: float, steps: int
) -> None:
    page, net = opened(play.attack(), "play_attack.js"), play.rounded(shipped(name))
    test = data.load(play.DATASET, dtype=torch.float64).test
    page.get_by_label(play.METHODS[name].title, exact=True).check()
    page.get_by_label(attackers, exact=True).check()
    for label, value in (("input radius", eps_x), ("weight radius", eps_w), ("steps of the attack", steps)):
        page.get_by_label(label).fill(str(value))
    xi = Budget.uniform(eps_x * ("input" in attackers), eps_w * ("weights" in attackers), net)
    for digit in (2, 4, 7):
        page.get_by_role("group", name="Test image").get_by_role("radio").nth(digit).check()
        k = int((test.y == digit).nonzero()[0])
        x, y = test.x[k : k + 1], test.y[k : k + 1]
        x_hat, W_hat = reference.joint_pgd(net, x, y, xi, steps=steps)
        clean, attacked = net(x)[0], net.at(W_hat)(x_hat)[0]
        found = logits(ran(page))
        torch.testing.assert_close(found, torch.stack([clean, attacked]), atol=1e-4, rtol=0)
        words = page.locator("[aria-live]").inner_text()
        assert (
            f"reads the {digit} as {clean.argmax()}; after the attack on {attackers} as {attacked.argmax()}." in words
        )


def test_the_page_counts_the_weights_of_the_first_layer_that_have_moved(opened: Callable[..., Page]) -> None:
    page, net = ran(opened(play.attack(), "play_attack.js")), play.rounded(shipped(play.NETWORKS[0]))
    test, (digit, eps_x, eps_w) = data.load(play.DATASET, dtype=torch.float64).test, play.START.values()
    k = int((test.y == digit).nonzero()[0])
    _, W_hat = reference.joint_pgd(net, test.x[k : k + 1], test.y[k : k + 1], Budget.uniform(eps_x, eps_w, net))
    d = (W_hat[0] - net.W[0]).abs()
    words = page.locator(".nsr-play-live").inner_text().replace("\u00a0", " ")
    assert f"{int((d.sum(1) > 0).sum())} of the {len(d)} rows of W\u00b9 have moved" in words
    assert f"{100 * (d >= (1 - 1e-9) * eps_w).double().mean():.1f} % of its entries" in words
    page.get_by_label("input", exact=True).check()
    assert "W\u00b9 has not moved" in ran(page).locator(".nsr-play-live").inner_text()


def test_a_network_that_cannot_be_loaded_is_said_to_be_missing(opened: Callable[..., Page], tmp_path: Path) -> None:
    page = ran(opened(play.attack(), "play_attack.js"))
    (tmp_path / "networks" / "joint_at.js").unlink()
    page.get_by_label(play.METHODS["joint_at"].title, exact=True).check()
    page.get_by_text("could not be loaded").wait_for()


# ---------------------------------------------------------------- both


PLACES = [(play.theorem, "play_theorem.js"), (play.attack, "play_attack.js")]


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
