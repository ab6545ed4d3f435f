"""A chapter or the whole book once more, with other parameters, beside the reference and never over it."""

from nsr.book.edition import Edition, plan, rebuild
from nsr.book.notebooks import README_FIGURES, chapters, figure, figure_path, stripped
from nsr.book.parameters import Parameter, check, of_chapter, of_file
from nsr.book.rerun import BuildError, ChapterError, Rerun, run

__all__ = [
    "README_FIGURES",
    "chapters",
    "figure",
    "figure_path",
    "stripped",
    "BuildError",
    "ChapterError",
    "Edition",
    "Parameter",
    "Rerun",
    "check",
    "of_chapter",
    "of_file",
    "plan",
    "rebuild",
    "run",
]
