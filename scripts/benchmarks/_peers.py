"""What runs beside a benchmark, as processes: ``python -m scripts.benchmarks._peers ROLE ...``."""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

HOST: Final = "127.0.0.1"


def _say(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


def _rss() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


# -- pykarabo -----------------------------------------------------------------------------------


def serve(*classes_of_devices: str) -> None:
    """A server with the directory and devices, each given as ``CLASS=ID``."""
    _serve("BENCH/SERVER", classes_of_devices, directory=True)


def second(server_id: str, *classes_of_devices: str) -> None:
    """Another server of the domain, with devices given as ``CLASS=ID``."""
    _serve(server_id, classes_of_devices, directory=False)


def local(door: str, *classes_of_devices: str) -> None:
    """A server as `serve`, on Unix sockets.

    With the door ``open`` it does not ask who comes; with ``unseen`` it keeps no audit log.
    """
    if door == "open":
        transport: Any = import_module("pykarabo.transport._zeromq")
        transport.guard = lambda _socket: None
    if door == "unseen":
        auditing: Any = import_module("pykarabo.device._auditing")
        auditing.AuditWriter = lambda *_arguments, **_options: None
    _serve("BENCH/SERVER", classes_of_devices, directory=True, host=None)


def plain(*classes_of_devices: str) -> None:
    """A server as `serve` that encrypts nothing."""
    transport: Any = import_module("pykarabo.transport._zeromq")
    transport.is_encrypted = lambda _endpoint: False
    _serve("BENCH/SERVER", classes_of_devices, directory=True)


def _serve(
    server_id: str,
    classes_of_devices: tuple[str, ...],
    *,
    directory: bool,
    host: str | None = HOST,
) -> None:
    from pykarabo.device import DeviceSettings, ServerSettings, run_server
    from scripts.benchmarks._devices import Bench, Ticking, wide_class
    from scripts.benchmarks._profile import serve_profiles

    serve_profiles(lambda lines: _say(profile=lines))
    pairs = [item.split("=") for item in classes_of_devices]
    settings = ServerSettings(
        server_id,
        directory=directory,
        host=host,
        classes=("Directory",) if directory else (),
        more_classes={"Bench": Bench, "Ticking": Ticking, "Wide": wide_class(20)},
        devices=tuple(DeviceSettings(device_id, class_id) for class_id, device_id in pairs),
    )
    run_server(settings, lambda server: _say(rpc=server.record().rpc))


def idle(server_id: str, count: str, properties: str) -> None:
    """A server that starts many devices and tells how long it took and what it weighs.

    It ends at once when it is told to, without a goodbye from each of them.
    """
    from pykarabo.device import DeviceSettings, ServerSettings, running_server
    from scripts.benchmarks._devices import wide_class

    devices = [DeviceSettings(f"{server_id}/{number}", "Wide") for number in range(int(count))]

    async def run() -> None:
        more = {"Wide": wide_class(int(properties))}
        settings = ServerSettings(server_id, host=HOST, classes=(), more_classes=more)
        async with running_server(settings) as server:
            before, begin = _rss(), time.perf_counter()
            await server.start_devices(devices)
            started_s = time.perf_counter() - begin
            _say(seconds=started_s, bytes=_rss() - before, problems=len(server.problems))
            await server.stopping.wait()

    _run(run)


def beat(server_id: str, count: str, properties: str, rate: str) -> None:
    """A server whose devices change all of their properties at once, so often per second."""
    from pykarabo.device import DeviceSettings, ServerSettings, run_server
    from scripts.benchmarks._devices import beating_class

    devices = tuple(
        DeviceSettings(f"{server_id}/{number}", "Beating", {"rate": float(rate)})
        for number in range(int(count))
    )
    settings = ServerSettings(
        server_id,
        host=HOST,
        classes=(),
        more_classes={"Beating": beating_class(int(properties))},
        devices=devices,
    )
    run_server(settings, lambda server: _say(problems=len(server.problems)))


def archiver(device_id: str) -> None:
    """A server with an archiver, on the database that the environment names."""
    from pykarabo.device import DeviceSettings, ServerSettings, run_server
    from scripts.benchmarks._profile import serve_profiles

    serve_profiles(lambda lines: _say(profile=lines))
    settings = ServerSettings(
        f"SERVER/{device_id}",
        host=HOST,
        classes=("Archiver",),
        devices=(DeviceSettings(device_id, "Archiver"),),
    )
    run_server(settings, lambda server: _say(problems=[str(e) for e in server.problems.values()]))


def follow(device_id: str) -> None:
    """A client that follows a device; it says so when the values are there."""
    from pykarabo.client import Client, Live

    async def run() -> None:
        async with Client() as client:
            async for update in client.watch(device_id):
                if isinstance(update, Live):
                    _say(live=True)

    _run(run)


def _run(work: Callable[[], Any]) -> None:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())


# -- references ---------------------------------------------------------------------------------


def raw(reply: str) -> None:
    """A bare ROUTER that answers everything with so many bytes."""
    import zmq

    socket = zmq.Context[zmq.Socket[bytes]]().socket(zmq.ROUTER)
    socket.bind(f"tcp://{HOST}:*")
    _say(rpc=socket.getsockopt_string(zmq.LAST_ENDPOINT))
    answer = bytes(int(reply))
    while True:
        sender, _request = socket.recv_multipart()
        socket.send_multipart([sender, answer])


def tango(port: str, count: str, attributes: str) -> None:
    """A PyTango server with many devices; it tells how long it took and what it weighs."""
    server = import_module("tango.server")

    def read(_device: Any, _name: Any = None) -> float:
        return 1.5

    members = {
        f"value{number}": server.attribute(dtype=float, fget=read)
        for number in range(int(attributes))
    }

    def init_device(device: Any) -> None:
        server.Device.init_device(device)
        for name in members:
            device.set_change_event(name, True, False)

    wide: type[Any] = type("Wide", (server.Device,), {**members, "init_device": init_device})
    names = ",".join(f"bench/wide/{number}" for number in range(int(count)))
    arguments = ["Wide", "bench", "-nodb", "-dlist", names]
    before, begin = _rss(), time.perf_counter()
    server.run(
        (wide,),
        args=[*arguments, "-ORBendPoint", f"giop:tcp:{HOST}:{port}"],
        post_init_callback=lambda: _say(seconds=time.perf_counter() - begin, bytes=_rss() - before),
    )


def pva() -> None:
    """A PVAccess server that changes one value as fast as it can."""
    scalar = import_module("p4p.nt").NTScalar("l")
    value = import_module("p4p.server.thread").SharedPV(nt=scalar, initial=0)
    with import_module("p4p.server").Server(providers=[{"bench:count": value}]):
        _say(serving=True)
        number = 0
        while True:
            number += 1
            value.post(number)


_ROLES: Final[dict[str, Callable[..., None]]] = {
    role.__name__: role
    for role in (serve, local, plain, second, idle, beat, archiver, follow, raw, tango, pva)
}

if __name__ == "__main__":
    _ROLES[sys.argv[1]](*sys.argv[2:])
