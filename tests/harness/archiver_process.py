"""A server with an archiver for fault cases: `python -m tests.harness.archiver_process ID {...}`.

The last argument is the archiver's configuration. SPOOL_ERRORS in the environment is how many waits
for the spool's disk fail, which stands for a disk that fails.
"""

import errno
import json
import os
import sys
from typing import Final

from pykarabo.device import DeviceSettings, Server, ServerSettings, run_server
from pykarabo.errors import PykaraboError
from pykarabo_services.archiver import service

ERRORS_VARIABLE: Final = "SPOOL_ERRORS"


def main() -> None:
    """Serve one archiver."""
    device_id, configuration = sys.argv[1:]
    _fail(int(os.environ.get(ERRORS_VARIABLE, "0")))
    settings = ServerSettings(
        f"S/{device_id}",
        classes=("Archiver",),
        devices=(DeviceSettings(device_id, "Archiver", json.loads(configuration)),),
    )
    try:
        run_server(settings, _started)
    except PykaraboError as error:
        sys.exit(str(error))


def _fail(times: int) -> None:
    left = [times]

    def sync(handle: int) -> None:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.EIO, "the disk has an error")
        os.fdatasync(handle)

    if times:
        service.SYNC = sync


def _started(server: Server) -> None:
    problems = {device: str(error) for device, error in server.problems.items()}
    print(json.dumps({"problems": problems}), flush=True)


if __name__ == "__main__":
    main()
