"""`python -m nsr.cli`: the same command line where no program `nsr` is installed."""

from nsr.cli import app

if __name__ == "__main__":
    app()
