"""A device server process for the tests: `python device_process.py SERVER_ID [--directory] ...`."""

import argparse
import asyncio
import signal
import time

from pykarabo.data import Configurable, Float64, Int64, Node, State, String
from pykarabo.device import (
    Device,
    DeviceSettings,
    Event,
    Server,
    ServerSettings,
    command,
    run_server,
)


class Part(Configurable):
    """A part that a device may have."""

    offset = Float64(unit="mm", default=1.5)

    @command()
    async def reset(self) -> None:
        """Forget the offset."""
        self.offset = 0.0


class Counter(Device):
    """Counts."""

    value = Int64(read_only=True)
    label = String(default="none")
    target = Float64(unit="mm", minimum=-10, maximum=10)
    set_point = Float64(default=1.0, description="Outlives the process.")
    memorised = ("set_point",)
    executed = Int64(read_only=True, description="Commands that were run.")
    rang = Event(number=Int64(), description="The bell was rung.")

    async def on_start(self) -> None:
        """Be ready."""
        self.state = State.ON

    @command()
    async def count(self, steps: int = 1, pause: float = 0.0) -> int:
        """Count so many steps and return the value."""
        for _ in range(steps):
            self.value += 1
            if pause:
                await asyncio.sleep(pause)
        return self.value

    @command()
    async def inject_gain(self, maximum: float = 10.0) -> None:
        """Get a property more."""
        self.inject(gain=Float64(unit="mm", default=2.5, maximum=maximum))

    @command()
    async def inject_part(self) -> None:
        """Get a node more."""
        self.inject(part=Node(Part))

    @command()
    async def remove_injected(self, key: str) -> None:
        """Lose what was injected."""
        self.remove(key)

    @command()
    async def limit(self, key: str, maximum: float) -> None:
        """Change the limit of a property."""
        self.update_attributes(key, maximum=maximum)

    @command()
    async def execute(self, duration: float = 0.0) -> int:
        """Note that this ran, then take a while."""
        self.executed += 1
        await asyncio.sleep(duration)
        return self.executed

    @command()
    async def ring(self, times: int = 1) -> None:
        """Ring the bell."""
        for number in range(times):
            self.emit("rang", number=number)

    @command()
    async def block(self, duration: float) -> None:
        """Block the event loop, as bad code does."""
        time.sleep(duration)  # noqa: ASYNC251 - on purpose

    @command()
    async def forward(self, device_id: str) -> int:
        """Run another device's command."""
        other = await self.connect(device_id)
        result: int = await other.call("execute")
        return result


def _started(server: Server) -> None:
    for device_id, error in server.problems.items():
        print(f"problem {device_id}: {error}", flush=True)
    print("started", flush=True)


def main() -> None:
    """Serve the devices named on the command line as Counters."""
    parser = argparse.ArgumentParser()
    parser.add_argument("server_id")
    parser.add_argument("devices", nargs="*")
    parser.add_argument("--directory", action="store_true")
    parser.add_argument("--host")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--allow-offline", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    settings = ServerSettings(
        options.server_id,
        directory=options.directory,
        host=options.host,
        ports={"rpc": options.port},
        allow_offline=options.allow_offline,
        classes=("Directory",),
        more_classes={"Counter": Counter},
        devices=tuple(DeviceSettings(name, "Counter") for name in options.devices),
    )
    run_server(settings, _started)


if __name__ == "__main__":
    main()
