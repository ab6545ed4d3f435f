"""Claims about the things to touch: the numbers handed to a page are the package's, and nothing is fetched or run."""

from __future__ import annotations

import json
import re
from base64 import b64decode

import numpy as np
import pytest
import torch

from nsr import Budget, data, mlp
from nsr.attack import PAPER, reference
from nsr.figures import play
from nsr.study import select
from nsr.theory.counterexamples import COUNTEREXAMPLE, COUNTEREXAMPLE_JOINT, excess, printed, repaired


def content(page: str) -> dict:
    (found,) = re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)
    return json.loads(found)


@pytest.mark.parametrize(("at", "case"), [(0, COUNTEREXAMPLE), (1, COUNTEREXAMPLE_JOINT)])
def test_the_theorem_to_touch_holds_the_net_its_radii_and_its_bounds(at, case):
    found = content(play.theorem())["cases"][at]
    assert found["W"] == [W_m.astype(float).tolist() for W_m in case.W] and found["x"] == [float(v) for v in case.x]
    assert [found["eps_x"], *found["eps"]] == [float(e) for e in (case.eps_x, *case.eps)]
    assert [found["printed"], found["repaired"]] == [float(printed(case)), float(repaired(case))]


@pytest.mark.parametrize(("at", "case"), [(0, COUNTEREXAMPLE), (1, COUNTEREXAMPLE_JOINT)])
def test_its_worst_corner_is_the_highest_margin_that_the_sliders_reach(at, case):
    found = content(play.theorem())["cases"][at]
    over, _ = excess(case)
    assert found["range"][1] - found["printed"] == pytest.approx(float(over)) and over > 0
    assert found["worst"]["W"] == [V.astype(float).tolist() for V in case.W_hat]


@pytest.mark.parametrize("make", [play.theorem, play.attack])
def test_a_thing_to_touch_fetches_nothing_holds_no_code_and_stands_without_any(make):
    page = make()
    assert not re.search(r"https?:|src=|href=|url\(|onload", page)
    assert re.findall(r"<script[^>]*>", page) == ['<script type="application/json">'] and page.count("</script>") == 1
    assert re.search(r'aria-label="\w', page) and re.search(r'<p class="nsr-play-instead">\w', page)
    assert len(page) < 300_000


def written(script: str) -> list[torch.Tensor]:
    """The matrices that a page reads from a network's script."""
    layers = json.loads(script[script.index("= [") + 2 : -2])
    whole = [np.frombuffer(b64decode(layer["multiples"]), dtype="<i2") for layer in layers]
    return [
        torch.from_numpy(q.astype(np.float64)).view(layer["shape"]) * layer["scale"]
        for q, layer in zip(whole, layers, strict=True)
    ]


@pytest.mark.parametrize("name", play.NETWORKS)
def test_a_page_reads_the_shipped_network_to_half_a_unit_of_its_16_bits(name):
    (run,) = select.stored(name)
    script, net = play.script(name, run.network), play.rounded(run.network)
    assert len(script) < 300_000 and name in script
    for read, rounded, W_m in zip(written(script), net.W, run.network.W, strict=True):
        assert torch.equal(read, rounded)
        assert (read - W_m).abs().max() <= W_m.abs().max() / play.LARGEST * 0.5000001


def test_a_matrix_of_zeros_stays_one():
    net = mlp((torch.zeros(2, 3),))
    assert torch.equal(play.rounded(net).W[0], torch.zeros(2, 3, dtype=torch.float64))
    assert torch.equal(written(play.script("zero", net))[0], play.rounded(net).W[0])


def test_the_attack_to_touch_holds_the_test_images_and_the_papers_steps():
    found, test, (paper,) = content(play.attack()), data.load(play.DATASET).test, PAPER.ascents
    assert [found[key] for key in ("steps", "step_x", "step_w")] == [paper.steps, paper.step_x, paper.step_w]
    for image in found["images"]:
        pixels = torch.frombuffer(bytearray(b64decode(image["pixels"])), dtype=torch.uint8) / 255
        assert torch.equal(pixels, test.x[image["index"]]) and image["digit"] == test.y[image["index"]]


def test_at_first_neither_single_attack_breaks_the_image_and_both_together_do():
    (run,) = select.stored(play.NETWORKS[0])
    net, test = play.rounded(run.network), data.load(play.DATASET, dtype=torch.float64).test
    digit, eps_x, eps_w = play.START.values()
    k = int((test.y == digit).nonzero()[0])
    x, y = test.x[k : k + 1], test.y[k : k + 1]
    for radii, broken in (((eps_x, 0), False), ((0, eps_w), False), ((eps_x, eps_w), True)):
        x_hat, W_hat = reference.joint_pgd(net, x, y, Budget.uniform(*radii, net))
        assert (net.at(W_hat)(x_hat).argmax() != digit) == broken
