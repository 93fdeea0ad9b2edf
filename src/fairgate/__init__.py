"""Fairgate: a fair line, a bearable rate, exactly one ticket."""

__version__ = "0.1.0"
