"""A device server process with devices of every type: `SERVER_ID [--directory] DEVICE...`."""

import argparse

from pykarabo.device import DeviceSettings, ServerSettings, run_server
from pykarabo.testing._every_type import EveryType


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
        more_classes={"EveryType": EveryType},
        devices=tuple(DeviceSettings(name, "EveryType") for name in options.devices),
    )
    run_server(settings, lambda _server: print("started", flush=True))


if __name__ == "__main__":
    main()
