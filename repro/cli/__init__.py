"""The command line; `python -m repro --help`."""

from repro.cli.text import parse_seeds

__all__ = ["parse_seeds"]
