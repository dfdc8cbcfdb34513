"""A client process for fault cases: `python client_process.py TASK DEVICE COUNT SIZE`.

Both tasks print that they are connected and go on when they are told a line. Task `flood` makes
COUNT calls at once and prints how they ended; task `fetch` asks COUNT times for a text of SIZE
bytes, says so, and prints how many came.
"""

import asyncio
import json
import sys
from collections import Counter
from typing import Final

from pykarabo.client import Client
from pykarabo.errors import PykaraboError
from pykarabo.wire import Call

_SETTLE_S: Final = 1.5
"""Time for both ends of the connection to have sent heartbeats."""
_LEAVE_S: Final = 0.3
"""Time for the calls to leave this process."""
_FLOOD_S: Final = 5.0
"""Each call lasts so long that all of them are made before the first one ends."""


async def _ended(client: Client, device_id: str, command: str, *args: object) -> str:
    try:
        await client.request(device_id, Call(device_id, command, list(args)), timeout_s=30.0)
    except PykaraboError as error:
        return error.code
    return "done"


async def _flood(device_id: str, count: int) -> None:
    async with Client() as client:
        await client.schema(device_id)
        print("connected", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        calls = [_ended(client, device_id, "fetch", 1, _FLOOD_S) for _ in range(count)]
        print(json.dumps(Counter(await asyncio.gather(*calls))), flush=True)


async def _fetch(device_id: str, count: int, size: int) -> None:
    async with Client() as client:
        await client.schema(device_id)
        await asyncio.sleep(_SETTLE_S)
        print("connected", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        calls = [
            asyncio.create_task(_ended(client, device_id, "fetch", size)) for _ in range(count)
        ]
        await asyncio.sleep(_LEAVE_S)
        print("asked", flush=True)
        print(json.dumps(Counter(await asyncio.gather(*calls))), flush=True)


def main() -> None:
    """Do what the command line says."""
    task, device_id, count, size = sys.argv[1:5]
    if task == "flood":
        asyncio.run(_flood(device_id, int(count)))
    else:
        asyncio.run(_fetch(device_id, int(count), int(size)))


if __name__ == "__main__":
    main()
