"""The examples in the docstrings of what users import: each runs as it is printed."""

import doctest
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

import kdsearch
from kdsearch import distill, search

OF_A_STUDY = [kdsearch.open_study, kdsearch.Study.best, kdsearch.Study.compare]
EXAMPLES = [
    kdsearch.load_spec,
    distill.objective,
    distill.build_model,
    distill.train_pack,
    search.ProfileSampler,
]


def run_example(named: Any, **names: Any) -> None:
    [example] = doctest.DocTestFinder(recurse=False).find(
        named, named.__name__, globs={named.__name__: named, **names}
    )
    assert example.examples
    assert doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example).failed == 0


@pytest.mark.parametrize("named", EXAMPLES, ids=lambda named: named.__name__)
def test_its_example_runs_as_printed(named: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree("studies", tmp_path / "studies")
    monkeypatch.chdir(tmp_path)
    logging.getLogger("optuna").setLevel(logging.WARNING)
    run_example(named)


@pytest.mark.ray
def test_the_examples_around_a_study_run_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KDSEARCH_STORAGE", raising=False)
    run_example(kdsearch.launch)
    for named in OF_A_STUDY:
        run_example(named, study=kdsearch.open_study("example"))
