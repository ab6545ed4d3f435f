"""Figures on a page: a tap opens the full size, and what is drawn in lines takes the ground of a dark page.

Lines on white can be turned into lines on black with the same hues by a filter of the style sheet. That would turn a
map of accuracies or a handwritten digit into its negative, so they keep their white plate.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from docutils import nodes
from PIL import Image
from sphinx.application import Sphinx

GROUND, SHARE = 205, 0.85  # from which value on a pixel is ground or a pale band, and how much of line art is that
TOLD = re.compile(r"\b(black|white|light|dark)\b", re.IGNORECASE)  # words that would be wrong on a dark page


def is_line_art(picture: Image.Image) -> bool:
    """Whether nearly all of a picture is white or pale grey."""
    darkest = np.asarray(picture.convert("RGB")).min(axis=2)
    return bool((darkest >= GROUND).mean() >= SHARE)


def figures(app: Sphinx, doctree: nodes.document) -> None:
    """Mark each picture that a cell shows. Sphinx links what has a width to its full size."""
    for image in doctree.findall(nodes.image):
        path = Path(app.srcdir, image["uri"])
        if _shown_by_a_cell(image) and path.suffix == ".png":
            with Image.open(path) as picture:
                image["width"] = f"{picture.width}px"
                if is_line_art(picture) and not TOLD.search(_words(image)):
                    image["classes"].append("nsr-line-art")


def _shown_by_a_cell(node: nodes.Node) -> bool:
    while node := node.parent:
        if isinstance(node, nodes.container) and node.get("nb_element") == "cell_code_output":
            return True
    return False


def _words(image: nodes.image) -> str:
    """The caption, and the words for who cannot see the picture."""
    captions = image.parent.findall(nodes.caption) if isinstance(image.parent, nodes.figure) else ()
    return " ".join([image.get("alt", ""), *(caption.astext() for caption in captions)])


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-read", figures, priority=800)  # when Sphinx has collected the pictures
    return {"parallel_read_safe": True}
