"""Saving projects while the store is killed."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Final

import pytest

from pykarabo.testing import async_test
from pykarabo_services.kernel.database import Database, check
from pykarabo_services.project.model import Changes
from pykarabo_services.project.store import STORE, DatabaseProjects
from pykarabo_services.project.trees import changes_between
from tests.harness.auditor import record
from tests.harness.databases import Databases
from tests.harness.saver_process import load, state

_PROGRAM: Final = Path(__file__).parents[1] / "harness" / "saver_process.py"
_LONGEST_S: Final = 0.15
"""A save takes some ten milliseconds: kills hit all of its stages."""


def _save_and_kill(lines: IO[str], wait_s: float) -> int:
    """Kill a saver so long after its first save; return the last state that was acknowledged."""
    saved, pid = 0, 0
    for line in lines:
        word, _space, number = line.partition(" ")
        if word == "pid":
            pid = int(number)
        elif word == "saved" and not saved:
            time.sleep(wait_s)
            os.kill(pid, signal.SIGKILL)
        if word == "saved":
            saved = int(number)
        elif word == "ended\n":
            return saved
    raise AssertionError("the saver's parent has ended")


async def _stored_state(databases: Databases) -> int:
    """Return which state the database holds; it must be one of them, and complete."""
    database = Database(STORE, databases.place("projects"), read_only=True)
    await database.open()
    items = await load(DatabaseProjects(database))
    await database.aclose()
    number = int(items[0].attributes["description"])
    difference = changes_between(items, state(number))
    assert difference.to_wire() == Changes().to_wire(), f"state {number} is mixed: {difference}"
    return number


@pytest.mark.parametrize("kills", [6, pytest.param(100, marks=pytest.mark.nightly)])
@async_test
async def test_C1_project_is_old_or_new_whenever_the_store_is_killed(
    databases: Databases, kills: int
) -> None:
    seed = random.randrange(1 << 32)
    moments = random.Random(seed)
    ahead = number = 0
    with subprocess.Popen(  # noqa: ASYNC220 - it starts once, before anything else is done
        [sys.executable, str(_PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        for _ in range(kills):
            parent.stdin.write(f"{databases.url} {databases.domain} {number}\n")
            parent.stdin.flush()
            wait_s = moments.uniform(0, _LONGEST_S)
            saved = await asyncio.to_thread(_save_and_kill, parent.stdout, wait_s)
            number = await _stored_state(databases)
            assert saved <= number <= saved + 1, f"seed {seed}: {saved} was acknowledged"
            ahead += number - saved
        parent.stdin.close()
    assert check(STORE, databases.place("projects")) == []
    record(
        f"C1 ({databases.kind})",
        "old or new, never mixed",
        f"{kills} kills over {number} saves: 0 mixed, 0 acknowledged ones lost, {ahead} done and "
        "not yet acknowledged",
    )
