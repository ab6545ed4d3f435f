"""Claims about the figures of chapter 2: from the true change to the bound, step by step, the false step red."""

from __future__ import annotations

import re

import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from nsr import paths
from nsr.book import notebooks
from nsr.budget import Budget
from nsr.figures import derivation as drawn
from nsr.theory import counterexamples, derivation
from nsr.theory.derivation import Point


def example(seed: int = 0) -> Point:
    g = torch.Generator().manual_seed(seed)
    widths = (5, 6, 4, 5, 3)
    W = tuple(torch.randn(o, i, generator=g, dtype=torch.float64) for i, o in zip(widths, widths[1:], strict=False))
    x, xi = torch.randn(40, 5, generator=g, dtype=torch.float64), Budget(0.1, (0.05,) * 4)
    x_hat, W_hat = xi.sample(x, W, g)
    i = torch.randint(3, (40,), generator=g)
    return Point(W, x, W_hat, x_hat, xi, i, (i + 1) % 3)


def growth(p: Point) -> Figure:
    return drawn.growth(derivation.brackets(p).left, derivation.stages(p), derivation.second_star(p))


def exact_steps(p: Point) -> Figure:
    return drawn.exact_steps(derivation.brackets(p).left, derivation.stages(p))


def ends(ax: Axes) -> list[float]:
    """Where the last bar of each row ends."""
    right = {round(bar.get_y() + bar.get_height() / 2): bar.get_x() + bar.get_width() for bar in ax.patches}
    return [right[row] for row in sorted(right)]


def test_the_waterfall_goes_from_the_true_change_to_theorem_1s_bound_and_names_every_step() -> None:
    p = example()
    above, _ = growth(p).axes
    stages, whole = derivation.stages(p), derivation.theorem(p)
    names = [label.get_text() for label in above.get_yticklabels()]
    assert names == ["true change of the margin", *(stage.name for stage in stages), "printed bound"]
    bars = ends(above)
    assert bars[0] == pytest.approx(float(whole.left.median()))
    assert bars[1:-2] == [pytest.approx(float(stage.total.median())) for stage in stages[:-1]]
    assert bars[-1] == pytest.approx(float(whole.right.median()))


def test_only_the_last_step_is_red_and_the_words_beside_it_are_too() -> None:
    above, _ = growth(example()).axes
    red = {label.get_text() for label in above.get_yticklabels() if label.get_color() == drawn.RED}
    assert red == {derivation.stages(example())[-1].name}
    assert {bar.get_hatch() for bar in above.patches if to_hex(bar.get_edgecolor()).upper() == drawn.RED} == {"////"}


def test_the_enlarged_step_marks_and_counts_the_samples_for_which_it_is_false() -> None:
    p = Point.of(counterexamples.COUNTEREXAMPLE)
    _, below = growth(p).axes
    assert [text.get_text() for text in below.texts] == ["holds", "false: 1 of 1"]
    false = [line.get_xdata().tolist() for line in below.lines if line.get_color() == drawn.RED]
    assert false == [[], [pytest.approx(4 / 6)]]


def test_on_the_counterexample_every_step_is_exact_until_the_last_falls_from_18_to_16() -> None:
    (ax,) = exact_steps(Point.of(counterexamples.COUNTEREXAMPLE)).axes
    told = [text.get_text() for text in ax.texts]
    assert told[0] == "18" and told[-1] == "16" and told[-2].startswith("× 0.89")
    assert all(words.startswith("× 1.00") for words in told[1:-2])
    assert ax.get_xlim()[0] == 0  # lengths can be compared


def test_equations_have_the_numbers_that_the_chapter_gives_them() -> None:
    (chapter,) = notebooks.chapters([f"{drawn.CHAPTER:02}"])
    text = "\n".join(cell.source for cell in notebooks.read(chapter).cells if cell.cell_type == "markdown")
    assert chapter.parent == paths.CHAPTERS
    assert re.findall(r"^\$\$ \(eq-margin-([\w-]+)\)", text, re.MULTILINE) == list(drawn.EQUATIONS)
    assert {name for stage in derivation.stages(example()) for name in stage.equations} <= set(drawn.EQUATIONS)


@pytest.mark.parametrize("figure", [growth, exact_steps])
def test_words_stay_legible_on_a_telephone(figure) -> None:
    shown = figure(Point.of(counterexamples.COUNTEREXAMPLE))
    scale = min(1, 4.5 / shown.get_size_inches()[0])
    shown.draw_without_rendering()
    texts = [text for ax in shown.axes for text in (*ax.texts, *ax.get_yticklabels(), *ax.get_xticklabels(), ax.title)]
    assert min(text.get_fontsize() * scale for text in texts) >= 8
