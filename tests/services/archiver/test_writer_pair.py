"""Two writers on one PostgreSQL make chunks of the same series, and are killed meanwhile."""

import asyncio
import json
import random
import secrets
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, func, select, text

from pykarabo.data import ValueType
from pykarabo.testing import async_test, until
from pykarabo_services.archiver import entries, tables
from pykarabo_services.archiver.compaction import compact, crowded
from pykarabo_services.archiver.model import CHUNK_SAMPLES, Sample
from pykarabo_services.archiver.retention import forget
from pykarabo_services.archiver.spool import Spool
from pykarabo_services.archiver.store import (
    STORE,
    Batch,
    SeriesKey,
    SeriesNumbers,
    tail_of,
    write,
)
from pykarabo_services.kernel.database import Database, Place, make_engine, place_of
from tests.harness.archive import Archive
from tests.harness.postgres import PostgresServer

DEVICE: Final = "MOTOR/1"
KEY: Final = SeriesKey(DEVICE, "position", "float64")
START_S: Final = 1_790_000_000
COUNT: Final = 6_000
STEPS: Final = 4
_PREAMBLE: Final = (
    [entries.DEVICE, 0, DEVICE, b"i" * 16, 1_000, 0, 0],
    [entries.SERIES, 0, 0, KEY.key, KEY.value_type],
    [entries.READY],
)


def _spool(folder: Path, numbers: Collection[int]) -> Spool:
    """Return a spool that tells some samples, three of each second, ten in a record."""
    told = [
        [entries.VALUES, 0, seq, [[0, 0.5 * seq, START_S + seq // 3, 0, 0, "valid", 0, 0]]]
        for seq in numbers
    ]
    spool = Spool(folder, lambda: [entries.encode_entries(list(_PREAMBLE))], max_bytes=1 << 24)
    list(spool.open())
    spool.write([entries.encode_entries(told[at : at + 10]) for at in range(0, len(told), 10)])
    spool.close()
    return spool


@dataclass
class _Writer:
    """The process that empties a spool; killed and started again."""

    name: str
    folder: Path
    spool: Spool
    url: str
    domain: str
    mark: int = 0
    errors: list[Any] = field(default_factory=list[Any])
    durable: int = 0
    process: asyncio.subprocess.Process | None = None
    reading: "asyncio.Task[None] | None" = None

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pykarabo_services.archiver.writer_main"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        settings = json.dumps({"recent_s": 0.02, "retention": {}})
        self._say(
            {
                "domain": self.domain,
                "url": self.url,
                "directory": str(self.folder),
                "archiver": self.name,
                "spool_id": self.spool.spool_id,
                "settings": settings,
            }
        )
        self.tell(self.durable)
        self.reading = asyncio.create_task(self._listen(self.process))

    def is_beyond(self, record: int) -> bool:
        return self.mark > record

    def tell(self, record: int) -> None:
        self.durable = record
        self._say({"durable": record})

    def _say(self, message: dict[str, Any]) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            report = json.loads(line)
            self.mark = max(self.mark, report.get("mark", 0))
            error = report.get("error") or report.get("fatal")
            if error:
                self.errors.append(error)

    async def kill(self) -> None:
        assert self.process is not None
        assert self.reading is not None
        self.process.kill()
        await self.process.wait()
        await self.reading


def _rows(place: Place) -> int:
    with make_engine(place, read_only=True).connect() as connection:
        return int(connection.execute(select(func.count()).select_from(tables.sample)).scalar_one())


@async_test
async def test_two_writers_that_are_killed_leave_every_sample_once_and_chunks_apart(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """One is fast; the other brings late, within the chunks' times, what the first one left out."""
    domain = f"t{secrets.token_hex(6)}"
    rng = random.Random(7)
    late = set(rng.sample(range(COUNT), COUNT // 4))
    both = set(rng.sample(range(COUNT), 300))
    place = place_of(STORE.name, url=postgres_server.url, domain=domain)
    writers = [
        _Writer(
            f"ARCHIVER/{name}",
            tmp_path / name,
            _spool(tmp_path / name, sorted(numbers)),
            postgres_server.url,
            domain,
        )
        for name, numbers in (("A", set(range(COUNT)) - late | both), ("B", late | both))
    ]
    try:
        for writer in writers:
            await writer.start()
        for step in range(1, STEPS + 1):
            for writer in writers:
                writer.tell(writer.spool.last * step // STEPS)
            killed = writers[step % 2]
            await until(partial(killed.is_beyond, killed.mark), timeout_s=60)
            await killed.kill()
            await killed.start()
        await until(lambda: all(item.mark == item.spool.last for item in writers), timeout_s=60)
        await until(lambda: _rows(place) < 32, timeout_s=60)
    finally:
        for writer in writers:
            await writer.kill()

    found = Archive(place).samples(DEVICE, KEY.key)
    assert sorted(sample.seq for sample in found) == list(range(COUNT))
    assert all(sample.value == 0.5 * sample.seq for sample in found)
    spans = _spans(place)
    assert all(this[1] < after[0] for this, after in pairwise(spans))
    assert sum(span[2] for span in spans) > COUNT - 32
    assert [item.errors for item in writers] == [[], []]


def _spans(place: Place) -> list[Any]:
    chunk = tables.chunk.c
    query = select(chunk.first_ns, chunk.last_ns, chunk.count).order_by(chunk.first_ns)
    with make_engine(place, read_only=True).connect() as connection:
        return list(connection.execute(query))


@async_test
async def test_a_writer_does_not_wait_for_another_one_that_hangs_in_a_chunk(
    postgres_server: PostgresServer,
) -> None:
    """Neither is anything of an unfinished transaction to be seen, nor of one that is ended."""
    place = place_of(STORE.name, url=postgres_server.url, domain=f"t{secrets.token_hex(6)}")
    samples = [
        Sample(START_S * 10**9 + i, float(i), epoch=1, seq=i) for i in range(2 * CHUNK_SAMPLES)
    ]
    late = samples[5]._replace(time_ns=samples[5].time_ns + 1, seq=10**6)
    now_ns = (START_S + 10**6) * 10**9

    def insert(told: list[Sample]) -> Callable[[Connection], Any]:
        batch = Batch(by_series={KEY: [tail_of(ValueType.FLOAT64, item) for item in told]})
        return lambda connection: write(connection, batch, SeriesNumbers())

    def work(connection: Connection) -> int:
        [series] = crowded(connection, now_ns)
        return compact(connection, series, now_ns, now_ns)

    database = Database(STORE, place, deadline_s=5.0)
    await database.open()
    try:
        await database.write(insert(samples))
        with make_engine(place).connect() as hanging:
            assert work(hanging) > 0
            assert await database.write(work) == 0
            assert await database.write(lambda connection: forget(connection, 1, now_ns)) == 0
            assert len(Archive(place).samples(DEVICE, KEY.key)) == len(samples)
            await database.write(insert([late]))
            pid = hanging.execute(text("SELECT pg_backend_pid()")).scalar_one()
            ending = text(f"SELECT pg_terminate_backend({pid}, 5000)")
            await database.write(lambda connection: connection.execute(ending))
            hanging.invalidate()
        assert await database.write(work) > 0
    finally:
        await database.aclose()
    found = Archive(place).samples(DEVICE, KEY.key)
    assert sorted(sample.seq for sample in found) == [*range(2 * CHUNK_SAMPLES), 10**6]
