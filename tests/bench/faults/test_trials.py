"""Faults of trials and of the files and the database that they write: nothing is lost."""

from pathlib import Path

import pytest

from kdsearch.bench.faults.shared_services import SharedServices
from tests.bench.faults.rounds import ROUNDS_OF_TRIALS, check_round


@pytest.mark.ray
@pytest.mark.parametrize("kinds", ROUNDS_OF_TRIALS, ids=" ".join)
def test_a_study_is_whole_after_faults(
    kinds: tuple[str, ...], services: SharedServices, tmp_path: Path
) -> None:
    check_round(kinds, services, tmp_path)
