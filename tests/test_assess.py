"""Claims about judging anybody's model: it is loaded as it is, judged as the book judges its own, and resumed."""

from __future__ import annotations

import json
import math
import textwrap
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from safetensors.torch import save_file, save_model
from torch import Tensor, nn

from nsr import Budget, Network, assess, certify, contour, data, files, mlp, training
from nsr.assess import AssessError, Assessment
from nsr.assess.loading import reason
from nsr.attack import PAPER, Ascent, Attack, survivors
from nsr.contour import COARSE, GEOMETRIES, Contour
from nsr.data import Split
from nsr.figures.contours import contours as drawn
from nsr.figures.style import WIDEST
from nsr.files import StoreError, digested

QUICK = {
    "paper": Attack((Ascent(steps=4, step_w=0.002),)),
    "strong": Attack((Ascent(5, 0.5, 0.5, T=0.2, in_radii=True, cosine=True, keep_best=True),)),
}
PLAN = assess.plan(eps_x=0.1, eps_w=0.02, points=3)

MODELS = """
    import torch
    from torch import nn
    from torch.nn import functional as F

    def cnn():
        parts = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 10)
        return nn.Sequential(*parts)

    def dense():
        return nn.Sequential(nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))

    def linear():
        return nn.Linear(64, 10)

    def flat():
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 10, bias=False))

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.last = nn.Parameter(torch.ones(64)), nn.Linear(64, 10)

        def forward(self, x):
            return self.last(F.gelu(self.scale * x))

    class Idle(Own):
        def forward(self, x):
            return self.last(x)

    class Blind(Own):
        def forward(self, x):
            return self.last(torch.ones_like(x))

    class Numb(Own):
        def forward(self, x):
            return x[:, :10]

    class Tired(Own):
        def forward(self, x):
            self.calls = getattr(self, "calls", 0) + 1
            if self.calls > 40:
                raise SystemExit(0)
            return self.last(x)
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("models") / "models.py"
    file.write_text(textwrap.dedent(MODELS))
    return file


@pytest.fixture(scope="module")
def trained(models) -> Path:
    """Weights with which `dense` is right on most digits."""
    split, file = data.load("digits").train, models.with_name("trained.safetensors")
    start = Network.from_module(assess.load_model(f"{models}:dense"))
    order = torch.Generator().manual_seed(0)
    W = training.fit(start, split.x, split.y, epochs=15, generator=order).W
    save_file(dict(zip(("0.weight", "0.bias", "2.weight", "2.bias"), W, strict=True)), file)
    return file


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(assess, "ATTACKS", QUICK)


def judged(models: Path, name: str, folder: Path, what: assess.Plan = PLAN, **how) -> Assessment:
    return assess.assess(f"{models}:{name}", "digits", what, folder, images=30, **how)


# end to end ---------------------------------------------------------------------------------------------------------


def test_a_cnn_with_conv_bias_and_batch_norm_is_assessed_end_to_end(models, tmp_path):
    found = judged(models, "cnn", tmp_path)
    network = Network.from_module(assess.load_model(f"{models}:cnn"))
    split = data.load("digits", flat=False).test.first(30)
    assert [tuple(V.shape) for V in network.W] == [(3, 1, 3, 3), (3,), (3,), (3,), (10, 108), (10,)]
    for name, attack in QUICK.items():
        expected = contour.measure(network, split.x, split.y, PLAN.grid_x, PLAN.grid_w, attack=attack)
        assert found.contours[name] == expected
    assert found.clean == float((network(split.x).argmax(1) == split.y).double().mean())
    assert set(found.contours) == {"paper", "strong", "certified"} and found.images == 30
    assert found.contours["certified"] == contour.certified(network, split.x, split.y, PLAN.grid_x, PLAN.grid_w)
    assert all((found.contours["certified"].array <= found.contours[name].array).all() for name in QUICK)
    assert {p.name for p in tmp_path.iterdir()} == {"contour.png", "assessment.json", "cells"}
    height, width, _ = imread(tmp_path / "contour.png").shape
    assert height > 400 and width > 800


def test_a_cnn_is_certified_where_radii_are_small(models, tmp_path):
    found = judged(models, "cnn", tmp_path, assess.plan(eps_x=1e-4, eps_w=1e-5, points=2)).contours
    assert found["certified"].auc == pytest.approx(found["paper"].clean, abs=0.04) and "own" not in found


def test_json_brings_back_the_same_assessment_and_shows_what_follows_from_it(models, tmp_path):
    found, text = judged(models, "dense", tmp_path), (tmp_path / "assessment.json").read_text()
    written = json.loads(text)
    assert Assessment.from_json(text) == replace(found, settings=written["settings"])
    assert written["settings"]["parameters attacked"] == 64 * 12 + 12 + 12 * 10 + 10
    assert written["settings"]["attacks"]["strong"]["members"][0]["steps"] == 5
    assert written["auc"] == {name: c.auc for name, c in found.contours.items()}
    assert written["clean"] == found.clean and set(written["flags"]) == set(found.flags)


def test_a_dense_net_gets_a_certified_contour_below_the_attacked_ones(models, trained, tmp_path):
    what = assess.plan(eps_x=0.01, eps_w=0.002, points=3)
    found = judged(models, "dense", tmp_path, what, weights=trained).contours
    assert set(found) == {"paper", "strong", "own", "certified"} and found["certified"].auc > 0.5
    for i, j in product(range(3), range(3)):
        assert found["certified"].accuracy[i][j] <= min(found[name].accuracy[i][j] for name in (*QUICK, "own"))


def test_the_truth_lies_between_certificates_and_attack_on_the_same_samples(odd, tmp_path):
    what = assess.plan(eps_x=0.02, eps_w=0.004, points=2, decided=3, seconds=0.1)
    found = judged(odd, "Normalised", tmp_path, what)
    layers = assess.layers(found.truth)
    assert [*layers] == ["certified", "exact", "possible", "own"] and len(found.truth["exact"].verdicts) == 3
    assert (np.diff([c.array for c in layers.values()], axis=0) >= 0).all()
    assert found.contours["own"] != found.truth["own"]  # which is of fewer samples
    text = (tmp_path / "assessment.json").read_text()
    assert Assessment.from_json(text) == replace(found, settings=json.loads(text)["settings"])
    assert json.loads(text)["auc of the decided samples"] == {name: c.auc for name, c in layers.items()}
    high = replace(found.truth["certified"], accuracy=((1.0, 1.0), (1.0, 1.0)))
    out_of_order = replace(found, truth={**found.truth, "certified": high})
    assert "of the decided samples more are certified than proved robust, which rounding may do" in out_of_order.flags
    assert not any("rounding" in flag for flag in found.flags)


def test_verdicts_are_of_the_tensors_that_move_in_the_geometry_and_box_of_the_plan(odd, tmp_path):
    given = {"only": "model.0.bias", "geometry": "relative", "box": (-1.0, 1.0), "strong": False, "certify": False}
    what = assess.plan(eps_x=0.001, eps_w=1e4, points=2, decided=12, seconds=1.0, **given)
    found = assess.assess(f"{odd}:Normalised", f"{odd}:signed", what, tmp_path, images=12).truth["exact"]
    module, split = assess.load_model(f"{odd}:Normalised"), assess.load_samples(f"{odd}:signed", 12, what.box)
    network, split = assess.ready(module, split, what)
    assert found.accuracy[0][0] > found.accuracy[0][1]  # so there is something to hold it to
    for i, j in product(range(2), range(2)):
        xi = Budget.relative(what.grid_x[i], what.grid_w[j], network, only="model.0.bias")
        said = certify.exact(network, split.x, split.y, xi, box=what.box, seconds=1.0)
        cells = [verdicts[2 * i + j] for verdicts in found.verdicts]
        assert [cell == "r" for cell in cells] == said.robust.tolist()
    with pytest.raises(StoreError, match="exact.json: was begun with other settings"):
        assess.assess(f"{odd}:Normalised", f"{odd}:signed", replace(what, only=None), tmp_path, images=12)


def test_interrupted_verdicts_are_taken_up_image_by_image_and_by_more_images(models, trained, tmp_path):
    what = assess.plan(eps_x=0.01, eps_w=0.002, points=2, strong=False, certify=False, decided=3, seconds=2.0)
    told, again = [], {"weights": trained}

    def stop(planes: list[str], settled: int) -> None:
        told.append((len(planes), settled))
        if len(planes) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judged(models, "dense", tmp_path, what, **again, on_plane=stop)
    path = tmp_path / "cells" / "exact.json"
    before = json.loads(path.read_bytes())["planes"]
    assert len(before) == 2 and any(settled for _, settled in told) and not (tmp_path / "assessment.json").exists()
    asked = []
    more = replace(what, decided=4)
    found = judged(
        models, "dense", tmp_path, more, **again, on_plane=lambda planes, at: asked.append((len(planes), at))
    )
    assert [*before.values()] == [*found.truth["exact"].verdicts[:2]] and len(found.truth["exact"].verdicts) == 4
    assert not any(settled for images, settled in asked if images < 2)  # nothing is asked twice
    (tmp_path / "cells" / "paper.json").unlink()
    others = (replace(what, seconds=3.0), "settings", again), (replace(what, grid_w=(0.0, 0.001)), "grid", again)
    for other, word, how in (*others, (what, "network", {})):
        with pytest.raises(StoreError, match=f"exact.json: was begun with other {word}; remove it"):
            judged(models, "dense", tmp_path, other, **how)
    assert not (tmp_path / "cells" / "paper.json").exists()  # it is found before anything is computed
    path.write_bytes(path.read_bytes().replace(b'"r', b'"b', 1))
    with pytest.raises(StoreError, match="has been changed since it was written"):
        judged(models, "dense", tmp_path, what, **again)


def test_every_switch_of_a_plan_is_obeyed(models, tmp_path):
    plain = assess.plan(points=2, strong=False, certify=False, geometry="relative")
    found = judged(models, "dense", tmp_path, plain).contours
    assert set(found) == {"paper"} and found["paper"].geometry == "relative"
    assert found["paper"].grid_x == (0, COARSE.grid_x[-1]) and found["paper"].grid_w == (0, COARSE.grid_r[-1])
    assert assess.plan().grid_x == pytest.approx(COARSE.grid_x) and assess.plan().grid_w == pytest.approx(COARSE.grid_w)


@pytest.mark.parametrize("name", ["linear", "flat"])
def test_a_net_of_one_layer_is_assessed_with_its_certificates(models, tmp_path, name):
    what = assess.plan(eps_x=0.01, eps_w=0.002, points=2, strong=False)
    first = judged(models, name, tmp_path / "whole", what)
    assert set(first.contours) == {"paper", "certified"}
    assert first.contours["certified"].accuracy[0][0] == first.clean
    path = tmp_path / "whole" / "cells" / "certified.json"
    content = json.loads(path.read_bytes())
    path.write_bytes(digested(content | {"cells": content["cells"][:1]}))  # as an interrupted run leaves it
    assert judged(models, name, tmp_path / "whole", what).contours == first.contours


@pytest.mark.parametrize("geometry", ["absolute", "relative"])
def test_the_certificate_of_one_layer_is_exact(geometry):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(200, 3, generator=generator, dtype=torch.float64)
    network = mlp(
        [torch.randn(3, 3, generator=generator, dtype=torch.float64), torch.tensor([0.1, 0.0, -0.1]).double()]
    )
    y, found = network(x).argmax(1), []
    for eps_x, eps_w in ((0.0, 0.0), (0.1, 0.0), (0.0, 0.1), (0.05, 0.05)):
        xi = GEOMETRIES[geometry](eps_x, eps_w, network)
        found += [[*contour.certifiable(network, x, y, [xi]), attacked_corner_by_corner(network, x, y, xi)]]
    assert all(certified == true for certified, true in found) and 1 == found[0][0] > found[1][0] > found[3][0] > 0


def attacked_corner_by_corner(network: Network, x: Tensor, y: Tensor, xi: Budget) -> float:
    """The share of inputs that no corner flips: f_i - f_y is linear in x_hat, W_hat and b_hat, each on its own."""
    W, b = network.W
    K, d = W.shape
    a, top = xi.interval(x, (0.0, 1.0))
    corners = [torch.where(torch.tensor(high), top, a) for high in product([False, True], repeat=d)]
    worst = torch.full((len(x),), -math.inf, dtype=x.dtype)
    for t, i in product(corners, range(K)):
        # t >= 0, so the worst rows are W_i + eps and W_y - eps
        margin = ((W[i] + xi.eps_w[0]) * t).sum(1) + b[i] + xi.eps_w[1]
        margin -= ((W[y] - xi.eps_w[0]) * t).sum(1) + b[y] - xi.eps_w[1]
        worst = torch.where(y == i, worst, torch.maximum(worst, margin))
    return float((worst < 0).double().mean())


def test_parameters_that_the_logits_ignore_do_not_matter(models, tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(assess, "ATTACKS", {name: short(attack) for name, attack in assess.ATTACKS.items()})
    found = judged(models, "Idle", tmp_path, assess.plan(points=2))
    assert set(found.contours) == {"paper", "strong"}


def short(attack: Attack) -> Attack:
    members, polish = (tuple(replace(a, steps=1) for a in part) for part in (attack.members, attack.polish))
    return replace(attack, members=members, polish=polish)


def test_a_module_of_ones_own_class_is_judged_on_flat_inputs(models, tmp_path):
    assert 0 <= judged(models, "Own", tmp_path).contours["strong"].auc <= 1


def test_the_attacks_are_the_papers_and_the_strong_one(monkeypatch):
    monkeypatch.undo()
    assert assess.ATTACKS["paper"] == PAPER and len(assess.ATTACKS["strong"].members) > 1


# loading ------------------------------------------------------------------------------------------------------------


def test_the_same_file_gives_the_same_model_and_leaves_the_global_generator_alone(models):
    state = torch.get_rng_state()
    one, two = (assess.load_model(f"{models}:cnn") for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert torch.equal(state, torch.get_rng_state())


def test_weights_and_batch_norm_statistics_come_from_the_safetensors_file(models, tmp_path):
    parts = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 10)
    trained, x = nn.Sequential(*parts), torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    trained(x)  # in train mode: moves the running statistics
    save_model(trained, str(tmp_path / "w.safetensors"))
    torch.save(trained.state_dict(), tmp_path / "w.pt")
    for file in ("w.safetensors", "w.pt"):
        assert torch.equal(assess.load_model(f"{models}:cnn", tmp_path / file).eval()(x), trained.eval()(x))


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        (lambda model: model, r"is damaged or holds more than tensors; save model\.state_dict\(\) alone$"),
        (lambda model: {"epoch": 3, "model": model.state_dict()}, r"holds epoch, model too; save model\.state_dict"),
        (lambda model: [*model.parameters()], "holds an object of type list"),
        (lambda model: nn.DataParallel(model).state_dict(), r"save model\.module\.state_dict\(\)"),
        (lambda model: nn.Linear(3, 2).state_dict(), "do not fit.*size mismatch for weight"),
    ],
)
def test_a_torch_file_of_anything_but_the_models_own_tensors_is_refused_and_not_run(models, tmp_path, saved, message):
    torch.save(saved(nn.Linear(64, 10)), tmp_path / "w.pt")
    with pytest.raises(AssessError, match=message):
        assess.load_model(f"{models}:linear", tmp_path / "w.pt")


def test_a_model_may_import_the_files_beside_it(tmp_path):
    (tmp_path / "my_sizes.py").write_text("K = 7\n")
    (tmp_path / "model.py").write_text(
        "from my_sizes import K\nfrom torch import nn\n\ndef make():\n    return nn.Linear(64, K)\n"
    )
    assert assess.load_model(f"{tmp_path / 'model.py'}:make").weight.shape == (7, 64)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.uint8, np.dtype(">f4")])
def test_an_npz_of_any_number_type_is_read_and_cut_to_the_first_samples(tmp_path, kind):
    x, y = np.eye(6, 64).astype(kind), np.arange(6, dtype=np.uint8)
    np.savez(tmp_path / "d.npz", x=x, y=y)
    split = assess.load_samples(str(tmp_path / "d.npz"), 4)
    assert split.x.tolist() == np.eye(4, 64).tolist() and split.y.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_samples_take_the_dtype_of_the_model(dtype):
    _, split = assess.ready(nn.Linear(64, 10).to(dtype), data.load("digits", flat=False).test.first(5))
    assert split.x.dtype == dtype and split.x.shape == (5, 64)


def test_a_model_that_cannot_be_differentiated_is_refused_before_the_grid_is_begun():
    class Rounded(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Linear(4, 3)

        def forward(self, x):
            return torch.from_numpy(self.last(x).detach().numpy())

    with pytest.raises(AssessError, match="no gradient by inputs or weights"):
        assess.ready(Rounded(), Split(torch.rand(3, 4), torch.zeros(3, dtype=torch.long)))


@pytest.mark.parametrize(
    ("name", "moving", "missed"),
    [("Blind", "inputs", (0.0, 0.1)), ("Numb", "weights", (0.1, 0.0))],
)
def test_what_cannot_be_attacked_at_an_edge_of_the_grid_is_refused_before_the_grid_is_begun(
    models, name, moving, missed
):
    module, split = assess.load_model(f"{models}:{name}"), data.load("digits").test.first(3)
    network = Network.from_module(module)
    assert survivors(network, split.x, split.y, [Budget.uniform(*missed, network)]).shape == (1, 3)
    with pytest.raises(AssessError, match=f"cannot be attacked where its {moving} move"):
        assess.ready(module, split)


def test_a_model_whose_certificates_do_not_fit_into_memory_is_refused_before_the_grid_is_begun(models, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(assess, "certifiable", full)
    module, split = assess.load_model(f"{models}:dense"), data.load("digits").test.first(3)
    with pytest.raises(AssessError, match="cannot be certified, see --no-certify: RuntimeError: Default"):
        assess.ready(module, split)
    assess.ready(module, split, assess.plan(certify=False))


def test_a_model_that_fails_on_the_way_is_refused_and_its_cells_stay(models, tmp_path):
    with pytest.raises(AssessError, match=r"Tired failed on the way \(SystemExit: 0\); finished cells are in"):
        judged(models, "Tired", tmp_path, assess.plan(points=6, strong=False))
    assert json.loads((tmp_path / "cells" / "paper.json").read_text())["cells"]


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda last, x: last(x)[:2], "2 rows of logits for 3 samples"),
        (lambda last, x: last(x if len(x) < 3 else x[:, :1]), "mat1 and mat2"),
        (lambda last, x: nn.functional.dropout(last(x), training=True), "other logits each time"),
    ],
)
def test_a_model_whose_answers_depend_on_more_than_its_input_is_refused_before_the_grid_is_begun(forward, message):
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Linear(4, 3)

        def forward(self, x):
            return forward(self.last, x)

    with pytest.raises(AssessError, match=message):
        assess.ready(Own(), Split(torch.rand(3, 4), torch.zeros(3, dtype=torch.long)))


def test_a_model_that_cannot_be_copied_is_refused_in_one_line(tmp_path):
    file = tmp_path / "model.py"
    file.write_text(
        "from torch import nn\n"
        "def make():\n"
        "    module = nn.Linear(64, 10)\n"
        "    module.kept = module.weight * 2\n"
        "    return module\n"
    )
    with pytest.raises(AssessError, match="the model: RuntimeError"):
        assess.ready(assess.load_model(f"{file}:make"), data.load("digits").test.first(3))


# nothing is lost ----------------------------------------------------------------------------------------------------


def test_an_interrupted_assessment_is_taken_up_where_it_stopped(models, tmp_path):
    whole, seen = judged(models, "dense", tmp_path / "whole"), []

    def stop(curve: str, done: int, total: int) -> None:
        if (curve, done) == ("strong", 4):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judged(models, "dense", tmp_path / "broken", watch=stop)
    assert {p.name for p in (tmp_path / "broken").iterdir()} == {"cells"}
    assert judged(models, "dense", tmp_path / "broken", watch=lambda *at: seen.append(at)) == whole
    firsts = {curve: done for curve, done, _ in reversed(seen)}
    assert firsts["paper"] == 9 and firsts["strong"] >= 4 and firsts["certified"] == 0


def test_a_file_is_written_whole_or_not_at_all(models, tmp_path, monkeypatch):
    found = judged(models, "dense", tmp_path)
    before = (tmp_path / "assessment.json").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        assess.write(found, tmp_path)
    assert (tmp_path / "assessment.json").read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {"contour.png", "assessment.json", "cells"}


# flags and figure ---------------------------------------------------------------------------------------------------

PAPERS = Contour((0.0, 0.1), (0.0, 0.1), ((0.9, 0.5), (0.4, 0.6)))
STRONGS = Contour((0.0, 0.1), (0.0, 0.1), ((0.9, 0.3), (0.5, 0.3)))


def test_flags_name_the_cells_that_rise_and_those_where_the_attacks_part():
    flags = Assessment("m", "d", 1, {"paper": PAPERS, "strong": STRONGS}).flags
    rising, above = flags.values()
    assert [*flags][0].startswith("the paper's attack leaves over a point more") and rising == ((1, 1),)
    assert above == ((1, 0),)  # that the stronger attack leaves less is nothing to look at twice
    assert not Assessment("m", "d", 1, {"paper": STRONGS, "strong": STRONGS}).flags


def panels(figure) -> list:
    return [ax for ax in figure.axes if ax.get_title()]


def test_the_figure_has_one_titled_panel_a_contour_with_its_auc():
    figure = drawn({"one": PAPERS, "two": STRONGS})
    assert [ax.get_title() for ax in panels(figure)] == [f"one\nAUC {PAPERS.auc:.3f}", f"two\nAUC {STRONGS.auc:.3f}"]
    assert {text.get_text() for ax in panels(figure)[:1] for text in ax.texts} >= {"40 %", "50 %"}  # the edges' ends


def test_certified_lines_appear_only_where_they_are_given_and_level_contours_raise_no_warning():
    flat = Contour((0.0, 0.1), (0.0, 0.1), ((0.0, 0.0), (0.0, 0.0)), "relative")
    names = " ".join(text.get_text() for text in drawn({"one": PAPERS}, {"one": STRONGS}).legends[0].get_texts())
    assert "certified: 10, 50 and 90 %" in names
    figure = drawn({"flat": flat})
    assert "certified" not in " ".join(text.get_text() for text in figure.legends[0].get_texts())
    assert "share" in panels(figure)[0].get_ylabel()


def test_six_contours_fill_rows_that_a_phone_has_room_for():
    figure = drawn({f"net {k}": PAPERS for k in range(6)})
    columns = {round(panel.get_position().x0, 3) for panel in panels(figure)}
    assert len(panels(figure)) == 6 and len(columns) == 2 and figure.get_figwidth() <= WIDEST


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"eps_x": 0.0}, "eps_x must be positive"),
        ({"eps_w": math.nan}, "eps_w must be positive"),
        ({"eps_x": 1e31}, "eps_x must be positive, from 1e-30 to 1e.30"),
        ({"eps_w": 5e-324}, "eps_w must be positive, from 1e-30"),
        ({"points": 1}, "two points"),
        ({"points": 10**6}, "takes 1,000"),
        ({"geometry": "round"}, "unknown geometry"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(AssessError, match=message):
        assess.plan(**wrong)


# what a reader has to know besides ----------------------------------------------------------------------------------

ODD = """
    import numpy as np
    import torch
    from torch import nn
    from types import SimpleNamespace

    class Around(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.model = nn.Sequential(nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))

    class Softmax(Around):
        def forward(self, x):
            return self.model(x).softmax(-1)

    class Named(Around):
        def forward(self, x):
            return {"logits": self.model(x), "size": len(x)}

    class Pair(Around):
        def forward(self, x):
            return self.model(x), x

    class Rounded(Around):
        def forward(self, x):
            return torch.round(100 * self.model(x)) / 100

    class Normalised(Around):
        def forward(self, x):
            return self.model((x - 0.3) / 0.4)

    class Object(Around):
        def forward(self, x):
            return SimpleNamespace(logits=self.model(x))

    class InPlace(Around):
        def forward(self, x):
            x -= 0.3
            return self.model(x / 0.4).tanh()

    class Centred(Around):
        def forward(self, x):
            return self.model(x - x.mean(0, keepdim=True))

    class Frozen(Around):
        def forward(self, x):
            with torch.no_grad():
                z = self.model[0](x).tanh()
            return self.model[2](z) + 0 * x[:, :10]

    class Edge(Around):
        def __init__(self):
            super().__init__()
            self.register_buffer("start", self.model[2].bias.detach().clone())

        def forward(self, x):
            return self.model(x) + 0 * torch.sqrt((self.model[2].bias - self.start).abs().sum())

    class Keeper:
        def __init__(self, layer):
            self.layer = layer

        def __call__(self, x):
            return self.layer(x)

        def __deepcopy__(self, memo):
            return self

    class Aside(Around):
        def __init__(self):
            super().__init__()
            self.first = Keeper(self.model[0])

        def forward(self, x):
            return self.model[2](self.first(x).tanh())

    class BatchNorm(Around):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(64, track_running_stats=False)

        def forward(self, x):
            return self.model(self.norm(x))

    def half():
        return Around().model.half()

    def complex_one():
        model = Around().model
        model[2].weight = nn.Parameter(model[2].weight.to(torch.complex64))
        return model

    def quantised():
        return torch.ao.quantization.quantize_dynamic(Around().model, {nn.Linear}, dtype=torch.qint8)

    def partly_quantised():
        return nn.Sequential(torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(64, 9))), nn.Linear(9, 10))

    class Saturated(Around):
        def forward(self, x):
            return torch.tanh(120 * self.model(x))

    def signed():
        generator = np.random.default_rng(0)
        return 2 * generator.random((20, 64)) - 1, generator.integers(0, 10, 20)

    def torn():
        return 3
"""


@pytest.fixture(scope="module")
def odd(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("odd") / "odd.py"
    file.write_text(textwrap.dedent(ODD))
    return file


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Named", r"forward is self\.model\(x\)\['logits'\]"),
        ("Pair", r"forward is self\.model\(x\)\[0\]"),
        ("Rounded", "no gradient by inputs or weights"),
        ("Object", r"forward is self\.model\(x\)\.logits"),
        ("Centred", "depend on the others of the batch; use fixed statistics"),
        ("BatchNorm", "cannot judge one image alone .*batch-norm"),
        ("Aside", "a copy of the model gives other logits than the model"),
        ("half", r"parameters are torch\.float16; .*model\.float\(\)"),
        ("complex_one", r"parameters are torch\.complex64"),
    ],
)
def test_what_gives_no_logits_or_no_gradient_is_refused_with_what_to_do(odd, tmp_path, name, message):
    with pytest.raises(AssessError, match=message) as refusal:
        judged(odd, name, tmp_path / "out")
    assert "\n" not in str(refusal.value) and not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch moves its quantisation elsewhere
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", ["quantised", "partly_quantised"])
def test_a_quantised_model_is_refused_with_what_to_do(odd, tmp_path, name):
    with pytest.raises(AssessError, match="its weights are whole numbers, .*; pass the float model"):
        judged(odd, name, tmp_path)


def test_a_model_that_changes_its_input_in_place_is_judged_on_the_samples_as_they_are(odd):
    before = data.load("digits").test.first(5)
    network, split = assess.ready(assess.load_model(f"{odd}:InPlace"), data.load("digits").test.first(5))
    first = network(split.x)
    assert torch.equal(split.x, before.x) and torch.equal(network(split.x), first)
    xi = Budget.uniform(0.0, 0.01, network)
    survivors(network, split.x, split.y, [xi], QUICK["paper"])
    assert torch.equal(split.x, before.x)


def test_parts_that_no_gradient_reaches_are_named(odd, tmp_path):
    found = judged(odd, "Frozen", tmp_path, assess.plan(points=2, strong=False))
    assert any(note.startswith("no gradient reaches x, model.0.weight, model.0.bias (") for note in found.notes)
    assert any("gradients vanish" in what for what in found.flags)


def test_gradients_that_are_not_finite_where_attacks_start_are_flagged(odd, tmp_path):
    found = judged(odd, "Edge", tmp_path, assess.plan(points=2, strong=False))
    assert found.dead[0] == (0.0, 1.0) and found.dead[1][1] == 1.0


def test_a_model_that_is_no_dense_chain_tells_of_each_time_that_it_is_run(odd, tmp_path):
    told = []
    judged(odd, "Softmax", tmp_path, assess.plan(points=2, strong=False), on_pass=lambda: told.append(1))
    assert len(told) > 3 * QUICK["paper"].members[0].steps


def test_the_estimate_of_time_counts_the_steps_of_all_cells(odd, tmp_path, monkeypatch):
    monkeypatch.setattr(assess, "ATTACKS", {"paper": Attack.pgd(100)})
    what, passes = assess.plan(points=3, strong=False), []
    judged(odd, "Softmax", tmp_path, what, on_pass=lambda: passes.append(1))
    network, split = assess.ready(assess.load_model(f"{odd}:Softmax"), data.load("digits").test.first(30), what)
    clock = []

    def forward(W: tuple[Tensor, ...], x: Tensor) -> Tensor:
        clock.append(1)
        return network.forward(W, x)

    monkeypatch.setattr(assess.time, "perf_counter", lambda: float(len(clock)))  # a pass takes a second
    seconds = assess.estimate(replace(network, forward=forward), split, what) * torch.get_num_threads()
    assert len(passes) <= seconds <= 1.3 * len(passes)


def test_built_in_samples_outside_the_box_are_refused():
    with pytest.raises(AssessError, match=r"digits: x must lie in \[0.2, 0.8\], .*--box"):
        assess.load_samples("digits", 10, (0.2, 0.8))


def test_a_softmax_at_the_end_is_noticed_and_so_is_why_there_are_no_certificates(odd, tmp_path):
    notes = judged(odd, "Softmax", tmp_path, assess.plan(points=2)).notes
    assert "return those" in notes[0] and notes[1].startswith("no certificates: it applies softmax")


def test_a_normalisation_in_front_is_certified_and_the_image_s_own_weights_attack_it(odd, tmp_path):
    found = judged(odd, "Normalised", tmp_path, assess.plan(eps_x=0.01, eps_w=0.002, points=3))
    assert {"own", "certified"} <= set(found.contours) and "normalised by constants" in found.notes[0]
    assert (found.contours["certified"].array <= found.contours["own"].array).all()
    assert (found.contours["own"].array[:, 1:] <= found.contours["strong"].array[:, 1:] + 0.05).all()


def test_gradients_that_vanish_are_flagged_cell_by_cell(odd, tmp_path):
    found = judged(odd, "Saturated", tmp_path, assess.plan(points=2, strong=False))
    assert found.dead[0][0] == 0 and min(found.dead[0][1], *found.dead[1]) >= 1 / 8
    assert any("gradients vanish" in what for what in found.flags)
    assert not any("gradients vanish" in what for what in judged(odd, "Normalised", tmp_path / "b").flags)


def test_data_of_one_s_own_may_come_from_a_function_and_lie_in_another_box(odd, tmp_path):
    samples = f"{odd}:signed"
    with pytest.raises(AssessError, match=r"x must lie in \[0, 1\], .*--box"):
        assess.load_samples(samples, 10)
    split = assess.load_samples(samples, 10, (-1.0, 1.0))
    assert split.x.shape == (10, 64) and split.x.min() < 0
    with pytest.raises(AssessError, match=r"must return the pair \(x, y\)"):
        assess.load_samples(f"{odd}:torn", 10)
    what = assess.plan(points=2, box=(-1.0, 1.0))
    found = assess.assess(f"{odd}:Normalised", samples, what, tmp_path, images=10)
    assert found.images == 10 and found.settings["plan"]["box"] == (-1.0, 1.0)


def test_only_the_tensors_that_are_named_move(odd, tmp_path):
    what = assess.plan(points=2, only="*.bias", strong=False, certify=False)
    found = judged(odd, "Normalised", tmp_path, what)
    assert "only these tensors move: model.0.bias, model.2.bias" in found.notes
    assert found.settings["parameters attacked"] == 22
    with pytest.raises(AssessError, match="--only: .*names none of the weight tensors model.0.weight"):
        judged(odd, "Normalised", tmp_path, replace(what, only="conv"))


def test_two_models_never_share_their_cells_and_a_changed_digit_is_noticed(odd, models, tmp_path):
    what = assess.plan(points=2, strong=False, certify=False)
    judged(odd, "Normalised", tmp_path, what)
    with pytest.raises(StoreError, match="was begun with other model"):
        judged(models, "dense", tmp_path, what)
    path = tmp_path / "cells" / "paper.json"
    path.write_bytes(path.read_bytes().replace(b"0.0", b"0.5", 1))
    with pytest.raises(StoreError, match="has been changed since it was written"):
        judged(odd, "Normalised", tmp_path, what)


def test_the_end_of_a_long_error_is_told_where_its_cause_may_stand():
    long = RuntimeError("first " + "x" * 5000 + " the cause")
    assert reason(long).startswith("RuntimeError: first") and reason(long).endswith("the cause")
    assert len(reason(long)) < 400
