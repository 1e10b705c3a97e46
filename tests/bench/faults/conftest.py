from collections.abc import Iterator

import pytest

from kdsearch.bench.faults.shared_services import SharedServices


@pytest.fixture(scope="module")
def services() -> Iterator[SharedServices]:
    with SharedServices() as shared:
        yield shared
