"""One Ray for the launches of a test file in its process; each has one pack at a time.

A start of Ray takes longer than a small study, and so does that of a worker for another pack at once.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import ray

from kdsearch.schedule.cluster import connection


@contextmanager
def one_ray() -> Iterator[None]:
    """Let launches without an address join one Ray. Workers look for a trainer in the folder where it began."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray, "init", partial(ray.init, num_cpus=1))
        with connection.connect(None) as cluster:

            @contextmanager
            def join(address: str | None) -> Iterator[connection.Cluster]:
                assert address is None
                with tempfile.TemporaryDirectory(dir=cluster.scratch) as scratch:
                    yield replace(cluster, scratch=Path(scratch))

            patch.setattr(connection, "connect", join)
            yield
