"""Properties that come and go while a device runs, as other processes see it."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pykarabo.client import Change, Client, Gap, Live, NewSchema, Watch, connect
from pykarabo.errors import (
    OutOfRangeError,
    StaleValueError,
    UnknownCommandError,
    UnknownPropertyError,
)


async def _next_of(updates: Watch, kind: type[Any]) -> Any:
    async with asyncio.timeout(10):
        async for update in updates:
            if isinstance(update, kind):
                return update
    raise AssertionError("the stream ended")


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def test_blocking_code_uses_what_was_injected_after_it_had_connected(processes: Any) -> None:
    processes.start("S/1", "COUNT/1", directory=True)
    counter = connect("COUNT/1")
    assert not hasattr(counter, "gain")
    counter.inject_gain()
    assert counter.gain == 2.5
    counter.gain = "3 mm"
    assert counter.gain == 3.0
    with pytest.raises(OutOfRangeError):
        counter.gain = 50
    counter.limit("gain", 100.0)
    counter.gain = 50
    assert "gain" in dir(counter)
    assert counter.schema.properties["gain"].maximum == 100
    counter.inject_part()
    counter.part.offset = 4
    counter.part.reset()
    assert counter.part.offset == 0.0
    counter.remove_injected("part")
    counter.remove_injected("gain")
    assert not hasattr(counter, "gain")
    assert not hasattr(counter, "part")
    with pytest.raises(UnknownPropertyError):
        counter.set({"gain": 1})
    with pytest.raises(UnknownCommandError):
        counter.call("part.reset")


def test_a_watcher_is_told_the_schema_before_the_values(processes: Any) -> None:
    processes.start("S/1", "COUNT/1", directory=True)

    async def scenario() -> None:
        async with Client() as client, client.watch("COUNT/1") as updates:
            await _next_of(updates, Live)
            proxy = await client.device("COUNT/1", follow=False)
            await proxy.inject_gain()
            news = await _next_of(updates, NewSchema)
            assert news.schema.properties["gain"].unit == "mm"
            assert news.schema.version == (await client.schema("COUNT/1")).version
            change = await _next_of(updates, Change)
            assert change.values["gain"].value == 2.5
            await proxy.set(gain=4)
            change = await _next_of(updates, Change)
            assert change.values["gain"].value == 4.0

    asyncio.run(scenario())


def test_a_live_proxy_follows_without_a_restart(processes: Any) -> None:
    processes.start("S/1", "COUNT/1", directory=True)

    async def scenario() -> None:
        async with Client() as operator, Client() as client:
            proxy = await client.device("COUNT/1")
            counter = await operator.device("COUNT/1", follow=False)
            await counter.inject_part()
            await _until(lambda: "part" in dir(proxy) and _is_shown(proxy, "part.offset"))
            assert proxy.part.offset == 1.5
            await proxy.set({"part.offset": "1 cm"})
            await _until(lambda: proxy.part.offset == 10.0)
            await proxy.part.reset()
            await counter.remove_injected("part")
            await _until(lambda: "part" not in dir(proxy))
            for key in ("part", "part.offset"):
                with pytest.raises(UnknownPropertyError):
                    proxy.last_known(key)

    asyncio.run(scenario())


def _is_shown(proxy: Any, key: str) -> bool:
    try:
        proxy.live_value(key)
    except StaleValueError:
        return False
    return True


def test_after_a_restart_the_injected_property_is_gone_everywhere(processes: Any) -> None:
    processes.start("S/0", directory=True)
    server = processes.start("S/1", "COUNT/1")

    async def scenario() -> None:
        async with Client() as client, client.watch("COUNT/1") as updates:
            await _next_of(updates, Live)
            proxy = await client.device("COUNT/1")
            await proxy.inject_gain()
            await _next_of(updates, NewSchema)
            await _until(lambda: _is_shown(proxy, "gain"))
            await asyncio.to_thread(processes.end, server, signal.SIGKILL)
            await asyncio.to_thread(processes.start, "S/1", "COUNT/1")
            await _next_of(updates, Gap)
            news = await _next_of(updates, NewSchema)
            assert "gain" not in news.schema.properties
            live = await _next_of(updates, Live)
            assert "gain" not in live.values
            await _until(lambda: proxy.is_live)
            assert "gain" not in proxy.schema.properties
            with pytest.raises(UnknownPropertyError):
                proxy.last_known("gain")

    asyncio.run(scenario())


@pytest.fixture
def counter(processes: Any) -> Any:
    processes.start("S/1", "COUNT/1", directory=True)
    return connect("COUNT/1")


def _shell(*arguments: str) -> str:
    command = [sys.executable, "-m", "pykarabo", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def test_the_command_line_knows_what_was_injected(counter: Any) -> None:
    counter.inject_gain()
    counter.limit("gain", 7.0)
    _shell("set", "COUNT/1.gain=4 mm")
    assert _shell("get", "COUNT/1.gain") == "4.0 mm\n"
    assert "gain" in _shell("show", "COUNT/1")
    counter.remove_injected("gain")
    assert "gain =" not in _shell("show", "COUNT/1")


@pytest.fixture
def watching(counter: Any) -> Iterator["subprocess.Popen[str]"]:
    del counter
    command = [sys.executable, "-m", "pykarabo", "watch", "COUNT/1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_the_command_line_tells_of_what_comes_and_goes(
    counter: Any, watching: "subprocess.Popen[str]"
) -> None:
    assert watching.stdout is not None
    assert watching.stdout.readline().endswith("COUNT/1 live\n")
    counter.inject_gain()
    lines = (line for line in watching.stdout if ".last_command = " not in line)
    assert next(line for line in lines if "schema" in line).endswith(
        "COUNT/1 has another schema now: +gain\n"
    )
    assert next(lines).endswith("COUNT/1.gain = 2.5 mm\n")
    counter.remove_injected("gain")
    assert next(lines).endswith("COUNT/1 has another schema now: -gain\n")
