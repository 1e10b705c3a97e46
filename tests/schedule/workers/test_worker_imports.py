"""What a worker loads: every pack at once pays for it, in memory and at its start."""

import subprocess
import sys

OTHERS = {"alembic", "optuna", "plotly", "scipy", "sklearn", "sqlalchemy", "torch"}
"""What its driver, an answer or our own engine needs, and a user's trainer without torch does not."""


def test_a_worker_loads_nothing_that_only_others_need() -> None:
    """Neither that of a pack nor that of a teacher."""
    code = f"""
import sys
from ray import tune
before = set(sys.modules)
from kdsearch.schedule.teachers import _train
from kdsearch.schedule.workers.trainable import run_pack
from kdsearch.schedule.workers.trainers import load_trainer
load_trainer("kdsearch.bench.scale.trainer:train", "artifacts")
print(sorted({OTHERS!r} & (set(sys.modules) - before)))
"""
    told = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert told.strip() == "[]"


def test_the_search_gives_its_names_when_they_are_asked_for() -> None:
    import kdsearch.search

    names = kdsearch.search.__all__
    assert [name for name in names if not hasattr(kdsearch.search, name)] == []
    assert not hasattr(kdsearch.search, "anything_else")
