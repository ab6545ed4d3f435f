"""The whole book as one PDF: Sphinx makes one long page of it, and Chromium prints that page.

Jupyter Book's own `pdfhtml` starts only the browser that playwright downloads for itself, and prints folded boxes
closed, pages without numbers and a file without an outline.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from nsr import paths
from nsr.book.rerun import JUPYTER_BOOK
from nsr.files import write_whole

FOLDER = paths.BUILD / "pdf"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
MISSING = "nsr: make pdf prints with Chromium or Chrome. On Debian: apt-get install chromium fonts-dejavu-core"
PATIENCE = 900_000  # ms; a slow machine takes minutes over all formulas
FOOT = '<div style="font-size: 8px; width: 100%; text-align: center"><span class="pageNumber"></span></div>'
PAPER = {"format": "A4", "margin": {"top": "18mm", "bottom": "18mm", "left": "16mm", "right": "16mm"}}
LOOK = {"print_background": True, "outline": True, "tagged": True, "display_header_footer": True}
# pictures below the fold would never load, and folded boxes would stay closed on paper
UNFOLD = """() => {
    document.querySelectorAll("img").forEach(image => image.loading = "eager")
    document.querySelectorAll("details").forEach(box => box.open = true)
}"""
READY = "() => [...document.images].every(image => image.complete)"


def printed(page: Path, executable: str) -> bytes:
    """The page as a PDF; nothing is fetched from outside."""
    from playwright.sync_api import sync_playwright  # only `make pdf` and `make test-browser` install it

    with sync_playwright() as playwright:
        shown = playwright.chromium.launch(executable_path=executable, args=FLAGS).new_page(color_scheme="light")
        shown.set_default_timeout(PATIENCE)
        shown.route("http*://**/*", lambda route: route.abort())
        shown.goto(page.as_uri(), wait_until="load")
        shown.evaluate(UNFOLD)
        shown.wait_for_function(READY)
        shown.evaluate("() => window.MathJax?.startup?.promise")
        return shown.pdf(**PAPER, **LOOK, header_template="<span></span>", footer_template=FOOT)


def main() -> None:
    """Build the book as one page, print it, and leave the file under _build/pdf."""
    executable = next(filter(None, map(shutil.which, BROWSERS)), None) or sys.exit(MISSING)
    options = ["--path-output", str(FOLDER), "--builder", "singlehtml", "--all", "-q"]
    subprocess.run([*JUPYTER_BOOK, str(paths.ROOT), *options], check=True)
    write_whole(FOLDER / "book.pdf", printed(FOLDER / "_build" / "singlehtml" / "intro.html", executable))
    print(f"\nThe book is printed:\n  {FOLDER / 'book.pdf'}")


if __name__ == "__main__":
    main()
