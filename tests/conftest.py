"""Hypothesis draws the same examples in every run and sets no time limit: a test fails for what it claims alone."""

from hypothesis import settings

settings.register_profile("nsr", deadline=None, derandomize=True)
settings.load_profile("nsr")
