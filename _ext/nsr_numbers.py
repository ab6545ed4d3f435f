"""A chapter has the number of its file: 12_beyond is chapter 12 although 11 is not written yet."""

from __future__ import annotations

import re
from collections.abc import Callable

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx_external_toc.collectors import TocTreeCollectorWithStyles as Collector

NUMBERED = re.compile(r"chapters/(\d+)_")
Assign = Callable[[Collector, BuildEnvironment], list[str]]


def by_file(assign: Assign) -> Assign:
    """Jupyter Book counts chapters as they come; the file's number goes in before figures and equations get theirs."""

    def assigned(collector: Collector, env: BuildEnvironment) -> list[str]:
        changed = assign(collector, env)
        for page, numbers in env.toc_secnumbers.items():
            if match := NUMBERED.match(page):
                chapter = int(match[1])
                for anchor, number in numbers.items():
                    numbers[anchor] = number and (chapter, *number[1:])
                for node in (env.titles[page], *env.tocs[page].findall(nodes.reference)):
                    if node.get("secnumber"):
                        node["secnumber"] = [chapter, *node["secnumber"][1:]]
        return changed

    return assigned


def setup(app: Sphinx) -> dict[str, bool]:
    Collector.assign_section_numbers = by_file(Collector.assign_section_numbers)
    return {"parallel_read_safe": True}
