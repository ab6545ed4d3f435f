"""The kinds of contours: what the shipped ones say of one network does not contradict itself."""

import numpy as np
import pytest

from nsr import runs
from nsr.contour import Decided
from nsr.runs.code_digest import READING
from nsr.runs.protocols import MEASUREMENTS, READINGS, deciding, measurement
from nsr.training import METHODS

DECIDED = [run for run in runs.runs() if "exact" in run.contours]


@pytest.mark.parametrize("run", DECIDED, ids=lambda run: run.folder.name)
def test_certified_robust_and_attacked_stand_in_this_order_in_every_cell(run):
    """An attack may break an image that the search left open; one that is proved robust it cannot break."""
    exact = run.contours["exact"]
    assert isinstance(exact, Decided) and len(exact.verdicts) == MEASUREMENTS["exact"].protocol.images
    layers = [run.contours["tight"].array, exact.array, run.contours["own"].array]
    assert (np.diff(layers, axis=0) >= -1e-12).all() and (exact.array <= exact.possible.array).all()


@pytest.mark.parametrize("run", DECIDED, ids=lambda run: run.folder.name)
def test_verdicts_are_monotone_in_both_radii(run):
    exact = run.contours["exact"]
    shape = len(exact.grid_x), len(exact.grid_w)
    for verdicts in exact.verdicts:
        plane = np.array(list(verdicts)).reshape(shape)
        for axis in (0, 1):
            assert not (np.diff((plane == "b").astype(int), axis=axis) < 0).any()
            assert not (np.diff((plane == "r").astype(int), axis=axis) > 0).any()


def test_shipped_networks_are_decided():
    assert {run.spec.name for run in DECIDED} == set(METHODS)


@pytest.mark.parametrize("kind", MEASUREMENTS)
def test_every_kind_has_a_shape_a_label_and_the_code_behind_it(kind):
    what = MEASUREMENTS[kind]
    pieces, numbers = what.shape
    assert pieces > 0 and numbers > 0 and what.label
    assert ("certify.exact" in deciding(kind)) == (what.method == "exact")


@pytest.mark.parametrize("kind", READINGS)
def test_every_reading_is_one_piece_of_work_with_the_code_behind_it_and_no_contour(kind):
    what = measurement(kind)
    assert what is READINGS[kind] and kind not in MEASUREMENTS and what.folder != MEASUREMENTS["paper"].folder
    assert what.shape == (1, 1) and what.unit and deciding(kind) == READING
