"""The process that empties a spool into the database.

Started by the archiver: ``python -m pykarabo_services.archiver.writer_main``. The first line of its
input is a plain map of options, which may hold a password and so is no argument. Then it hears,
line by line, ``{"durable": RECORD}`` and ``{"settings": TEXT}``; the end of the input is the end of
the archiver, and so its own. On its output it tells what became of the records.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any

from pykarabo.errors import PykaraboError
from pykarabo.transport import DOMAIN_VARIABLE
from pykarabo_services.archiver.store import STORE
from pykarabo_services.archiver.writer import ArchiveWriter, WriterSettings, collect_seldom
from pykarabo_services.kernel.database import Database, place_of


def main() -> None:
    """Run until the input ends."""
    options = json.loads(_first_line())
    os.environ[DOMAIN_VARIABLE] = options["domain"]
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # A terminal's Ctrl-C reaches all of its processes; this one ends when its input does.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    collect_seldom()
    try:
        asyncio.run(_run(options))
    except PykaraboError as error:
        _tell({"fatal": error.to_wire()})
        sys.exit(error.exit_code)


def _first_line() -> bytes:
    """Return the first line of the input, and take nothing of the next."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    return line


async def _run(options: dict[str, Any]) -> None:
    place = place_of(STORE.name, domain=options["domain"], url=options["url"] or None)
    database = Database(STORE, place)
    await database.open(required=False)
    try:
        writer = ArchiveWriter(
            database,
            Path(options["directory"]),
            archiver=options["archiver"],
            spool_id=options["spool_id"],
            settings=WriterSettings.from_json(options["settings"]),
            report=_tell,
        )
        hearing = asyncio.create_task(_hear(writer))
        await writer.run()
        hearing.cancel()
    finally:
        await database.aclose()


async def _hear(writer: ArchiveWriter) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        told = json.loads(line)
        if "durable" in told:
            writer.durable(told["durable"])
        if "settings" in told:
            writer.settings = WriterSettings.from_json(told["settings"])
    writer.finish()


def _tell(report: dict[str, Any]) -> None:
    # Whoever listened may be gone.
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(report) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
