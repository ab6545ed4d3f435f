"""The book: its chapters through papermill, a chapter or the whole once more with other parameters, and its printing.

The names below are loaded when they are first asked for: a chapter that names the kinds of its parameters needs no
papermill.
"""

from __future__ import annotations

from importlib import import_module

_HOMES = {
    **dict.fromkeys(("README_FIGURES", "chapters", "figure", "figure_path", "stripped"), "notebooks"),
    **dict.fromkeys(("BuildError", "ChapterError", "Rerun", "run"), "rerun"),
    **dict.fromkeys(("Edition", "plan", "rebuild"), "edition"),
    **dict.fromkeys(("Parameter", "check", "of_chapter", "of_file"), "parameters"),
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f"nsr.book.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
