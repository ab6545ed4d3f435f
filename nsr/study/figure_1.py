"""Figure 1 from stored runs: its six panels, its cells measured once more, its files."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from nsr import contour, data, paths
from nsr.attack import Attack
from nsr.figures import figure_1
from nsr.figures.interactive import View, page, plane
from nsr.figures.provenance import stamp
from nsr.files import write_whole
from nsr.network import Network
from nsr.runs import MEASUREMENTS, Run
from nsr.study import select, statistics
from nsr.study.select import Runs
from nsr.training import METHODS, PANELS, Method

TOLERANCE = 0.02  # of an accuracy measured again: another processor rounds otherwise, and then a few images tip over
NAME = "fig-figure-1"
CERTIFIED = "certified"  # the kind of contour behind the certified line: the best certificates there are of all seeds
# no date in a file, so that drawing it again gives the same bytes
UNDATED = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}


def of(runs: Runs, seeds: Sequence[int], names: Iterable[str] = PANELS) -> Runs:
    """The runs of these methods that have these seeds; if not given, the six panels in the paper's order."""
    return {name: tuple(run for run in runs.get(name, ()) if run.spec.seed in seeds) for name in names}


def figure(runs: Runs, kind: str = "full") -> Figure:
    """Figure 1 under one kind of contour: the mean over the runs, and the AUC with its interval over the seeds."""
    used = [run for name in PANELS for run in select.having(runs.get(name, ()), kind)]
    return stamp(figure_1.panels(six(runs, kind), protocol(kind)), used)


def halves(runs: Runs, kind: str) -> Figure:
    """The lines of all rows that have this kind of contour up to which half of the images are still right."""
    used = {name: having for name, group in runs.items() if (having := select.having(group, kind))}
    means = {METHODS[name].title: select.mean_contour(group, kind) for name, group in used.items()}
    return stamp(figure_1.halves(means), [run for group in used.values() for run in group])


def interactive(runs: Runs, kinds: Mapping[str, str]) -> str:
    """The panels as HTML, one at a time: what was measured, how it was trained, and a slider over the training beta.

    `kinds`: contour -> what it is called. What no stored run has is left out.
    """
    views, used = [], {}
    for kind, words in kinds.items():
        named = zip(PANELS, six(runs, kind), strict=True)
        there = [(METHODS[name], panel) for name, panel in named if panel.attacked]
        families = list(dict.fromkeys(_family(method) for method, _ in there))
        for method, panel in sorted(there, key=lambda pair: (families.index(_family(pair[0])), pair[0].beta)):
            views.append(View((words, _family(method), f"{method.beta:g}"), plane(panel)))
        used |= {run.spec.folder: run for name in PANELS for run in select.having(runs.get(name, ()), kind)}
    label = "Accuracy over the radii of inputs and weights"
    return page(label, ("Measured:", "Trained:", "Training beta:"), views, [*used.values()])


def _family(method: Method) -> str:
    """How a row of the table is trained, but for the weight beta of the weight term."""
    how = "on attacked inputs" if method.attack_x else "on clean inputs"
    return how + (f", input term (alpha = {method.alpha:g})" if method.alpha else "")


def six(runs: Runs, kind: str) -> list[figure_1.Panel]:
    """The six panels, in words and contours; one without a run is empty."""
    panels = []
    for letter, name in zip("abcdef", PANELS, strict=True):
        having = select.having(runs.get(name, ()), kind)
        sure = select.having(having, CERTIFIED) if MEASUREMENTS[kind].geometry == "absolute" else ()
        panels.append(
            figure_1.Panel(
                f"({letter}) {METHODS[name].title}" + (f", n = {len(having)}" if having else ""),
                f"AUC {statistics.estimate(select.aucs(having, kind).values())}" if having else "",
                select.mean_contour(having, kind) if having else None,
                select.mean_contour(sure, CERTIFIED) if sure else None,
            )
        )
    return panels


def protocol(kind: str) -> str:
    """How a kind of contour is measured, in words."""
    what = MEASUREMENTS[kind]
    return (
        f"the {what.label}: {len(what.protocol.grid_x)} x {len(what.grid_w)} radii, "
        f"{what.protocol.images:,} {what.part} images"
    )


def vectors(figure: Figure) -> dict[str, bytes]:
    """The figure as SVG and PDF, by suffix; the same figure gives the same bytes."""
    found = {}
    for suffix, metadata in UNDATED.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix, metadata=metadata)
        found[suffix] = buffer.getvalue()
    return found


def write(folder: Path = paths.CHAPTERS / "figures") -> list[Path]:
    """Figure 1 from the shipped runs as vector graphics; the PNG beside them is taken from the chapter."""
    written = []
    for suffix, content in vectors(figure(select.by_method())).items():
        written.append(folder / f"{NAME}.{suffix}")
        write_whole(written[-1], content)
    return written


# cells measured once more -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Check:
    """One cell of a stored contour beside the same measurement made now."""

    run: Run
    kind: str
    eps_x: float
    eps_w: float
    stored: float
    live: float

    @property
    def agrees(self) -> bool:
        return abs(self.stored - self.live) <= TOLERANCE


def again(runs: Sequence[Run], kind: str, count: int, generator: torch.Generator) -> list[Check]:
    """Random cells of random runs, measured from the stored weights by the contour's own protocol.

    Cells inside the plane, and where something is left: that nothing is left agrees too easily.
    """
    having = select.having(runs, kind)
    return [_again(having[_pick(len(having), generator)], kind, generator) for _ in range(count if having else 0)]


def _again(run: Run, kind: str, generator: torch.Generator) -> Check:
    what, known = MEASUREMENTS[kind], run.contours[kind]
    inside = list(itertools.product(range(1, len(known.grid_x)), range(1, len(known.grid_w))))
    cells = [(i, j) for i, j in inside if known.accuracy[i][j] > 0] or inside
    i, j = cells[_pick(len(cells), generator)]
    samples = getattr(data.load(run.spec.dataset), what.part).first(what.protocol.images)
    live = what.cell(run.network, samples, known.grid_x[i], known.grid_w[j])
    return Check(run, kind, known.grid_x[i], known.grid_w[j], known.accuracy[i][j], live)


def _pick(n: int, generator: torch.Generator) -> int:
    return int(torch.randint(n, (), generator=generator))


def shared_cells(run: Run, one: str, other: str) -> list[tuple[float, float]]:
    """The accuracies of two contours at every budget that both measured; none where the run lacks one of them."""
    if not {one, other} <= run.contours.keys():
        return []
    first, second = _cells(run.contour(one)), _cells(run.contour(other))
    return [(first[budget], second[budget]) for budget in first if budget in second]


def _cells(c: contour.Contour) -> dict[tuple[float, float], float]:
    """Accuracy by budget; rounded, since 5 steps of .0008 and 2 of .002 are one radius."""
    radii = itertools.product(c.grid_x, c.grid_w)
    return {
        (round(a, 9), round(b, 9)): value for (a, b), value in zip(radii, itertools.chain(*c.accuracy), strict=True)
    }


def rise(found: contour.Contour) -> float:
    """The most by which accuracy rises from a cell to a neighbour with a larger radius; of true accuracies it is 0."""
    accuracy = np.array(found.accuracy)
    return max(0.0, *(float(np.diff(accuracy, axis=axis).max()) for axis in (0, 1)))


# what the AUCs hang on ----------------------------------------------------------------------------------------------


def within(runs: Runs, kind: str, share_x: float, share_w: float) -> dict[str, dict[int, float]]:
    """The AUC over a part of the plane, both ranges cut to these shares, by method and seed."""
    return select.scores(runs, kind, lambda c: c.within(share_x * c.grid_x[-1], share_w * c.grid_w[-1]).auc)


def by_crowd(
    network: Network,
    samples: data.Split,
    grid_x: Sequence[float],
    grid_w: Sequence[float],
    sizes: Sequence[int],
    steps: int,
) -> list[float]:
    """The AUC under the paper's attack where each W_hat serves `n` of the images, for each n; in float64."""
    net, x = network.to(torch.float64), samples.x.double()
    attack = Attack.pgd(steps)
    measured = (
        contour.measure(net, x, samples.y, grid_x, grid_w, attack=attack, images_per_W=n, workers=1) for n in sizes
    )
    return [found.auc for found in measured]


if __name__ == "__main__":
    write()
