"""The command line: parses, calls and prints."""

from kdsearch.cli.main import main

__all__ = ["main"]
