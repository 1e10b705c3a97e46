"""Runs that others made, put into a study's terms."""

from kdsearch.runs.asked import Asked
from kdsearch.runs.files import RunTable, read_table
from kdsearch.runs.runs import Runs, runs_of

__all__ = ["Asked", "RunTable", "Runs", "read_table", "runs_of"]
