"""A server of devices that can be locked: `python lock_process.py SERVER_ID [--directory] ...`."""

import argparse
import asyncio

from pykarabo.data import Float64, Int64, State, String
from pykarabo.device import Device, DeviceSettings, ServerSettings, command, run_server
from pykarabo.errors import LockedError

_OURS = "ours"


class Lockable(Device):
    """Can be locked by whoever asks, unless somebody else was said to have it."""

    locked_by = String(read_only=True)
    locks = Int64(read_only=True, description="How often the lock was taken or renewed.")
    unlocks = Int64(read_only=True)
    lease = Float64(read_only=True, unit="s")
    target = Float64()

    async def on_start(self) -> None:
        """Be ready."""
        self.state = State.ON

    @command(name="lock")
    async def take_lock(self, lease: float = 0.0) -> str:
        """Take the lock for some seconds."""
        if self.locked_by not in ("", _OURS):
            raise LockedError(
                f"device '{self.device_id}' is locked by '{self.locked_by}'",
                device=self.device_id,
                remedy="wait",
                details={"owner": self.locked_by},
            )
        self.locks += 1
        self.lease = lease
        self.locked_by = _OURS
        return _OURS

    @command(name="unlock")
    async def release_lock(self) -> None:
        """Give the lock back."""
        self.unlocks += 1
        self.locked_by = ""

    @command()
    async def clear_lock(self) -> None:
        """End the lock, whoever holds it."""
        self.locked_by = ""

    @command()
    async def occupy(self, name: str, duration: float = 0.0) -> None:
        """Have the lock belong to somebody, for so long if a duration is given."""
        self.locked_by = name
        if duration:
            self.spawn(self._leave(duration), name="leave")

    async def _leave(self, duration: float) -> None:
        await asyncio.sleep(duration)
        self.locked_by = ""


def main() -> None:
    """Serve the devices named on the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("server_id")
    parser.add_argument("devices", nargs="*")
    parser.add_argument("--directory", action="store_true")
    options = parser.parse_args()
    settings = ServerSettings(
        options.server_id,
        directory=options.directory,
        classes=("Directory",),
        more_classes={"Lockable": Lockable},
        devices=tuple(DeviceSettings(name, "Lockable") for name in options.devices),
    )
    run_server(settings, lambda _server: print("started", flush=True))


if __name__ == "__main__":
    main()
