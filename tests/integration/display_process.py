"""A server of devices that show much: `python display_process.py SERVER_ID [--directory] ...`."""

import argparse

from pykarabo.data import Bool, Configurable, Float64, Int64, Node, State, String, VectorFloat64
from pykarabo.device import Device, DeviceSettings, ServerSettings, command, run_server


class Axis(Configurable):
    """One axis."""

    velocity = Float64(unit="mm/s", default=2.0, tags=["motion"], alias="0x6081")

    @command()
    async def home(self) -> None:
        """Go to the reference."""


class Stage(Device):
    """A stage with <b>one</b> axis."""

    position = Float64(
        unit="mm", read_only=True, alarm_high=9, description="Where it is & was <seen>."
    )
    target = Float64(unit="mm", minimum=-10, maximum=10, tags=["motion"], alias="0x607A")
    label = String(default="none", tags=["text"])
    mode = Int64(default=1, allowed_states=[State.ON])
    offset = Float64(unit="mm", init_only=True, default=0.5)
    table = VectorFloat64(default=[1.0, 2.0])
    share = Float64(unit="%", default=50.0)
    enabled = Bool(default=True)
    axis = Node(Axis)

    async def on_start(self) -> None:
        """Be ready."""
        self.state = State.ON

    @command(allowed_states=[State.ON], units={"position": "mm"})
    async def move(self, position: float, speed: float = 1.0) -> float:
        """Go somewhere.

        And say where it is then.
        """
        self.position = position * speed
        return self.position

    @command()
    async def show_state(self, state: str) -> None:
        """Have a state."""
        self.state = State(state)


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
        more_classes={"Stage": Stage},
        devices=tuple(DeviceSettings(name, "Stage") for name in options.devices),
    )
    run_server(settings, lambda _server: print("started", flush=True))


if __name__ == "__main__":
    main()
