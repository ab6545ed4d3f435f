"""A chapter or the whole book once more, with other parameters, beside the reference and never over it."""


class ChapterError(RuntimeError):
    """A cell failed; the message fits on one screen and ends with where the notebook lies, executed so far."""


class BuildError(RuntimeError):
    """Jupyter Book gave up; the message names the file with all of its words."""
