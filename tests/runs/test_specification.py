"""Claims about specifications: equal ones have one key, every number counts, and what is senseless is refused."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import get_args, get_type_hints

import pytest
import tiny
import torch
from pydantic import ValidationError

import nsr.runs
from nsr import data, paths
from nsr.runs import Spec, reproduce, tuning
from nsr.training import Method, loss


def test_the_key_does_not_depend_on_the_order_of_keys_on_int_or_float_or_on_the_title():
    spec = tiny.spec(lr=1)
    words = spec.model_dump(mode="json")
    turned = {name: words[name] for name in reversed(words)} | {"method": dict(reversed(words["method"].items()))}
    same = [
        Spec.model_validate(turned),
        Spec.model_validate_json(json.dumps(turned)),
        tiny.spec(lr=1.0),
        tiny.spec(lr=1.0, beta=-0.0),
        Spec(**{**dict(spec), "sizes": [64, 16, 10]}),
        Spec(**{**dict(spec), "method": replace(spec.method, lr=1, title="By another name")}),
    ]
    assert {other.key for other in same} == {spec.key} and {other.folder for other in same} == {spec.folder}


OTHER = {"images_per_W": 1, "norm": "l1"} | {
    "bound": "repaired",
    "certified": 0.5,
    "ramp": 0.7,
    "momentum": 0.5,
}


@pytest.mark.parametrize("number", nsr.runs.NUMBERS)
def test_every_number_of_the_method_changes_the_key_and_is_named_as_a_difference(number):
    was = getattr(tiny.spec().method, number)
    value = {"sgd": "adam", "adam": "sgd"}[was] if number == "optimiser" else OTHER.get(number) or was + 1
    changed = tiny.spec(**{number: value})
    assert changed.key != tiny.spec().key and f"{number} {getattr(changed.method, number)}" in changed.differs


@pytest.mark.parametrize(
    "change",
    [
        {"name": "at"},
        {"seed": 1},
        {"dataset": "mnist", "sizes": (784, 10)},
        {"sizes": (64, 17, 10)},
        {"images": 201},
        {"net": "cnn", "sizes": (1, 8, 10)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_other_field_changes_the_key(change):
    assert Spec(**{**dict(tiny.spec()), **change}).key != tiny.spec().key


def test_the_fields_of_a_specification_are_those_tested_here():
    assert set(Spec.model_fields) == {"dataset", "net", "sizes", "images", "name", "method", "seed"}
    assert {f.name for f in fields(Method)} == {*nsr.runs.NUMBERS, "title"}


def test_a_row_of_the_table_differs_in_nothing_and_others_say_in_what():
    assert nsr.runs.spec("at", 3).differs == ""
    assert nsr.runs.spec("at", attack_x=0.2, images=9).differs == "attack_x 0.2, images 9"
    assert tiny.spec().differs == "epochs 3, batch 50, sizes 64-16-10, images 200, dataset digits"


def test_a_specification_cannot_be_changed():
    with pytest.raises(ValidationError):
        tiny.spec().seed = 1


WRONG = {
    "an unknown method": ({"name": "nope"}, "unknown method 'nope': choose one of standard, "),
    "an unknown number": ({"lrate": 0.1}, "unknown number 'lrate': a method has alpha, "),
    "the title": ({"title": "Mine"}, "unknown number 'title': a method has alpha, "),
    "a word for a rate": ({"lr": "x"}, "lr must be a valid number, got 'x'"),
    "nothing for a rate": ({"lr": ""}, "lr must be a valid number, got ''"),
    "a negative rate": ({"lr": -1}, "lr must be greater than 0, got -1"),
    "no rate": ({"lr": 0}, "lr must be greater than 0, got 0"),
    "NaN": ({"lr": float("nan")}, "lr must be less than or equal to 1e30, got nan"),
    "a rate that no float holds": ({"lr": 1e38}, r"lr must be less than or equal to 1e30, got 1e\+38"),
    "infinite": ({"beta": float("inf")}, "beta must be less than or equal to 1e30, got inf"),
    "a negative radius": ({"attack_x": -0.1}, "attack_x must be greater than or equal to 0, got -0.1"),
    "no epochs": ({"epochs": 0}, "epochs must be greater than or equal to 1, got 0"),
    "half an epoch": ({"epochs": 1.5}, "epochs must be a valid integer, got 1.5"),
    "no batch": ({"batch": 0}, "batch must be greater than or equal to 1, got 0"),
    "a batch without end": ({"batch": 10**10}, "batch must be less than or equal to 1000000000, got 10000000000"),
    "no steps": ({"attack_steps": 0}, "attack_steps must be greater than or equal to 1, got 0"),
    "more than all": ({"certified": 1.1}, "certified must be less than or equal to 1, got 1.1"),
    "momentum of 1": ({"momentum": 1}, "momentum must be less than 1, got 1"),
    "an unknown bound": ({"bound": "best"}, "bound must be 'printed', 'repaired', 'norms' or 'interval', got 'best'"),
    "a number for a bound": ({"bound": 3}, "bound must be 'printed', 'repaired', 'norms' or 'interval', got 3"),
    "an unknown optimiser": ({"optimiser": "lion"}, "optimiser must be 'sgd' or 'adam', got 'lion'"),
    "a negative seed": ({"seed": -1}, "seed must be greater than or equal to 0, got -1"),
    "a seed without end": ({"seed": 2**63}, f"seed must be less than {2**63}, got {2**63}"),
    "an unknown data set": ({"dataset": "imagenet"}, "dataset must be 'mnist', 'fashion-mnist' or 'digits', got 'imag"),
    "one width": ({"sizes": (64,)}, "sizes: tuple should have at least 2 items"),
    "no width": ({"sizes": (64, 0, 10)}, "sizes must be greater than or equal to 1, got 0"),
    "half a width": ({"sizes": (64, 7.5, 10)}, "sizes must be a valid integer, got 7.5"),
    "widths of other data": ({"sizes": (784, 16, 10)}, "sizes must begin with 64 and end with 10 for digits"),
    "too few classes": ({"sizes": (64, 16, 9)}, "sizes must begin with 64 and end with 10 for digits"),
    "more images than there are": ({"images": 1_198}, "images: digits has 1,197 to train on"),
    "no images": ({"images": 0}, "images must be greater than or equal to 1, got 0"),
    "a method without end": ({"name": "x" * 10**5}, "unknown method 'xxx"),
    "a word without end": ({"lr": "x" * 10**5}, "lr must be a valid number, got 'xxx"),
}


@pytest.mark.parametrize("change, message", WRONG.values(), ids=WRONG)
def test_what_is_unknown_ill_typed_or_senseless_is_refused_in_one_short_line(change, message):
    with pytest.raises(ValueError, match=message) as caught:
        tiny.spec(**change)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    assert not isinstance(caught.value, ValidationError)


@pytest.mark.parametrize("change", [{"images": 200, "extra": 1}, {"method": {"title": "T", "extra": 1}}])
def test_keys_that_a_file_should_not_have_are_refused(change):
    with pytest.raises(ValidationError):
        Spec.model_validate({**tiny.spec().model_dump(), **change})


@pytest.mark.parametrize("name", ["../elsewhere", "a/b", "", ".", "a\n"])
def test_no_name_leads_out_of_the_store(name):
    with pytest.raises(ValidationError, match="name"):
        Spec(**{**dict(tiny.spec()), "name": name})


@pytest.mark.parametrize("name", ["mnist", "digits"])
def test_all_images_of_a_data_set_may_be_trained_on_and_no_more(name):
    train = data.load(name).train
    whole = {"dataset": name, "sizes": (train.x.shape[1], int(train.y.max()) + 1)}
    assert tiny.spec(**whole, images=len(train)).images == len(train)
    with pytest.raises(ValueError, match=f"{name} has {len(train):,} to train on"):
        tiny.spec(**whole, images=len(train) + 1)


def test_a_row_may_name_every_bound_that_the_loss_knows():
    assert set(get_args(get_type_hints(Method)["bound"])) == set(loss.BOUNDS)


def test_all_specifications_of_the_book_are_sensible_and_none_shares_a_folder_with_another(tmp_path):
    orders = [*reproduce.orders("paper"), *reproduce.orders("quick"), *tuning.orders(tmp_path)]
    specs = {order.spec.key: order.spec.folder for order in orders}
    assert len(set(specs.values())) == len(specs)


def test_the_shipped_runs_have_the_keys_that_their_folders_are_named_by():
    shipped = [path.parent for path in paths.DATA.glob("runs/*/spec.json")]
    assert len(shipped) >= 58
    for folder in shipped:
        assert Spec.model_validate_json((folder / "spec.json").read_bytes()).folder == folder.name


def test_a_cnn_has_sizes_of_its_own_and_fits_its_images():
    made = nsr.runs.spec("at", net="cnn", dataset="digits")
    assert made.sizes == nsr.runs.CNN_SIZES and "net cnn" in made.differs
    network = made.fresh(torch.Generator().manual_seed(0))
    assert network(torch.zeros(3, 64)).shape == (3, 10) and made.network(network.W)(torch.zeros(3, 64)).shape == (3, 10)
    for sizes, what in (
        ((64, 8, 10), "begin with 1"),
        ((1, 10), "one convolution or a few"),
        ((1, 2, 2, 2, 2, 10), "a few"),
    ):
        with pytest.raises(ValueError, match=what):
            nsr.runs.spec("at", net="cnn", dataset="digits", sizes=sizes)
