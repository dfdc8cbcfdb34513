"""A server with many devices: `python wide_process.py SERVER_ID DEVICES PROPERTIES`.

Each device counts once a second. It says when all of them have started; each line on stdin is a
JSON list of a verb and its argument and is answered with one line of JSON.
"""

import asyncio
import random
import sys
import time
from typing import Any, Final

from pykarabo.data import Float64, Int64
from pykarabo.device import Device, DeviceSettings, ServerSettings, running_server

OWN_PROPERTIES: Final = len(Device.schema().properties) + 1
"""What every device has, with its count."""
_PERIOD_S: Final = 1.0


class Ticker(Device):
    """Counts once a second until all devices of the process are halted."""

    count = Int64(read_only=True)

    async def on_start(self) -> None:
        """Count, each device at a time of its own within the second."""
        await asyncio.sleep(random.random() * _PERIOD_S)
        begun = time.monotonic()
        while not _halted.is_set():
            self.count += 1
            await asyncio.sleep(begun + self.count * _PERIOD_S - time.monotonic())


_halted: Final = asyncio.Event()


def _wide(properties: int) -> type[Device]:
    members: dict[str, Any] = {
        f"value{number}": Float64(unit="mm", warn_high=1e6, description="A value.")
        for number in range(properties - OWN_PROPERTIES)
    }
    return type("Wide", (Ticker,), {"__doc__": "Many values.", **members})


async def _serve(server_id: str, count: int, properties: int) -> None:
    settings = ServerSettings(server_id, classes=(), more_classes={"Wide": _wide(properties)})
    devices = [DeviceSettings(f"{server_id}/{number}", "Wide") for number in range(count)]
    async with running_server(settings) as server:
        print('"ready"', flush=True)
        await server.start_devices(devices)
        assert not server.problems, server.problems
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while await reader.readline():
            _halted.set()
            print("null", flush=True)


def main() -> None:
    """Serve what the command line says."""
    server_id, count, properties = sys.argv[1:]
    asyncio.run(_serve(server_id, int(count), int(properties)))


if __name__ == "__main__":
    main()
