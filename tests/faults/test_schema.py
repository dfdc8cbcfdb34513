"""A device that changes its properties while it is followed: all see the same in the end."""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final

import pytest

from pykarabo.client import (
    AsyncDeviceProxy,
    BlockingClient,
    Change,
    Client,
    DeviceProxy,
    Live,
    NewSchema,
    Update,
)
from pykarabo.data import PropertyValue, Schema, same
from pykarabo.errors import (
    BadInputError,
    NotConnectedError,
    OutcomeUnknownError,
    PykaraboError,
    StaleValueError,
)
from pykarabo.wire import Call, Choice
from tests.harness import PROXY_HOST, SERVER_HOST, Auditor, Cluster, Proxy, describe, record

_ARRIVES_S: Final = 3.0
_CHOSEN: Final = Choice(keys=("value", "part", "p1"))


class _Reader:
    """Keeps what a watcher is told, and whether each value was one of the schema told before."""

    def __init__(self, client: Client, schema: Schema, choice: Choice, *, latest: bool) -> None:
        self.schema = schema
        self.choice = choice
        self.values: dict[str, PropertyValue] = {}
        self.live = False
        self.schemas = 0
        self.wrong: list[str] = []
        self._client = client
        client.follow("D/1", self._take, choice, latest=latest)

    def _take(self, update: Update) -> None:
        if isinstance(update, NewSchema):
            self.schemas += 1
            self.schema = update.schema
            self.values = {
                key: value for key, value in self.values.items() if key in self.schema.properties
            }
        elif isinstance(update, Live):
            self.live = True
            self.values = dict(update.values)
            self._check(update.values)
        elif isinstance(update, Change):
            self.values |= update.values
            self._check(update.values)

    def _check(self, values: dict[str, PropertyValue]) -> None:
        for key, value in values.items():
            info = self.schema.properties.get(key)
            if info is None or info.node:
                self.wrong.append(f"{key} came without a schema")
                continue
            try:
                info.validate(value.value)
            except BadInputError as error:
                self.wrong.append(str(error))

    def close(self) -> None:
        self._client.unfollow("D/1", self._take)


class _Operator(threading.Thread):
    """Blocking code that reads, at all times, what it is said that the device has."""

    def __init__(self, client: BlockingClient) -> None:
        super().__init__()
        self.proxy = DeviceProxy(client, "D/1")
        self.reads = 0
        self.wrong: list[str] = []
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.is_set():
            for name in dir(self.proxy):
                if not name.startswith("_"):
                    self._read(name)

    def _read(self, name: str) -> None:
        try:
            getattr(self.proxy, name, None)
            self.reads += 1
        except (NotConnectedError, OutcomeUnknownError):
            return
        except PykaraboError as error:
            self.wrong.append(f"{name}: {error!r}")

    @property
    def version(self) -> str:
        """The version of the schema that the proxy shows."""
        return self.proxy.schema.version

    @classmethod
    @contextlib.asynccontextmanager
    async def at_work(cls, directory: str | None) -> AsyncGenerator["_Operator", None]:
        with BlockingClient(directory=directory) as client:
            operator = await asyncio.to_thread(cls, client)
            operator.start()
            try:
                yield operator
            finally:
                operator.stop()

    def stop(self) -> None:
        self.ended.set()
        self.join()


async def _until(condition: Callable[[], bool], *, timeout_s: float = 30.0) -> float:
    begun = time.monotonic()
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)
    return time.monotonic() - begun


async def _do(client: Client, command: str, *args: object) -> Any:
    return await client.request("D/1", Call("D/1", command, list(args)), timeout_s=60.0)


@contextlib.asynccontextmanager
async def _auditing(client: Client) -> AsyncGenerator[Auditor, None]:
    auditor = Auditor(client, "D/1")
    task = asyncio.create_task(auditor.run())
    try:
        await _until(lambda: auditor.all_live)
        yield auditor
    finally:
        task.cancel()
        auditor.close()


async def _read_along(proxy: AsyncDeviceProxy, wrong: list[str]) -> None:
    """Read every property that the proxy says there is, again and again."""
    while True:
        for key, info in proxy.schema.properties.items():
            if not info.node:
                try:
                    info.validate(proxy.last_known(key).value)
                except StaleValueError:
                    continue
                except BadInputError as error:
                    wrong.append(repr(error))
        await asyncio.sleep(0.001)


def _differences(
    name: str, seen: dict[str, PropertyValue], true: dict[str, PropertyValue]
) -> list[str]:
    """Say where what a watcher has differs from the device."""
    return [
        f"{name} is wrong in {key}"
        for key in seen.keys() | true.keys()
        if key not in seen
        or key not in true
        or not same(seen[key].value, true[key].value)
        or seen[key].quality is not true[key].quality
    ]


class _Audience:
    """Everybody who looks at the device: watchers of every kind, and live proxies."""

    def __init__(self, near: Client, far: Client, schema: Schema) -> None:
        self.readers = {
            "all": _Reader(near, schema, Choice(), latest=False),
            "latest": _Reader(far, schema, Choice(), latest=True),
            "10 Hz": _Reader(far, schema, Choice(max_rate_hz=10.0), latest=False),
            "chosen": _Reader(far, schema, _CHOSEN, latest=False),
        }
        self._clients = (near, far)
        self.proxies: list[AsyncDeviceProxy] = []
        self.wrong: list[str] = []
        self._reading: list[asyncio.Task[None]] = []

    async def gather(self) -> None:
        """Wait until everybody sees the device."""
        await _until(lambda: all(reader.live for reader in self.readers.values()))
        self.proxies = [await client.device("D/1") for client in self._clients]
        self._reading = [
            asyncio.create_task(_read_along(proxy, self.wrong)) for proxy in self.proxies
        ]

    def has_seen(self, value: int) -> bool:
        """Tell whether everybody has got a value."""
        seen = [int(reader.values["value"].value) for reader in self.readers.values()]
        return {*seen, *(proxy.value for proxy in self.proxies)} == {value}

    def problems(self, true: dict[str, PropertyValue]) -> list[str]:
        """Say who has seen something wrong, or has other values than the device in the end."""
        found = [item for reader in self.readers.values() for item in reader.wrong] + self.wrong
        for name, reader in self.readers.items():
            wanted = {key: value for key, value in true.items() if reader.choice.wants(key)}
            found += _differences(name, reader.values, wanted)
        for proxy in self.proxies:
            leaves = [key for key, info in proxy.schema.properties.items() if not info.node]
            shown = {key: proxy.last_known(key) for key in leaves}
            found += _differences("proxy", shown, true)
        return found

    def versions(self) -> set[str]:
        """Return the versions of the schema that are known."""
        known = [reader.schema for reader in self.readers.values()]
        return {schema.version for schema in [*known, *(proxy.schema for proxy in self.proxies)]}

    def close(self) -> None:
        """Look no more."""
        for task in self._reading:
            task.cancel()
        for reader in self.readers.values():
            reader.close()


def _change_schema_while_streaming(
    cluster: Cluster, seconds: float, reset_every: Callable[[float], None] = lambda _seconds: None
) -> None:
    async def scenario() -> None:
        async with (
            cluster.client() as client,
            cluster.client() as far,
            _auditing(client) as audit,
            _Operator.at_work(cluster.directory) as operator,
        ):
            audience = _Audience(client, far, await client.schema("D/1"))
            await audience.gather()
            await _do(client, "produce", 1_000_000, 200.0)
            await _do(client, "reshape", seconds, 12)
            reset_every(0.5)
            await asyncio.sleep(seconds)
            reset_every(0)
            reshapes = await _do(client, "reshaped")
            last = await _do(client, "halt") + 1
            await _do(client, "produce", 1)
            arrived_s = await _until(
                lambda: audience.has_seen(last) and audit.streams["D/1"].value == last
            )
            audience.close()
            await asyncio.to_thread(operator.stop)
            account = audit.streams["D/1"].account(cluster.produced("D/1"))
            told = audience.readers["all"].schemas
            record(
                f"E12 ({seconds:.0f} s)",
                "final schema and values right everywhere; one change arrives",
                f"{reshapes} changes of the schema in {told} versions, {operator.reads} reads by "
                f"blocking code, the last change arrived after {arrived_s:.3f} s, "
                f"{account.unaccounted} unaccounted",
                account=describe(account),
            )
            schema = await client.schema("D/1")
            assert [*audience.problems(await client.read("D/1")), *operator.wrong] == []
            assert audience.versions() == {schema.version}
            assert operator.version == schema.version
            assert account.exact, account
            assert account.delivered > 100 * seconds
            assert told > seconds
            assert operator.reads > 0
            assert arrived_s <= _ARRIVES_S

    asyncio.run(scenario())


def test_E12_schema_changes_while_streaming_for_5_s(cluster: Cluster) -> None:
    cluster.start_directory()
    cluster.start("S/1", "D/1")
    _change_schema_while_streaming(cluster, 5.0)


@pytest.mark.nightly
def test_E12_schema_changes_while_streaming_for_20_s(cluster: Cluster) -> None:
    cluster.start_directory()
    cluster.start("S/1", "D/1")
    _change_schema_while_streaming(cluster, 20.0)


def test_E12_schema_changes_while_connections_are_reset(cluster: Cluster) -> None:
    cluster.start_directory()
    server = cluster.start("S/1", "D/1", host=SERVER_HOST, advertise=PROXY_HOST)
    with Proxy(server.ports.values()) as proxy:
        _change_schema_while_streaming(cluster, 5.0, proxy.reset_every)
        assert proxy.resets >= 4
