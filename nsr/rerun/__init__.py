"""Floor 8: a chapter or the whole book once more, with other parameters, beside the reference and never over it."""

from nsr.book import chapters as chapters
from nsr.rerun.chapter import BuildError, ChapterError, Rerun, run
from nsr.rerun.edition import Edition, plan, rebuild
from nsr.rerun.parameters import Parameter, check, of_chapter, of_file

__all__ = [
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
