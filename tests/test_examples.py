"""The examples in the docstrings of what users import: each runs as it is printed."""

import doctest
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

import kdsearch
from kdsearch import distill, search

EXAMPLES = [
    kdsearch.load_spec,
    distill.objective,
    distill.build_model,
    distill.train_pack,
    search.ProfileSampler,
]


@pytest.mark.parametrize("named", EXAMPLES, ids=lambda named: named.__name__)
def test_its_example_runs_as_printed(named: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree("studies", tmp_path / "studies")
    monkeypatch.chdir(tmp_path)
    logging.getLogger("optuna").setLevel(logging.WARNING)
    finder = doctest.DocTestFinder(recurse=False)
    [example] = finder.find(named, named.__name__, globs={named.__name__: named})
    assert example.examples
    results = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example)
    assert results.failed == 0
