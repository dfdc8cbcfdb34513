"""Archivers as processes, and what their archives hold compared with what devices have produced."""

import json
import os
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import psutil
from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import SQLAlchemyError

from pykarabo.data import ValueType
from pykarabo_services.archiver import tables
from pykarabo_services.archiver.codec import decode_chunk
from pykarabo_services.archiver.model import HOLES, Sample
from pykarabo_services.archiver.store import sample_of
from pykarabo_services.kernel.database import Place, make_engine

from .cluster import FaultyProcess, wait_until

LOOK_S: Final = 0.1
_ROOT: Final = Path(__file__).parents[2]
ROWS: Final = [column for column in tables.sample.columns if column.name != "series_id"]


class ArchiverProcess(FaultyProcess):
    """A server with one archiver.

    Args:
        configuration: of the archiver.
        environment: variables for this process, such as that of the database's URL.
    """

    def __init__(
        self,
        folder: Path,
        device_id: str = "ARCHIVER/1",
        *,
        configuration: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        text = json.dumps(dict(configuration or {}))
        command = [sys.executable, "-m", "tests.harness.archiver_process", device_id, text]
        variables = {**os.environ, "PYTHONPATH": str(_ROOT), **(environment or {})}
        super().__init__(command, variables, folder / f"{device_id.replace('/', '_')}.log")
        said = json.loads(self.hear())
        assert not said["problems"], said["problems"]

    def writer(self) -> psutil.Process:
        """Return the process that writes to the database."""
        found: list[psutil.Process] = []

        def is_there() -> bool:
            found[:] = [
                child
                for child in psutil.Process(self.pid).children()
                if "writer_main" in " ".join(child.cmdline())
            ]
            return bool(found)

        wait_until(is_there, "the archive's writer")
        return found[0]


@dataclass(slots=True)
class ArchiveAccount:
    """What an archive holds of the numbered changes of a device.

    Attributes:
        produced: changes of every life.
        stored: different ones that are in the archive.
        duplicates: stored more than once.
        missing: not stored, and within no gap row.
        reported: what gap rows say is missing; unknown_gaps say "nobody knows".
        strangers: stored and never produced.
    """

    produced: int = 0
    stored: int = 0
    duplicates: int = 0
    missing: int = 0
    reported: int = 0
    unknown_gaps: int = 0
    strangers: int = 0

    @property
    def exact(self) -> bool:
        """Whether everything is there once."""
        return not (self.duplicates or self.missing or self.strangers)

    def plain(self) -> dict[str, int]:
        """Return the account as a map, for the record."""
        return asdict(self)


class Archive:
    """Reads an archive behind the archiver's back.

    Args:
        place: of its database.
    """

    def __init__(self, place: Place) -> None:
        self._place = place

    def _engine(self) -> Engine:
        return make_engine(self._place, read_only=True)

    @contextmanager
    def _snapshot(self) -> Generator[Connection]:
        """Yield a connection that sees one state: meanwhile rows become chunks."""
        with self._engine().connect() as connection:
            if self._place.url is None:
                yield connection
            else:
                yield connection.execution_options(isolation_level="REPEATABLE READ")

    def samples(self, device_id: str, key: str) -> list[Sample]:
        """Return the samples of a property, of all of its types, those of chunks first."""
        series = select(tables.series.c.id, tables.series.c.value_type).where(
            tables.series.c.device_id == device_id, tables.series.c.key == key
        )
        found: list[Sample] = []
        with self._snapshot() as connection:
            for series_id, value_type in connection.execute(series).all():
                data = tables.chunk_data
                chunks = select(data.c.data).where(data.c.series_id == series_id)
                for content in connection.execute(chunks.order_by(data.c.first_ns)).scalars():
                    found += decode_chunk(content).samples()
                rows = select(*ROWS).where(tables.sample.c.series_id == series_id)
                for row in connection.execute(rows.order_by(tables.sample.c.time_ns)):
                    found.append(sample_of(ValueType(value_type), row))
        return found

    def newest(self, device_id: str, key: str) -> Any:
        """Return the value that came last, of those that are rows; None without any."""
        found = self.newest_sample(device_id, key)
        return None if found is None else found.value

    def age_s(self, device_id: str, key: str) -> float:
        """Return how old the sample is that came last."""
        found = self.newest_sample(device_id, key)
        assert found is not None
        return (time.time_ns() - found.time_ns) / 1e9

    def newest_sample(self, device_id: str, key: str) -> Sample | None:
        """Return the sample that came last, of those that are rows; None without any."""
        rows, series = tables.sample, tables.series
        query = (
            select(series.c.value_type, *ROWS)
            .join(series, series.c.id == rows.c.series_id)
            .where(series.c.device_id == device_id, series.c.key == key)
            .order_by(rows.c.epoch.desc(), rows.c.seq.desc(), rows.c.step.desc())
            .limit(1)
        )
        try:
            with self._engine().connect() as connection:
                found = connection.execute(query).first()
        except SQLAlchemyError:  # the tables, or the whole server, are not there yet
            return None
        return None if found is None else sample_of(ValueType(found[0]), found[1:])

    def events(self, device_id: str) -> list[Any]:
        """Return what happened to a device, in order."""
        table = tables.event
        query = select(table).where(table.c.device_id == device_id).order_by(table.c.time_ns)
        with self._engine().connect() as connection:
            return list(connection.execute(query).all())

    def described(self, device_id: str) -> int:
        """Return how many schemas of a device are known."""
        table = tables.described
        query = select(table.c.digest).where(table.c.device_id == device_id)
        with self._engine().connect() as connection:
            return len(set(connection.execute(query).scalars()))

    def account(self, device_id: str, produced: Mapping[str, int]) -> ArchiveAccount:
        """Compare with what each life of a Specimen has produced (`Cluster.produced`)."""
        lives = {item.epoch: str(item.value) for item in self.samples(device_id, "life")}
        account = ArchiveAccount(produced=sum(produced.values()))
        stored: dict[str, list[int]] = {}
        for sample in self.samples(device_id, "value"):
            stored.setdefault(lives.get(sample.epoch, "?"), []).append(int(sample.value))
        for life, values in stored.items():
            different = {value for value in values if value}
            account.stored += len(different)
            account.duplicates += len(values) - len(set(values))
            account.strangers += sum(value > produced.get(life, 0) for value in different)
        for event in self.events(device_id):
            if event.kind in HOLES and event.lost is None:
                account.unknown_gaps += 1
            elif event.kind in HOLES:
                account.reported += event.lost
        account.missing = account.produced - account.stored - account.reported
        return account

    def wait_for(self, device_id: str, value: int, *, timeout_s: float = 20.0) -> float:
        """Wait until a Specimen's change is in the archive; returns how many seconds it took."""
        begun = time.monotonic()
        while (newest := self.newest(device_id, "value") or 0) < value:
            took_s = time.monotonic() - begun
            assert took_s < timeout_s, f"{device_id}: {newest} of {value} after {took_s:.1f} s"
            time.sleep(LOOK_S)
        return time.monotonic() - begun
