"""Every page of the built book in Chromium with the network blocked; `make test-browser`, not part of `make test`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, Request, Route, ViewportSize

HTML = Path(__file__).resolve().parents[2] / "_build" / "html"
# index.html only leads on to intro.html; the theme leaves pieces of templates in _static
FILES = {path.relative_to(HTML) for path in HTML.rglob("*.html")}
PAGES = sorted(str(path) for path in FILES if path.parts[0] not in {"_static", "index.html"})
PATIENCE = 120_000  # ms; a busy machine takes its time over a page of formulas
HEAVIEST = 2_500_000  # bytes
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1400, "height": 900}

# formulas that MathJax has left alone: marked elements without a rendering, and delimiters in running text
UNRENDERED = """() => {
  const bare = [...document.querySelectorAll('.math')].filter(e => !e.querySelector('mjx-container'));
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const raw = [];
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (/\\\\[(\\[]/.test(node.data) && !node.parentElement.closest('pre, code, script, style, mjx-container'))
      raw.push(node.data);
  }
  return [...bare.map(e => e.textContent), ...raw];
}"""
# an interactive figure whose plot has not been drawn, says nothing, or is wider than its place
POOR_PLOTS = """() => [...document.querySelectorAll('div.nsr-plot')].filter(place => {
  const plots = [...place.querySelectorAll('.nsr-plot-drawn')];
  return !plots.length || plots.some(plot => !plot.querySelector('.main-svg text')?.textContent
    || !plot.getAttribute('aria-label') || plot.scrollWidth > place.clientWidth);
}).map(place => place.getAttribute('aria-label'))"""
DRAWN = "() => [...document.querySelectorAll('div.nsr-plot')].every(place => place.querySelector('.main-svg'))"
WIDER_THAN_THE_PAGE = """() => {
  const root = document.documentElement;
  if (root.scrollWidth <= root.clientWidth) return [];
  const wide = [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > root.clientWidth);
  return [`${root.scrollWidth} px`, ...wide.slice(0, 5).map(e => e.outerHTML.slice(0, 120))];
}"""
# boxes of an article that hide a part of their width until they are scrolled
SCROLLED_SIDEWAYS = """() => [...document.querySelectorAll('.bd-article *')].filter(e => e.checkVisibility()
  && e.scrollWidth > e.clientWidth + 1 && ['auto', 'scroll'].includes(getComputedStyle(e).overflowX)
).map(e => `${e.scrollWidth} in ${e.clientWidth} px: ${e.outerHTML.slice(0, 120)}`)"""
# what can be chosen in a closed box that is narrower, unless the words below begin with what is chosen there
CUT_CHOICES = """() => [...document.querySelectorAll('.bd-article select')].flatMap(select => {
  const words = select.closest('.nsr-plot')?.querySelector('.nsr-plot-words')?.textContent;
  return [...select.options].filter(option => {
    const alone = select.cloneNode(false);
    alone.append(option.cloneNode(true));
    alone.style.cssText = 'position: absolute; width: max-content; max-width: none';
    document.body.append(alone);
    const needed = alone.offsetWidth;
    alone.remove();
    return needed > select.offsetWidth && !words?.startsWith(`${select.value}.`);
  }).map(option => option.text);
})"""

# text of an article whose contrast with what lies behind it is below that of WCAG AA: 4.5, or 3 for large letters
PALE = r"""() => {
  const parse = text => { const p = text.match(/[\d.]+/g).map(Number); return p.length < 4 ? [...p, 1] : p; };
  const over = (top, under) => [0, 1, 2].map(k => top[3] * top[k] + (1 - top[3]) * under[k]);
  const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = rgb => [0.2126, 0.7152, 0.0722].reduce((sum, w, k) => sum + w * linear(rgb[k] / 255), 0);
  const above = e => { const all = []; for (; e; e = e.parentElement) all.push(getComputedStyle(e)); return all; };
  const walker = document.createTreeWalker(document.querySelector('.bd-article'), NodeFilter.SHOW_TEXT);
  const found = new Set();
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    const seen = e.checkVisibility({visibilityProperty: true, opacityProperty: true});
    if (!walker.currentNode.data.trim() || !seen || e.closest('svg, .nsr-plot')) continue;
    const styles = above(e), [style] = styles;
    const back = styles.toReversed().reduce((under, s) => over(parse(s.backgroundColor), under), [255, 255, 255]);
    const ink = parse(style.color);
    ink[3] *= styles.reduce((alpha, s) => alpha * Number(s.opacity), 1);
    const [bright, dark] = [light(over(ink, back)), light(back)].sort((a, b) => b - a);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const ratio = (bright + 0.05) / (dark + 0.05);
    if (ratio < (large ? 3 : 4.5)) found.add(`${e.tagName}.${e.className} ${ratio.toFixed(2)} ${style.color}`);
  }
  return [...found];
}"""

# figures of cells that are squeezed, as wide against high as no picture of theirs is, or that lead to no full size
POOR_FIGURES = """() => [...document.querySelectorAll('.cell_output img')].filter(img => {
  const pad = side => parseFloat(getComputedStyle(img)['padding' + side]);
  const wide = img.clientWidth - pad('Left') - pad('Right'), high = img.clientHeight - pad('Top') - pad('Bottom');
  const link = img.closest('a')?.href;
  return Math.abs(wide / high * img.naturalHeight / img.naturalWidth - 1) > 0.03 || link !== img.src;
}).map(img => img.alt)"""


@dataclass
class Opened:
    """A page as the browser shows it, and what happened while it was loading."""

    page: Page
    outside: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@pytest.fixture(scope="module", params=PAGES)
def opened(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Opened]:
    page = browser.new_page(viewport=DESKTOP)
    page.set_default_timeout(PATIENCE)
    opened = Opened(page)

    def local_only(route: Route, request: Request) -> None:
        if request.url.startswith(("file:", "data:", "blob:")):
            route.continue_()
        else:
            opened.outside.append(request.url)
            route.abort()

    page.route("**/*", local_only)
    page.on("console", lambda message: opened.errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: opened.errors.append(str(error)))
    page.on("requestfailed", lambda request: opened.errors.append(f"{request.url}: {request.failure}"))
    page.goto((HTML / request.param).as_uri(), wait_until="load")
    page.evaluate("() => window.MathJax?.startup?.promise")
    yield opened
    page.close()


def test_the_first_page_leads_to_the_introduction(browser: Browser) -> None:
    assert PAGES, f"there is no book in {HTML}: run make book"
    page = browser.new_page()
    page.goto((HTML / "index.html").as_uri())
    page.wait_for_url("**/intro.html")
    page.close()


def test_no_page_is_heavy_before_its_images() -> None:
    """Of its own: the scripts and styles that all pages share come once."""
    plots = (HTML / "plotly" / "plotly-cartesian.min.js").stat().st_size  # what pages with such figures load besides
    assert [page for page in PAGES if (HTML / page).stat().st_size + plots >= HEAVIEST] == []


def test_a_page_can_be_read_before_its_icons_are_there() -> None:
    for page in PAGES:
        (icons,) = re.findall(r"<script[^>]*fontawesome[^>]*>", (HTML / page).read_text())
        assert " defer " in icons, page


def test_nothing_is_fetched_from_outside(opened: Opened) -> None:
    assert opened.outside == []


def test_the_console_shows_no_error(opened: Opened) -> None:
    assert opened.errors == []


def test_every_equation_is_rendered(opened: Opened) -> None:
    assert opened.page.evaluate(UNRENDERED) == []
    assert opened.page.locator("mjx-merror, [data-mjx-error]").count() == 0


def test_every_image_is_loaded(opened: Opened) -> None:
    opened.page.evaluate("() => document.querySelectorAll('img').forEach(img => img.loading = 'eager')")
    opened.page.wait_for_function("() => [...document.images].every(img => img.complete)")
    assert opened.page.evaluate("() => [...document.images].filter(i => !i.naturalWidth).map(i => i.src)") == []


def test_every_figure_says_in_words_what_it_shows(opened: Opened) -> None:
    images = opened.page.locator(".bd-article img").evaluate_all("all => all.map(img => [img.src, img.alt])")
    assert [src for src, alt in images if not alt.strip() or alt.endswith((".png", ".svg"))] == []


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_no_page_scrolls_sideways(opened: Opened, size: ViewportSize) -> None:
    opened.page.set_viewport_size(size)
    assert settled(opened.page, WIDER_THAN_THE_PAGE) == []


def test_no_part_of_a_page_scrolls_sideways_on_a_desktop(opened: Opened) -> None:
    opened.page.set_viewport_size(DESKTOP)
    assert settled(opened.page, SCROLLED_SIDEWAYS) == []


def test_every_name_that_can_be_chosen_is_shown_whole_on_a_phone(opened: Opened) -> None:
    opened.page.set_viewport_size(PHONE)
    draw(opened.page)
    assert opened.page.evaluate(CUT_CHOICES) == []


def test_every_figure_keeps_its_form_on_a_phone_and_a_tap_opens_its_full_size(opened: Opened) -> None:
    opened.page.set_viewport_size(PHONE)
    opened.page.evaluate("() => document.querySelectorAll('img').forEach(img => img.loading = 'eager')")
    opened.page.wait_for_function("() => [...document.images].every(img => img.complete)")
    assert opened.page.evaluate(POOR_FIGURES) == []


def test_on_a_dark_page_line_art_alone_is_turned(opened: Opened) -> None:
    opened.page.evaluate("() => document.documentElement.dataset.theme = 'dark'")
    for image in opened.page.locator(".cell_output img").all():
        turned = image.evaluate("img => getComputedStyle(img).filter !== 'none'")
        assert turned == ("nsr-line-art" in (image.get_attribute("class") or ""))


def test_every_interactive_figure_is_drawn(opened: Opened) -> None:
    opened.page.set_viewport_size(DESKTOP)
    draw(opened.page)
    assert opened.page.evaluate(POOR_PLOTS) == []
    loaded = opened.page.locator("script[src*='plotly-cartesian.min.js']").count()
    needed = opened.page.locator("div.nsr-plot").count() > 0
    assert loaded == needed, "the large script is for pages with such a figure alone"


def test_every_interactive_figure_tells_a_number_under_the_pointer_at_every_setting(opened: Opened) -> None:
    draw(opened.page)
    for place in opened.page.locator("div.nsr-plot:has(input[type=range])").all():  # the pairs of methods: compare.py
        for setting in settings(place):
            assert re.search(r"\d %", told(opened.page, place)), setting


def test_every_interactive_figure_fits_a_phone(opened: Opened) -> None:
    opened.page.set_viewport_size(PHONE)
    draw(opened.page)
    opened.page.wait_for_function(f"() => ({POOR_PLOTS})().length === 0")


def test_an_interactive_figure_gives_way_to_words_on_paper(opened: Opened) -> None:
    draw(opened.page)
    opened.page.emulate_media(media="print")
    for place in opened.page.locator("div.nsr-plot").all():
        assert place.locator(".nsr-plot-instead").is_visible() and not place.locator(".nsr-plot-planes").is_visible()
    opened.page.emulate_media(media="screen")


def settled(page: Page, found: str) -> list[str]:
    """What a script still finds once the page is at rest: margins glide where a small page becomes a large one."""
    for _ in range(50):
        if not (seen := page.evaluate(found)):
            break
        page.wait_for_timeout(100)
    return seen


def draw(page: Page) -> None:
    """Come near the interactive figures: only then are they drawn."""
    for place in page.locator("div.nsr-plot").all():
        place.scroll_into_view_if_needed()
    page.wait_for_function(DRAWN)


def settings(place: Locator) -> Iterator[str]:
    """Go through all that the controls offer, the slider fastest; each setting in the plot's own words."""
    choices, slider = place.locator("select"), place.locator("input[type=range]")

    def below(k: int) -> Iterator[str]:
        if k < choices.count():
            for at in range(choices.nth(k).locator("option").count()):
                choices.nth(k).select_option(index=at)
                yield from below(k + 1)
            return
        for at in range(int(slider.get_attribute("max")) + 1):
            if slider.is_enabled():
                slider.fill(str(at))
            yield place.locator(".nsr-plot-drawn").get_attribute("aria-label")

    return below(0)


def told(page: Page, place: Locator) -> str:
    """What the plot says when the pointer rests somewhere inside it."""
    plane = place.locator(".nsewdrag").first
    plane.scroll_into_view_if_needed()
    box = plane.bounding_box()
    page.mouse.move(box["x"] + 1, box["y"] - 20)
    page.mouse.move(box["x"] + 0.45 * box["width"], box["y"] + 0.5 * box["height"], steps=3)
    place.locator(".hoverlayer text").first.wait_for()
    return " ".join(place.locator(".hoverlayer text").all_text_contents())


@pytest.mark.parametrize("look", ["light", "dark", "print"])
def test_text_stands_out_from_what_lies_behind_it(opened: Opened, look: str) -> None:
    """On paper the light colours hold, whatever the screen showed before."""
    opened.page.evaluate("look => document.documentElement.dataset.theme = look", "dark" if look == "print" else look)
    opened.page.emulate_media(media="print" if look == "print" else "screen")
    try:
        pale = []
        for _ in range(50):  # colours glide, on a long page for seconds
            opened.page.wait_for_timeout(100)
            pale = opened.page.evaluate(PALE) if opened.page.locator(".bd-article").count() else []
            if not pale:
                break
        assert pale == []
    finally:
        opened.page.emulate_media(media="screen")
