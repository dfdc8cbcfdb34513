"""A cluster for the fault cases."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Cluster
from tests.harness.databases import databases, own_postgres, postgres_server

__all__ = ["cluster", "databases", "own_postgres", "postgres_server"]


@pytest.fixture
def cluster(short_runtime: Path, tmp_path: Path) -> Iterator[Cluster]:
    """Give the test a domain of its own and device servers to start in it."""
    del short_runtime
    ledger = tmp_path / "ledger"
    ledger.mkdir()
    running = Cluster(ledger)
    yield running
    running.close()
