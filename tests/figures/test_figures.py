"""Claims about figures: each says where its numbers come from, and one drawn from stale runs shows it."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from typer.testing import CliRunner

import nsr.runs  # noqa: F401  (figures: the house style)
from nsr import cli, paths
from nsr.contour import Contour
from nsr.figures import claims
from nsr.figures.beyond import planes
from nsr.figures.contours import contours
from nsr.figures.provenance import RED, line, stamp
from nsr.figures.scale import bought
from nsr.figures.style import WIDEST, lines, look, wrapped
from nsr.training import METHODS


def run(seed: int = 0, stale: tuple[str, ...] = (), train: str = "aaaa", **changes):
    part = {"code": {"train": train, "loss": "bbbb"}, "data": {"images": "0123456789"}, "package": "0.1.0"}
    provenance = {"training": {**part, **changes}, "contours": {"paper": part}}
    return SimpleNamespace(spec=SimpleNamespace(seed=seed), provenance=provenance, stale=stale)


def drawn(legend: bool = True) -> Figure:
    figure, axes = plt.subplots(1, 2)
    for ax in axes:
        ax.plot([0, 1], label="line")
        ax.set(xlabel="across")
    if legend:
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center")
    plt.close(figure)
    return figure


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def red_pixels(figure: Figure) -> int:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
    return int((np.abs(pixels - [int(RED[k : k + 2], 16) for k in (1, 3, 5)]).sum(-1) < 20).sum())


def test_a_figure_names_its_runs_seeds_code_data_and_package():
    (said,) = words(stamp(drawn(), [run(seed) for seed in range(5)]))
    assert said.startswith("5 runs, seeds 0-4 · code ") and said.endswith("data md5 012345 · nsr 0.1.0")
    assert "1 run, seed 3 ·" in line([run(3)]) and "2 runs, seeds 0, 4 ·" in line([run(0), run(4)])


def test_the_fingerprint_changes_with_the_code_and_with_nothing_else():
    assert line([run(0)]).split(" · ")[1:] == line([run(1, hardware="another")]).split(" · ")[1:]
    assert line([run(train="cccc")]).split(" · ")[1] != line([run()]).split(" · ")[1]


def test_a_figure_of_stale_runs_is_visibly_marked_with_the_changed_modules():
    fresh, old = stamp(drawn(), [run()]), stamp(drawn(), [run(), run(1, stale=("train", "loss"))])
    assert "STALE: loss, train" in words(old) and not [text for text in words(fresh) if "STALE" in text]
    assert red_pixels(fresh) == 0 and red_pixels(old) > 5000


@pytest.mark.parametrize("legend", [True, False])
@pytest.mark.parametrize("stale", [(), ("train",)])
def test_the_line_and_the_mark_overlap_nothing(legend: bool, stale: tuple[str, ...]):
    figure = stamp(drawn(legend), [run(stale=stale)])
    figure.draw_without_rendering()
    parts = [ax.get_tightbbox() for ax in figure.axes] + [key.get_window_extent() for key in figure.legends]
    parts += [text.get_window_extent() for text in figure.texts]
    for at, one in enumerate(parts):
        assert figure.bbox.x0 <= one.x0 and one.x1 <= figure.bbox.x1 and figure.bbox.y0 <= one.y0
        assert not [other for other in parts[at + 1 :] if one.overlaps(other)]


def test_a_figure_of_no_run_says_so():
    assert words(stamp(drawn(), [])) == ["no stored runs"]


@pytest.mark.parametrize(
    ("module", "line_", "stale"),
    [
        ("training/loss", "_changed = 1\n", ("training.loss",)),
        ("contour/measuring", "_changed = 1\n", ("contour.measure",)),
        ("training/loss", "# other words\n", ()),
        ("figures/figure_1", "_changed = 1\n", ()),  # it draws numbers and decides none
    ],
)
def test_one_line_of_code_that_decides_numbers_turns_run_table_and_figure_stale(
    module: str, line_: str, stale: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    original = next(iter(nsr.runs.folders(paths.SHIPPED)))
    package, shipped = tmp_path / "nsr", tmp_path / "runs"
    folder = shipped / original.name
    shutil.copytree(paths.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(original, folder)
    monkeypatch.setattr(paths, "SHIPPED", shipped)
    monkeypatch.setenv("NSR_RUNS", str(tmp_path / "own"))
    before = nsr.runs.load(folder).stale  # in the tree as it is
    monkeypatch.setattr(paths, "PACKAGE", package)
    with (package / f"{module}.py").open("a") as source:
        source.write(line_)

    loaded = nsr.runs.load(folder)
    assert set(loaded.stale) - set(before) == set(stale)
    (row,) = CliRunner().invoke(cli.app, ["runs"]).stdout.splitlines()[1:]
    assert ("stale" in row) == bool(loaded.stale) and all(name in row.partition("stale")[2] for name in stale)
    stamped = stamp(drawn(), [loaded])
    assert (red_pixels(stamped) > 5000) == bool(loaded.stale)
    assert all(any(name in said for said in words(stamped) if "STALE" in said) for name in stale)


def test_every_method_has_a_look_of_its_own_wherever_it_stands():
    looks = [look(method.title, k) for k, method in enumerate(METHODS.values())]
    assert looks == [look(row, 7 - k) for k, row in enumerate(METHODS)]
    assert len({(seen["color"], seen["marker"]) for seen in looks}) == len(METHODS)
    assert len({(seen["color"], seen["linestyle"]) for seen in looks}) == len(METHODS)


def test_names_at_the_ends_of_lines_stay_beside_the_axes_and_overlap_nothing():
    titles = [method.title for method in METHODS.values()]
    figure = bought((1, 2), dict.fromkeys(titles, (0.1, 0.2)), {name: 0.5 + k / 1000 for k, name in enumerate(titles)})
    figure.draw_without_rendering()
    (ax,) = figure.axes
    boxes = sorted((text.get_window_extent() for text in ax.texts), key=lambda box: box.y0)
    assert len(boxes) == len(METHODS) and boxes[0].y0 >= ax.bbox.y0 and boxes[-1].y1 <= ax.bbox.y1
    assert all(low.y1 <= high.y0 + 2 for low, high in zip(boxes, boxes[1:], strict=False))


def falling(steep: float, w: float = 0.01) -> Contour:
    """Accuracy that falls with both radii, the faster the steeper: its lines crowd where little is left."""
    grid_x, grid_w = (tuple(top * k / 5 for k in range(6)) for top in (0.3, w))
    rows = tuple(tuple(max(0.0, 1 - steep * (a / 0.3 + b / 0.02)) for b in grid_w) for a in grid_x)
    return Contour(grid_x, grid_w, rows)


def numbers(figure: Figure) -> dict[object, list]:
    """Where the labels of the lines are in each panel, in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    found = {ax: [text for text in ax.texts if text.get_text().isdigit()] for ax in figure.axes}
    return {ax: [text.get_window_extent() for text in texts] for ax, texts in found.items() if texts}


@pytest.mark.parametrize("figure", [planes, contours])
def test_labels_of_contours_lie_inside_their_panel_and_on_no_other_label(figure):
    panels = {f"{steep}": falling(steep) for steep in (0.5, 1.0, 2.0, 4.0, 9.0)}
    more = {"certified": {f"{steep}": falling(2 * steep) for steep in (0.5, 1.0, 2.0)}} if figure is contours else {}
    found = numbers(figure(panels, **more))
    assert len(found) >= 3
    for ax, boxes in found.items():
        frame = ax.get_window_extent()
        assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)
        assert all(frame.y0 <= box.y0 and box.y1 <= frame.y1 for box in boxes)
        assert not [(a, b) for k, a in enumerate(boxes) for b in boxes[:k] if a.overlaps(b)]


def test_a_flat_contour_has_no_lines_and_no_labels():
    assert not numbers(planes({"flat": falling(0.0)}))


def test_every_setting_of_a_claim_has_a_mark_of_its_own_and_a_band_lies_behind_its_claim() -> None:
    settings = [f"setting {k}" for k in range(11)]
    drawn = {
        "C1": {"a - b": {s: (0.1, 0.0, 0.2, 3) for s in settings}},
        "C2": {"a / b": {settings[0]: (0.2,) * 3 + (3,)}},
    }
    figure = claims.differences(drawn, {"C2": (0.14, 0.34)})
    (ax,) = figure.axes
    marks = {
        line.get_label(): (line.get_color(), line.get_marker()) for line in ax.lines if line.get_label() in settings
    }
    assert list(marks) == settings and len(set(marks.values())) == len(settings)
    bands = [patch.get_bbox() for patch in ax.patches if patch.get_width() == pytest.approx(20)]
    assert [(box.x0, box.y0, box.y1) for box in bands] == [(pytest.approx(14), 0.5, 1.5)]


def test_panels_that_a_phone_has_no_room_for_go_into_the_next_row() -> None:
    many = {f"{k}": {"AT": [0.1, 0.2]} for k in range(5)}
    curves = lines([1, 2], many, ("across", "up"), size=(3.2, 2.0))
    small, axes = wrapped(5, 5, (1.9, 1.5), (0.6, 0.2))
    assert axes.shape == (2, 3) and max(curves.get_figwidth(), small.get_figwidth()) <= WIDEST
    assert [ax.get_title() for ax in curves.axes if ax.get_visible()] == [*many]


def test_in_the_last_full_row_radii_are_named_where_no_panel_lies_below() -> None:
    figure = planes({f"{k}": falling(0.5) for k in range(5)})
    shown = [ax for ax in figure.axes if ax.get_visible() and ax.get_title()]
    assert [bool(ax.get_xlabel()) for ax in shown] == [False, True, True, True, True]
