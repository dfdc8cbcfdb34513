"""A cluster in which everything can be hurt, and the nemesis that hurts it at random."""

import asyncio
import contextlib
import os
import random
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from .auditor import StreamAccount
from .cluster import Cluster, FaultyProcess, ServerProcess, WorkloadProcess
from .disk import Disk, why_no_disk
from .ports import free_ports
from .proxy import PROXY_HOST, SERVER_HOST, Proxy
from .verdict import (
    CallVerdict,
    Fault,
    Faults,
    NoticeVerdict,
    Sight,
    judge_calls,
    judge_notices,
    read_calls,
)

BACK_S: Final = 2.5
"""A process that was killed is started again by then, as a supervisor does."""
_FAKETIME: Final = "/usr/lib/*/faketime/libfaketime.so.1"
_LOOK_S: Final = 0.1
_POLL_S: Final = 0.02
_END_S: Final = 60.0
_DIRECTORY: Final = "DIRECTORY"


@dataclass(frozen=True, slots=True)
class Size:
    """How large a mix is."""

    replicas: int = 3
    servers: int = 3
    devices_per_server: int = 2
    watchers: int = 2
    callers: int = 2
    rate: float = 100.0


class Clock:
    """The wall clock of one process, which libfaketime can make wrong.

    Args:
        library: the path of libfaketime.
    """

    def __init__(self, path: Path, library: Path) -> None:
        self._path = path
        self._library = library
        self.jump(0)

    def jump(self, seconds: int) -> None:
        """Be wrong by this from now on."""
        fresh = self._path.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}")
        fresh.replace(self._path)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to have this clock."""
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


class Mix:
    """Replicas of the directory, device servers, watchers and callers, all through proxies.

    Attributes:
        servers: the devices of each device server.
        processes: the present life of every process, by its name.
        faults: what was done so far.
        surprises: processes that ended though nobody ended them.
    """

    def __init__(self, cluster: Cluster, folder: Path, size: Size) -> None:
        self._cluster = cluster
        self._size = size
        self._stack = contextlib.ExitStack()
        self._expected: set[str] = set()
        self.proxies: dict[str, Proxy] = {}
        self.clocks: dict[str, Clock] = {}
        self.processes: dict[str, FaultyProcess] = {}
        self.faults: list[Fault] = []
        self.surprises: list[str] = []
        self.servers = {
            f"S/{server}": [f"D/{server}/{number}" for number in range(size.devices_per_server)]
            for server in range(size.servers)
        }
        self.replicas = [f"{_DIRECTORY}/{number}" for number in range(size.replicas)]
        self.watchers = [f"watcher-{number}" for number in range(size.watchers)]
        self.callers = [f"caller-{number}" for number in range(size.callers)]
        library = next(Path("/").glob(_FAKETIME[1:]), None)
        if library is not None:
            for name in (*self.replicas[:1], *list(self.servers)[:1]):
                self.clocks[name] = Clock(folder / f"{name.replace('/', '_')}.clock", library)
        self.disks: dict[str, Disk] = {}
        if why_no_disk() is None:
            for name in self.replicas:
                self.disks[name] = Disk(folder / f"{name.replace('/', '_')}.disk")

    @property
    def devices(self) -> list[str]:
        """Every device."""
        return [device for devices in self.servers.values() for device in devices]

    def __enter__(self) -> "Mix":
        ports = free_ports(len(self.replicas))
        names = [f"tcp://{PROXY_HOST}:{port}" for port in ports]
        self._cluster.directory = ",".join(names)
        for disk in self.disks.values():
            self._stack.enter_context(disk)
        for number, port in enumerate(ports):
            self._add_proxy(self.replicas[number], [port])
            self.processes[self.replicas[number]] = self._cluster.start_replica(
                number,
                port,
                host=SERVER_HOST,
                advertise=PROXY_HOST,
                environment=self._environment_of(self.replicas[number]),
            )
        for name, devices in self.servers.items():
            server = self._cluster.start(
                name,
                *devices,
                host=SERVER_HOST,
                advertise=PROXY_HOST,
                rate=self._size.rate,
                environment=self._environment_of(name),
            )
            self.processes[name] = server
            self._add_proxy(name, server.ports.values())
        for name in (*self.watchers, *self.callers):
            self._start_workload(name)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _add_proxy(self, name: str, ports: Any) -> None:
        self.proxies[name] = self._stack.enter_context(Proxy(ports))

    def _environment_of(self, name: str) -> Mapping[str, str]:
        environment = self.clocks[name].environment if name in self.clocks else {}
        if name in self.disks:
            environment["XDG_DATA_HOME"] = str(self.disks[name].folder)
        return environment

    def _start_workload(self, name: str) -> None:
        callers = 4 if name in self.callers else 0
        self.processes[name] = self._cluster.start_workload(name, *self.devices, callers=callers)

    def workload(self, name: str) -> WorkloadProcess:
        """Return the present life of a watcher or caller."""
        process = self.processes[name]
        assert isinstance(process, WorkloadProcess)
        return process

    @property
    def endpoints(self) -> list[str]:
        """Where the replicas of the directory answer."""
        assert self._cluster.directory is not None
        return self._cluster.directory.split(",")

    # -- what became of it ----------------------------------------------------------------------

    async def _until_each(self, names: Iterable[str], verb: str, wanted: object) -> float:
        """Wait until clients give an answer; returns how long it took."""
        begun = time.monotonic()
        for name in names:
            while (found := await asyncio.to_thread(self.workload(name).ask, verb)) != wanted:
                if time.monotonic() - begun > _END_S:
                    state = self.workload(name).ask("state")
                    raise AssertionError(f"{name}: '{verb}' is {found}, not {wanted}: {state}")
                await asyncio.sleep(_POLL_S)
        return time.monotonic() - begun

    async def until_live(self) -> float:
        """Wait until every client holds every device for live; returns how long it took."""
        return await self._until_each((*self.watchers, *self.callers), "live", wanted=True)

    async def finish(self) -> None:
        """End the calls and the production, and wait until every client has the last values."""
        for name in self.callers:
            self.workload(name).ask("finish")
        await self._until_each(self.callers, "calling", wanted=False)
        values = await asyncio.to_thread(self.workload(self.watchers[0]).ask, "halt")
        await self._until_each((*self.watchers, *self.callers), "values", values)

    def accounts(self) -> dict[str, StreamAccount]:
        """Return what became of all streams at each client."""
        produced = {device: self._cluster.produced(device) for device in self.devices}
        return {
            name: sum(
                (
                    StreamAccount(**account)
                    for account in self.workload(name).ask("account", produced).values()
                ),
                StreamAccount(),
            )
            for name in (*self.watchers, *self.callers)
        }

    def calls(self) -> CallVerdict:
        """Return what became of all calls."""
        calls = [
            call for name in self.callers for call in read_calls(name, self._cluster.journal(name))
        ]
        executions = [
            item for device in self.devices for item in self._cluster.execution_times(device)
        ]
        server_of = {device: name for name, devices in self.servers.items() for device in devices}
        return judge_calls(calls, executions, Faults(self.faults), server_of)

    def notices(self, until: float) -> NoticeVerdict:
        """Return how soon watchers knew of the faults of servers."""
        sights = {name: Sight(self._cluster.journal(name)) for name in self.watchers}
        return judge_notices(self.faults, sights, self.servers, self.replicas, until)

    # -- faults ---------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _fault(self, kind: str, target: str) -> AsyncGenerator[None, None]:
        fault = Fault(kind, target, time.monotonic())
        self.faults.append(fault)
        yield
        fault.ended = time.monotonic()

    async def kill(self, target: str, pause_s: float) -> None:
        """SIGKILL a process and start it again after a pause."""
        await self._end_and_restart("kill", target, pause_s, self.processes[target].kill)

    async def abort(self, target: str, pause_s: float) -> None:
        """SIGABRT a process and start it again after a pause."""
        await self._end_and_restart("abort", target, pause_s, self.processes[target].abort)

    async def _end_and_restart(
        self, kind: str, target: str, pause_s: float, end: Callable[[], object]
    ) -> None:
        async with self._fault(kind, target):
            self._expected.add(target)
            await asyncio.to_thread(end)
            await asyncio.sleep(min(pause_s, BACK_S))
            await self._restart(target)
            self._expected.discard(target)

    async def _restart(self, target: str) -> None:
        """Start a process as often as it takes: without a directory, a server gives up."""
        dead = self.processes[target]
        while True:
            try:
                if isinstance(dead, ServerProcess):
                    changes = {"ports": dead.ports}
                    self.processes[target] = await asyncio.to_thread(
                        self._cluster.restart, dead, **changes
                    )
                else:
                    await asyncio.to_thread(self._start_workload, target)
            except AssertionError:
                await asyncio.sleep(_LOOK_S)
            else:
                return

    async def freeze(self, target: str, hold_s: float) -> None:
        """SIGSTOP a process for a while."""
        async with self._fault("freeze", target):
            process = self.processes[target]
            await asyncio.to_thread(process.stop)
            await asyncio.sleep(hold_s)
            process.cont()

    async def cut(self, target: str, hold_s: float) -> None:
        """Let nothing reach a server or leave it for a while."""
        async with self._fault("cut", target):
            await asyncio.to_thread(self.proxies[target].cut)
            await asyncio.sleep(hold_s)
            await asyncio.to_thread(self.proxies[target].heal)

    async def reset(self, target: str, hold_s: float) -> None:
        """Reset the connections of a server, again and again for a while."""
        async with self._fault("reset", target):
            await asyncio.to_thread(self.proxies[target].reset_every, 0.2)
            await asyncio.sleep(hold_s)
            await asyncio.to_thread(self.proxies[target].reset_every, 0)

    async def jump(self, target: str, hold_s: float) -> None:
        """Have the wall clock of a process be wrong by an hour for a while."""
        async with self._fault("jump", target):
            self.clocks[target].jump(random.choice((-3600, 3600)))
            await asyncio.sleep(hold_s)
            self.clocks[target].jump(0)

    async def disk(self, target: str, hold_s: float) -> None:
        """Leave a replica of the directory no room on its disk for a while."""
        async with self._fault("disk", target):
            await asyncio.to_thread(self.disks[target].fill)
            await asyncio.sleep(hold_s)
            await asyncio.to_thread(self.disks[target].free)

    async def blackout(self, _target: str, pause_s: float) -> None:
        """SIGKILL every replica of the directory and start them again after a pause."""
        await asyncio.gather(*(self.kill(replica, pause_s) for replica in self.replicas))

    async def look(self) -> None:
        """Note every process that ends though nobody has ended it, and start it again."""
        while True:
            for name, process in list(self.processes.items()):
                if not process.running and name not in self._expected:
                    self.surprises.append(name)
                    await self._restart(name)
            await asyncio.sleep(_LOOK_S)


@dataclass(frozen=True, slots=True)
class Blow:
    """One fault that the nemesis has planned."""

    kind: str
    target: str
    hold_s: float
    pause_s: float
    takes: frozenset[str] = field(default_factory=frozenset[str])


class Nemesis:
    """Hurts a mix at random, several at the same time; the plan follows from the seed alone.

    Attributes:
        done: how often each kind of fault was done.
    """

    SHARES: Final = {
        "kill": 5,
        "abort": 2,
        "freeze": 5,
        "cut": 5,
        "reset": 5,
        "jump": 2,
        "disk": 2,
        "blackout": 1,
    }
    LONGEST_S: Final = {"freeze": 8.0, "cut": 8.0, "reset": 2.0, "jump": 4.0, "disk": 8.0}

    def __init__(self, mix: Mix, seed: int, *, most: int = 3) -> None:
        self._mix = mix
        self._random = random.Random(seed)
        self._most = most
        self._busy: set[str] = set()
        self.done: dict[str, int] = {}

    def _plan(self) -> Blow:
        """Draw the next fault; the number of draws does not depend on what happens."""
        draw = self._random
        mix = self._mix
        means = {"disk": mix.disks, "jump": mix.clocks}
        shares = {kind: n for kind, n in self.SHARES.items() if means.get(kind, True)}
        kind = draw.choices(list(shares), list(shares.values()))[0]
        served = [*mix.servers, *mix.servers, *mix.replicas]
        targets: dict[str, list[str]] = {
            "kill": [*served, *mix.callers],
            "abort": [*served, *mix.callers],
            "freeze": [*served, *mix.callers, *mix.watchers],
            "cut": served,
            "reset": served,
            "jump": list(mix.clocks),
            "disk": list(mix.disks),
            "blackout": [_DIRECTORY],
        }
        target = draw.choice(targets[kind])
        hold_s = draw.uniform(0.1, self.LONGEST_S.get(kind, BACK_S))
        takes = frozenset(mix.replicas if kind == "blackout" else [target])
        return Blow(kind, target, hold_s, draw.uniform(0.1, 1.5), takes)

    async def run(self, duration_s: float) -> None:
        """Do faults for so long; every one is over at the end."""
        end = time.monotonic() + duration_s
        async with asyncio.TaskGroup() as group:
            while time.monotonic() < end:
                blow = self._plan()
                if not (blow.takes & self._busy) and len(self._busy) < self._most:
                    self._busy |= blow.takes
                    group.create_task(self._do(blow))
                await asyncio.sleep(blow.pause_s)

    async def _do(self, blow: Blow) -> None:
        self.done[blow.kind] = self.done.get(blow.kind, 0) + 1
        try:
            await getattr(self._mix, blow.kind)(blow.target, blow.hold_s)
        finally:
            self._busy -= blow.takes


def environment_number(variable: str, default: int) -> int:
    """Return a number that the environment may set."""
    return int(os.environ.get(variable, default))
