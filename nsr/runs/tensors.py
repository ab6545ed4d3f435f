"""Weights and the state of a training as bytes, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from nsr import training
from nsr.files import StoreError, sha256
from nsr.network import Weights


def packed_state(state: training.State, begun: Mapping[str, Any] | None = None) -> bytes:
    """A checkpoint: the tensors of a training under way, its epoch, its history and how it was `begun`."""
    tensors = _named(state.W)
    for at, parts in state.optimiser.items():
        tensors |= {f"optimiser.{at}.{name}": part for name, part in parts.items() if part is not None}
    tensors["generator"] = state.generator
    words = {"epoch": str(state.epoch), "history": json.dumps(state.history), "begun": json.dumps(begun or {})}
    return save(tensors, {**words, "sha256": _digest(tensors, words)})


def unpacked_state(checkpoint: bytes) -> training.State:
    """The state of a training that a checkpoint holds; a damaged one is refused."""
    tensors, words = _checked(checkpoint)
    optimiser: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        if key.startswith("optimiser."):
            _, at, name = key.split(".")
            optimiser.setdefault(int(at), {})[name] = tensor
    history = tuple(json.loads(words["history"]))
    return training.State(int(words["epoch"]), _in_order(tensors), optimiser, tensors["generator"], history)


def how_begun(checkpoint: bytes) -> dict[str, Any]:
    """What a checkpoint says of how its training was begun; a damaged one is refused."""
    return json.loads(_checked(checkpoint)[1]["begun"])


def _checked(checkpoint: bytes) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    try:
        tensors = load(checkpoint)
        size = int.from_bytes(checkpoint[:8], "little")
        words = json.loads(checkpoint[8 : 8 + size])["__metadata__"]
        if words.pop("sha256", None) != _digest(tensors, words) or "begun" not in words:
            raise ValueError("its digest is missing or another")
    except (SafetensorError, ValueError, KeyError) as error:
        raise StoreError(f"is damaged ({' '.join(str(error).split())}); remove it to start afresh") from None
    return tensors, words


def _digest(tensors: dict[str, torch.Tensor], words: dict[str, str]) -> str:
    """Of all that a checkpoint holds; safetensors writes tensors in one order, but words in any."""
    return sha256(save(tensors) + json.dumps(words, sort_keys=True).encode())


def packed_weights(W: Weights) -> bytes:
    return save(_named(W))


def unpacked_weights(content: bytes) -> Weights:
    return _in_order(load(content))


def _named(W: Weights) -> dict[str, torch.Tensor]:
    return {f"W{m}": W_m for m, W_m in enumerate(W, start=1)}


def _in_order(tensors: dict[str, torch.Tensor]) -> Weights:
    return tuple(tensors[f"W{m}"] for m in range(1, 1 + sum(key.startswith("W") for key in tensors)))
