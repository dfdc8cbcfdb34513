"""A device server process with limits and a state machine: `python alarm_process.py SERVER_ID`."""

import argparse
import asyncio
import signal

from pykarabo.data import Float64, Int64, State
from pykarabo.device import (
    Device,
    DeviceSettings,
    ServerSettings,
    StateMachine,
    Transition,
    command,
    run_server,
)


class Lift(Device):
    """A lift with a pump."""

    pressure = Float64(unit="mbar", alarm_high=10.0, alarm_delay=0.3, acknowledge=["alarm_high"])
    level = Float64(unit="mm", deadband=1.0)
    executed = Int64(read_only=True, description="Moves that were made.")

    machine = StateMachine(
        [
            Transition(State.STOPPED, "move", State.MOVING, then=State.STOPPED),
            Transition(State.ERROR, "reset", State.STOPPED),
        ],
        initial=State.STOPPED,
    )

    @command()
    async def move(self, duration: float = 0.0) -> int:
        """Move for a while."""
        self.executed += 1
        await asyncio.sleep(duration)
        return self.executed

    @command()
    async def reset(self) -> None:
        """Leave the error."""


def main() -> None:
    """Serve the devices named on the command line as Lifts."""
    parser = argparse.ArgumentParser()
    parser.add_argument("server_id")
    parser.add_argument("devices", nargs="*")
    parser.add_argument("--directory", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    settings = ServerSettings(
        options.server_id,
        directory=options.directory,
        classes=("Directory",),
        more_classes={"Lift": Lift},
        devices=tuple(DeviceSettings(name, "Lift") for name in options.devices),
    )
    run_server(settings, lambda _server: print("started", flush=True))


if __name__ == "__main__":
    main()
