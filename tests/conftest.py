"""Nothing is left to luck: every test draws the same numbers in every run, whatever ran before it."""

import pytest
import torch
from hypothesis import settings

settings.register_profile("nsr", deadline=None, derandomize=True)
settings.load_profile("nsr")


@pytest.fixture(autouse=True)
def _same_draws() -> None:
    """Weights of fresh modules and inputs without a generator of their own."""
    torch.manual_seed(0)
