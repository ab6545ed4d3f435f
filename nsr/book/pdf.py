"""The whole book as one PDF: Sphinx makes one long page of it, and Chromium prints that page."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from nsr import paths
from nsr.files import write_whole

FOLDER = paths.BUILD / "pdf"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
MISSING = "no browser: make pdf prints with Chromium or Chrome. On Debian: apt-get install chromium fonts-dejavu-core"
PATIENCE = 900_000  # ms; a slow machine takes minutes over all formulas
FOOT = '<div style="font-size: 8px; width: 100%; text-align: center"><span class="pageNumber"></span></div>'
MARGIN = {"top": "18mm", "bottom": "18mm", "left": "16mm", "right": "16mm"}


def browser() -> str:
    """The first browser on the PATH that can print; LookupError where there is none."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise LookupError(MISSING)
    return found


def one_page() -> Path:
    """The book as a single page, every chapter in it."""
    start = "from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", start, "build", str(paths.ROOT), "--path-output", str(FOLDER)]
    subprocess.run([*command, "--builder", "singlehtml", "--all", "-q"], check=True)
    return FOLDER / "_build" / "singlehtml" / "intro.html"


def printed(page: Path, executable: str) -> bytes:
    """The page as a PDF with an outline; nothing is fetched from outside."""
    from playwright.sync_api import sync_playwright  # only `make pdf` and `make test-browser` install it

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=[*FLAGS])
        shown = chromium.new_page(color_scheme="light")
        shown.set_default_timeout(PATIENCE)
        shown.route("http*://**/*", lambda route: route.abort())
        shown.goto(page.as_uri(), wait_until="load")
        shown.evaluate("() => document.querySelectorAll('img').forEach(image => image.loading = 'eager')")
        shown.wait_for_function("() => [...document.images].every(image => image.complete)")
        shown.evaluate("() => document.querySelectorAll('details').forEach(box => box.open = true)")
        shown.evaluate("() => window.MathJax?.startup?.promise")
        look = {"format": "A4", "margin": MARGIN, "print_background": True, "outline": True, "tagged": True}
        content = shown.pdf(**look, display_header_footer=True, header_template="<span></span>", footer_template=FOOT)
        chromium.close()
    return content


def main() -> None:
    """Build the page, print it, and leave the file under _build/pdf."""
    try:
        executable = browser()
    except LookupError as error:
        sys.exit(f"nsr: {error}")
    write_whole(FOLDER / "book.pdf", printed(one_page(), executable))
    sys.stdout.write(f"\nThe book is printed:\n  {FOLDER / 'book.pdf'}\n")


if __name__ == "__main__":
    main()
