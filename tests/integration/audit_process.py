"""A device server process for the tests of the audit log: `python audit_process.py SERVER_ID …`."""

import argparse
import asyncio
import os
import signal
from typing import Any

from pykarabo.data import AccessLevel, Float64, Int64, State, String, VectorFloat64
from pykarabo.device import (
    Device,
    DeviceSettings,
    Server,
    ServerSettings,
    command,
    run_server,
)


class Vault(Device):
    """Has something of everything that the audit log must tell or hide."""

    target = Float64(unit="mm", minimum=-10, maximum=10)
    label = String(default="none")
    curve = VectorFloat64()
    pin = String(secret=True, default="0000", regex="[0-9]*")
    parked = Float64(allowed_states={State.OFF})
    count = Int64(read_only=True)

    async def on_initialize(self) -> None:
        """Be on."""
        self.state = State.ON

    async def on_set(self, values: Any) -> None:
        """Refuse a certain number, in words that one should not choose."""
        if values.get("pin") == "0815":
            raise ValueError(f"{values['pin']} is everybody's")

    async def after_set(self, values: Any) -> None:
        """Fail at a certain label."""
        if values.get("label") == "bad":
            raise ValueError("the label is bad")

    @command(secrets=("password",))
    async def login(self, user: str, password: str) -> bool:
        """Let a user in."""
        if user == "nobody":
            raise ValueError(f"{password} is none of his")
        return True

    @command(units={"position": "mm"})
    async def move(self, position: float, fast: bool = False) -> None:
        """Go somewhere."""
        self.target = position

    @command(allowed_states={State.OFF})
    async def park(self) -> None:
        """Be allowed only when off."""

    @command()
    async def fail(self) -> None:
        """Fail."""
        raise RuntimeError("it is broken")

    @command()
    async def rest(self, seconds: float) -> None:
        """Take long."""
        await asyncio.sleep(seconds)

    @command()
    async def crash(self) -> None:
        """Kill the process soon."""
        await asyncio.sleep(1.5)
        os.kill(os.getpid(), signal.SIGKILL)

    @command(access_level=AccessLevel.OBSERVER)
    async def look(self) -> float:
        """Change nothing."""
        return self.target

    @command(audited=False)
    async def beat(self) -> None:
        """Be called all the time."""

    @command()
    async def forward(self, device_id: str) -> None:
        """Move another device."""
        other = await self.connect(device_id)
        await other.call("move", 3.0)


def main() -> None:
    """Serve the devices named on the command line as Vaults."""
    parser = argparse.ArgumentParser()
    parser.add_argument("server_id")
    parser.add_argument("devices", nargs="*")
    parser.add_argument("--directory", action="store_true")
    parser.add_argument("--host")
    options = parser.parse_args()
    settings = ServerSettings(
        options.server_id,
        directory=options.directory,
        host=options.host,
        classes=("Directory",),
        more_classes={"Vault": Vault},
        devices=tuple(DeviceSettings(name, "Vault") for name in options.devices),
    )

    def started(server: Server) -> None:
        for device_id, error in server.problems.items():
            print(f"problem {device_id}: {error}", flush=True)
        print("started", flush=True)

    run_server(settings, started)


if __name__ == "__main__":
    main()
