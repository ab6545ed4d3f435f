"""The table of training methods, one row a method, switches and numbers only; `train.fit` obeys them all."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

from pydantic import Field

# what a number of a row may be, checked where a specification is made; float32 holds 1e30 and products with a few
Amount = Annotated[float, Field(ge=0, le=1e30)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, le=10**9)]


@dataclass(frozen=True)
class Method:
    """One row: which terms the loss has, who attacks during training, and how the optimiser goes.

    Radii are in units of x in [0, 1] and of W. A field left at 0 switches its ingredient off.
    """

    __pydantic_config__ = {"extra": "forbid"}  # where a row is read from a file, what it does not know is refused

    title: str
    # eq. (4): weights of the two terms, the bound they come from, and the budget xi inside them
    alpha: Amount = 0.0
    beta: Amount = 0.0
    bound: Literal["printed", "repaired", "norms", "interval"] = "printed"
    xi_x: Amount = 0.0
    xi_w: Amount = 0.0
    # min-max: the attacker that every training step faces, simultaneous signed ascent from a random start
    attack_x: Amount = 0.0
    attack_w: Amount = 0.0
    attack_steps: Count = 5
    images_per_W: Literal[1] | None = None  # whom one W_hat serves: the whole batch (None), or each image its own (1)
    # beyond the paper
    trades: Amount = 0.0  # weight of TRADES' KL term; 0: cross-entropy on the attacked inputs
    awp: Amount = 0.0  # AWP's radius: ||v^m||_2 = awp * ||W^m||_2 for every layer
    certified: Share = 0.0  # share of the interval-certified loss, under (xi_x, xi_w)
    # regularisers of the weights alone, those of Liang and Huang (2021)
    norm_decay: Amount = 0.0  # added to each gradient: the mean over layers of a norm, times this, with momentum
    norm: Literal["linf", "l1"] = "linf"  # which norm decays
    weight_decay: Amount = 0.0  # added to each gradient: the weights times this
    most_singular: Amount = 0.0  # after each epoch larger singular values of a layer are cut to this; 0: none
    # schedule: radii and the weights of added terms grow linearly from 0 over this share of the training
    ramp: Share = 0.4
    optimiser: Literal["sgd", "adam"] = "sgd"
    lr: Annotated[float, Field(gt=0, le=1e30)] = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9  # of SGD
    epochs: Count = 10
    batch: Count = 128
    clip: Amount = 0.0  # largest l_2 norm of a gradient, all layers together; 0: any

    def __post_init__(self) -> None:
        if self.awp > 0 and self.images_per_W == 1:
            raise ValueError("awp moves one W for the whole batch: it cannot be had with images_per_W=1")


# one optimiser, one clipping and one length of training for all rows, so that they differ in what they are named for
_row = partial(Method, optimiser="adam", batch=256, epochs=32, clip=1.0)

# PAPER: unstated, every number below is our choice: the tuned ones by `nsr tune`, on validation
# images, as data/tuning.json records; the others from a first exploration.
METHODS: dict[str, Method] = {
    "standard": _row("Standard", lr=0.005),
    "weight_perturb": _row("Weight Perturb", beta=0.1, xi_w=0.002, lr=0.05),
    "at": _row("AT", attack_x=0.15, lr=0.02),
    "at_beta_low": _row("AT+beta, small", attack_x=0.15, beta=0.01, xi_w=0.002, lr=0.05),
    "at_beta_high": _row("AT+beta, large", attack_x=0.15, beta=0.1, xi_w=0.002, lr=0.05),
    "jiwp": _row("JIWP", alpha=0.003, beta=0.3, xi_x=0.1, xi_w=0.002, lr=0.02),
    "joint_at": _row("Joint AT", attack_x=0.15, attack_w=0.01, lr=0.02),
    "joint_at_own": _row("Joint AT, own weights", attack_x=0.1, attack_w=0.01, images_per_W=1, lr=0.02),
    "interval": _row("Interval-certified", certified=0.5, xi_x=0.1, xi_w=0.001, ramp=0.6, lr=0.01),
    "awp": _row("AT+AWP", attack_x=0.15, awp=0.02, lr=0.02),
    "trades": _row("TRADES", attack_x=0.1, trades=1.0, lr=0.05),
}

PANELS = ("standard", "weight_perturb", "at", "at_beta_low", "at_beta_high", "jiwp")  # Figure 1, (a) to (f)
BEYOND = ("joint_at", "joint_at_own", "interval", "awp", "trades")
