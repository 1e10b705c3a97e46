"""Where a data set's files lie. Imports no torch."""

import os
from pathlib import Path

from kdsearch.spec.sections import Dataset


def data_root(dataset: Dataset) -> Path:
    """Return where a data set's files lie: `dataset.root`, KDSEARCH_DATA or the user's cache."""
    named = dataset.root or os.environ.get("KDSEARCH_DATA") or "~/.cache/kdsearch/data"
    return Path(named).expanduser()
