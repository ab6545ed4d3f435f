"""Claims about contours: their AUC, their envelope, their two geometries, the sandwich, and that no cell is lost."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import product

import matplotlib.pyplot as plt
import pytest
import torch
from torch import nn

from nsr import Budget, Network, attack, certify, contour, data, mlp, mlp_init, training
from nsr.attack import Ascent, Attack
from nsr.contour import COARSE, FULL, Contour, measure
from nsr.files import StoreError

QUICK = Attack((Ascent(steps=10, step_w=0.002),))
STRONG = Attack(
    members=(Ascent(20, 0.5, 0.5, loss_w="probability", T=0.2, in_radii=True, cosine=True, keep_best=True),),
    polish=(Ascent(20, 0.5, 0.5, T=0.2, in_radii=True, cosine=True, keep_best=True),),
)
GRID_X, GRID_W = (0.0, 0.03, 0.06), (0.0, 0.005, 0.01, 0.02)


@pytest.fixture(scope="module")
def net():
    g, split = torch.Generator().manual_seed(0), data.load("digits", dtype=torch.float64).train
    return training.fit(mlp(mlp_init((64, 32, 16, 10), g, torch.float64)), split.x, split.y, epochs=15, generator=g)


@pytest.fixture(scope="module")
def test():
    split = data.load("digits", dtype=torch.float64).test
    return split.x, split.y


@pytest.fixture(scope="module")
def measured(net, test):
    return measure(net, *test, GRID_X, GRID_W, attack=QUICK)


# what a contour is --------------------------------------------------------------------------------------------------


def test_each_cell_is_the_accuracy_under_joint_pgd(net, test, measured):
    x, y = test
    for i, j in product(range(len(GRID_X)), range(len(GRID_W))):
        xi = Budget(GRID_X[i], (GRID_W[j],) * 3)
        x_hat, W_hat, _ = attack.joint_pgd(net, x, y, xi, steps=10, step_w=0.002)
        assert measured.accuracy[i][j] == float((net.at(W_hat)(x_hat).argmax(1) == y).double().mean())
    assert measured.clean == float((net(x).argmax(1) == y).double().mean())


def test_the_edges_are_the_singular_curves(measured):
    assert measured.edge_x == tuple(row[0] for row in measured.accuracy) and len(measured.edge_x) == len(GRID_X)
    assert measured.edge_w == measured.accuracy[0] and len(measured.edge_w) == len(GRID_W)


def test_auc_is_the_volume_over_the_area():
    plane = tuple(tuple(1 - x - 20 * w for w in (0.0, 0.01, 0.03)) for x in (0.0, 0.1, 0.4))  # linear: exact
    assert Contour((0.0, 0.1, 0.4), (0.0, 0.01, 0.03), plane).auc == pytest.approx(1 - 0.2 - 20 * 0.015)
    assert Contour((0.0, 1.0), (0.0, 2.0), ((1.0, 1.0), (1.0, 1.0))).auc == 1.0
    assert Contour((0.0, 1.0), (0.0, 2.0), ((1.0, 0.0), (0.0, 0.0))).auc == 0.25


def test_auc_over_a_smaller_range_is_the_auc_of_the_part():
    plane = tuple(tuple(1 - x - 20 * w for w in (0.0, 0.01, 0.03)) for x in (0.0, 0.1, 0.4))
    whole = Contour((0.0, 0.1, 0.4), (0.0, 0.01, 0.03), plane)
    assert whole.within(0.4, 0.03) == whole
    assert whole.within(0.1, 0.01) == Contour((0.0, 0.1), (0.0, 0.01), tuple(row[:2] for row in plane[:2]))
    assert whole.within(0.25, 0.02).auc == pytest.approx(1 - 0.125 - 20 * 0.01)
    with pytest.raises(ValueError, match="inside the grid"):
        whole.within(0.5, 0.03)


def test_the_envelope_never_rises_and_flags_what_it_lowers():
    raw = Contour((0.0, 0.1, 0.2), (0.0, 0.1), ((0.9, 0.5), (0.4, 0.405), (0.6, 0.2)))
    assert raw.envelope.accuracy == ((0.9, 0.5), (0.4, 0.4), (0.4, 0.2))
    assert raw.disagreements(raw.envelope) == ((2, 0),)
    by_a_point = Contour((0.0, 0.1), (0.0, 0.1), ((0.85, 0.86), (0.5, 0.4)))
    assert 0.86 - 0.85 > 0.01 and not by_a_point.disagreements(by_a_point.envelope), "one point is not over a point"
    assert raw.envelope.envelope == raw.envelope


def test_json_brings_back_the_same_contour(measured):
    assert Contour.from_json(measured.to_json()) == measured
    assert json.loads(measured.to_json())["grid_w"] == list(GRID_W)


def test_the_coarse_protocol_is_every_second_point_of_the_full_one():
    assert len(FULL.grid_x) == len(FULL.grid_w) == len(FULL.grid_r) == 11 and FULL.images == 10_000
    assert FULL.grid_x[1] == 0.03 and FULL.grid_x[-1] == 0.3 and FULL.grid_w[1] == 0.001 and FULL.grid_w[-1] == 0.01
    assert COARSE.grid_x == FULL.grid_x[::2] and COARSE.grid_w == FULL.grid_w[::2] and COARSE.images == 2_000


def test_numbers_do_not_depend_on_the_number_of_workers(net, test, measured):
    for workers in (1, 3):
        assert measure(net, *test, GRID_X, GRID_W, attack=QUICK, workers=workers) == measured


def test_a_cnn_has_a_contour_too(test):
    torch.manual_seed(0)
    layers = nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten()
    net, x = Network.from_module(nn.Sequential(*layers, nn.Linear(72, 10)).double()), test[0][:50]
    found = measure(net, x, net(x).argmax(1), (0.0, 0.05), (0.0, 0.01), attack=QUICK)
    assert found.clean == 1.0 and found.accuracy[1][1] < 1.0


# two geometries -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("T", [None, 0.2])
def test_no_rescaling_between_layers_changes_a_relative_contour(net, test, T):
    x, y = test[0][:60], test[1][:60]
    how = Attack((Ascent(steps=10, step_w=0.5, step_x=0.5, in_radii=True, T=T),))
    factors = (4.0, 0.5, 0.5)  # their product is 1: the function stays the same; powers of two: so do the digits
    twin = net.at(c * W_m for c, W_m in zip(factors, net.W, strict=True))
    grids = (0.0, 0.05), (0.0, 0.05, 0.1)
    one, two = (measure(f, x, y, *grids, attack=how, geometry="relative") for f in (net, twin))
    assert one == two and one.accuracy[1][2] < one.clean - 0.2
    grids = (0.0, 0.05), (0.0, 0.005, 0.01)
    assert measure(net, x, y, *grids, attack=how) != measure(twin, x, y, *grids, attack=how)


def test_no_rescaling_across_layers_changes_a_relative_contour_of_the_strong_attack(net, test):
    x, y = test[0][:60], test[1][:60]
    grids, scaled = ((0.0, 0.05), (0.0, 0.05, 0.1)), net.at(16 * W_m for W_m in net.W)
    how = Attack((Ascent(steps=10, step_w=0.5, step_x=0.5, in_radii=True, T=0.2, loss_w="probability"),))
    assert measure(net, x, y, *grids, attack=how, geometry="relative") == measure(
        scaled, x, y, *grids, attack=how, geometry="relative"
    )


# certified <= true <= attacked --------------------------------------------------------------------------------------


@pytest.mark.parametrize("geometry, grid_w", [("absolute", (0.0, 0.0005, 0.001)), ("relative", (0.0, 0.002, 0.004))])
def test_the_certified_contour_lies_below_every_attacked_one(net, test, geometry, grid_w):
    x, y = test[0][:80], test[1][:80]
    grid_x = (0.0, 0.005, 0.01)
    sure = contour.certified(net, x, y, grid_x, grid_w, geometry=geometry)
    for scope in ({}, {"images_per_W": 1}):
        broken = measure(net, x, y, grid_x, grid_w, attack=STRONG, geometry=geometry, **scope)
        assert sure.clean == broken.clean
        assert all(s <= b for s, b in zip(sum(sure.accuracy, ()), sum(broken.accuracy, ()), strict=True))
    assert sure.accuracy[1][1] > 0.5  # not vacuous
    assert sure.envelope == sure


# nothing is lost ----------------------------------------------------------------------------------------------------


def test_an_interrupted_contour_resumes_where_it_stopped(net, test, measured, tmp_path):
    calls = []

    def stop_after_five(done, total):
        calls.append((done, total))
        if done == 5:
            raise KeyboardInterrupt

    def run(watch=None):
        return measure(net, *test, GRID_X, GRID_W, path=tmp_path / "c.json", attack=QUICK, workers=1, watch=watch)

    with pytest.raises(KeyboardInterrupt):
        run(stop_after_five)
    calls.clear()
    assert run(lambda done, total: calls.append((done, total))) == measured
    assert calls == [(k, 12) for k in range(5, 13)]
    calls.clear()
    assert run(lambda done, total: calls.append((done, total))) == measured and calls == [(12, 12)]
    assert [p.name for p in tmp_path.iterdir()] == ["c.json"]


RUN = """
import os, signal, torch
from pathlib import Path
from nsr import measure, mlp, mlp_init

def run(path, last=None):
    g = torch.Generator().manual_seed(0)
    net = mlp(mlp_init((20, 16, 5), g, torch.float64))
    x = torch.rand(50, 20, generator=g, dtype=torch.float64)
    grids = (0.0, 0.05, 0.1), (0.0, 0.01, 0.02)
    die = lambda done, total: os.kill(os.getpid(), signal.SIGKILL) if done == last else None
    return measure(net, x, net(x).argmax(1), *grids, path=Path(path), workers=1, watch=die)
"""


@pytest.mark.slow
def test_kill_9_loses_no_finished_cell_and_the_rerun_is_bit_identical(tmp_path):
    here = {}
    exec(RUN, here)
    whole, broken = tmp_path / "whole.json", tmp_path / "broken.json"
    expected = here["run"](whole)
    victim = subprocess.run([sys.executable, "-c", f"import sys\n{RUN}\nrun(sys.argv[1], last=4)", broken], check=False)
    assert victim.returncode == -signal.SIGKILL
    assert len(json.loads(broken.read_text())["cells"]) == 4
    assert here["run"](broken) == expected
    assert broken.read_bytes() == whole.read_bytes()


def test_a_stored_contour_of_something_else_is_refused(net, test, tmp_path):
    path, grids = tmp_path / "c.json", ((0.0, 0.05), (0.0, 0.01))
    measure(net, *test, *grids, path=path, attack=QUICK)
    for other, what in (
        ((net, *test, *grids, attack.PAPER), "settings"),
        ((net.at(2 * W_m for W_m in net.W), *test, *grids, QUICK), "network"),
        ((net, test[0][:9], test[1][:9], *grids, QUICK), "inputs"),
        ((net, *test, (0.0, 0.06), grids[1], QUICK), "grid"),
    ):
        *where, how = other
        with pytest.raises(StoreError, match=f"was begun with other {what}"):
            measure(*where, path=path, attack=how)


def test_a_stored_contour_that_was_changed_or_is_none_is_refused(net, test, tmp_path):
    path, args = tmp_path / "c.json", (net, *(t[:4] for t in test), (0.0, 0.1), (0.0, 0.01))
    measure(*args, path=path, attack=QUICK)
    whole = path.read_text()
    for content in ("{", "[]", "", whole.replace("0.0", "0.5", 1), whole[:-9]):
        path.write_text(content)
        with pytest.raises(StoreError, match="remove it to start afresh") as refusal:
            measure(*args, path=path, attack=QUICK)
        assert "\n" not in str(refusal.value)


def test_a_certified_contour_is_stored_and_resumed_too(net, test, tmp_path):
    x, y = test[0][:20], test[1][:20]
    grids, seen = ((0.0, 0.005), (0.0, 0.0005)), []
    first = contour.certified(net, x, y, *grids, path=tmp_path / "c.json")
    again = contour.certified(net, x, y, *grids, path=tmp_path / "c.json", watch=lambda *at: seen.append(at))
    assert again == first and seen == [(4, 4)]


# what does not fit is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, message",
    [
        ({"grid_x": (0.1, 0.2)}, "grid_x must start at 0"),
        ({"grid_w": (0.0, 0.2, 0.1)}, "grid_w must start at 0"),
        ({"grid_w": (0.0,)}, "at least two points"),
        ({"geometry": "spherical"}, "unknown geometry"),
        ({"x": torch.zeros(0, 64, dtype=torch.float64), "y": torch.zeros(0, dtype=torch.long)}, "no images"),
        ({"y": torch.full((300,), 10)}, "10 classes"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(net, test, change, message):
    given = {"x": test[0], "y": test[1], "grid_x": (0.0, 0.1), "grid_w": (0.0, 0.1), "attack": QUICK} | change
    with pytest.raises(ValueError, match=message) as refusal:
        measure(net, **given)
    assert "\n" not in str(refusal.value)


def test_only_dense_relu_networks_have_a_certified_contour(net, test):
    anything = Network(net.W, lambda W, x: net.forward(W, x))
    with pytest.raises(ValueError, match="chains of dense and ReLU layers"):
        contour.certified(anything, *test, (0.0, 0.1), (0.0, 0.1))


def test_a_contour_of_a_bfloat16_network_can_be_stored(net, test, tmp_path):
    low = torch.bfloat16
    measure(net.to(low), test[0][:4].to(low), test[1][:4], (0, 0.1), (0, 0.01), path=tmp_path / "c", attack=QUICK)


def test_a_contour_is_an_array_and_draws_itself(measured):
    assert measured.array.tolist() == [list(row) for row in measured.accuracy]
    axes = measured.plot()
    assert f"{measured.auc:.3f}" in axes.get_title() and axes.get_ylabel().endswith("eps_x")
    plt.close(axes.figure)


def test_threads_that_measure_one_module_do_not_meet_each_others_weights(test):
    """A module is given its weights while it runs: two threads at one copy of it would mix them up."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.Tanh(), torch.nn.Linear(32, 10)).double()
    network = Network.from_module(module)
    x, grid = test[0][:40], (0.0, 0.01, 0.02, 0.03)
    y = network(x).argmax(1)
    one, four = (measure(network, x, y, grid, grid, attack=Attack.pgd(20), workers=n) for n in (1, 4))
    assert one == four and one.array.min() < 1


# the truth ----------------------------------------------------------------------------------------------------------


def test_an_interrupt_inside_a_question_ends_the_deciding_and_leaves_no_verdict_of_it(net, test, tmp_path, monkeypatch):
    """The search returns what it has; taken for a verdict, that image would be open for ever."""
    args, path = (net, test[0][:3], test[1][:3], (0.0, 0.005), (0.0, 0.0005)), tmp_path / "exact.json"
    whole, exact = contour.decided(*args), certify.exact

    def interrupted(network, x, *rest, **how):
        found = exact(network, x, *rest, **how)
        return replace(found, interrupted=True) if torch.equal(x, test[0][1:2]) else found

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(certify, "exact", interrupted)
        contour.decided(*args, path=path)
    assert [*json.loads(path.read_text())["planes"].values()] == [whole.verdicts[0]]
    assert contour.decided(*args, path=path) == whole


def test_a_contour_of_the_truth_comes_back_from_json_with_its_verdicts(net, test):
    found = contour.decided(net, test[0][:2], test[1][:2], (0.0, 0.005), (0.0, 0.0005), geometry="relative")
    assert Contour.from_json(found.to_json()) == found and found.geometry == "relative"


def test_the_truth_over_no_images_is_refused(net, test):
    with pytest.raises(ValueError, match="no images"):
        contour.decided(net, test[0][:0], test[1][:0], (0.0, 0.1), (0.0, 0.1))


def test_the_lower_of_two_contours_is_taken_cell_by_cell_on_one_grid_only():
    rows = ((0.9, 0.4), (0.5, 0.1)), ((0.8, 0.6), (0.5, 0.0))
    high, low = (Contour((0.0, 1.0), (0.0, 1.0), cells) for cells in rows)
    assert high.at_most(low).accuracy == ((0.8, 0.4), (0.5, 0.0))
    with pytest.raises(ValueError, match="different grids"):
        high.at_most(Contour((0.0, 2.0), (0.0, 1.0), rows[0]))


# what is read off a contour -----------------------------------------------------------------------------------------


def test_the_radius_up_to_which_half_hold_is_interpolated_in_its_logarithm():
    radii = (0.001, 0.01, 0.1)
    assert contour.reach(radii, (0.9, 0.75, 0.25)) == pytest.approx(0.01 * 10**0.5)
    assert contour.reach(radii, (0.9, 0.5, 0.1)) == pytest.approx(0.01)
    assert contour.reach(radii, (0.4, 0.3, 0.2)) == 0 and contour.reach(radii, (0.9, 0.8, 0.7)) == 0.1
    assert contour.reach(radii, (0.9, 0.75, 0.25), level=0.75) == pytest.approx(0.01)
    with pytest.raises(ValueError, match="above 0"):
        contour.reach((0.0, 0.1), (0.9, 0.1))


def test_one_budget_divided_is_the_antidiagonal_and_its_bend_is_what_a_straight_line_leaves():
    rows = (0.9, 0.8, 0.7), (0.6, 0.5, 0.4), (0.3, 0.2, 0.1)
    c = Contour((0.0, 1.0, 2.0), (0.0, 1.0, 2.0), rows)
    assert c.split == (0.3, 0.5, 0.7) and c.bend == pytest.approx((0, 0, 0))
    bent = replace(c, accuracy=(*rows[:1], (0.6, 0.45, 0.4), rows[2]))
    assert bent.bend == pytest.approx((0, -0.05, 0))
    with pytest.raises(ValueError, match="no antidiagonal"):
        _ = replace(c, grid_x=(0.0, 1.0), accuracy=rows[:2]).split
