"""Faults of drivers, of their Ray and of the network: nothing is lost."""

from pathlib import Path

import pytest

from kdsearch.bench.faults.shared_services import SharedServices
from tests.bench.faults.rounds import ROUNDS_OF_DRIVERS, check_round


@pytest.fixture(autouse=True)
def _no_launch_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the hosts' Ray and drivers not find the token of a Ray that this process had before them.

    Processes of their own start all that is needed here. It is put back: this process keeps to its token.
    """
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("kinds", ROUNDS_OF_DRIVERS, ids=" ".join)
def test_a_study_is_whole_after_faults(
    kinds: tuple[str, ...], services: SharedServices, tmp_path: Path
) -> None:
    check_round(kinds, services, tmp_path)
