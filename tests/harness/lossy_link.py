"""Join two TUN devices and lose packets: `python lossy_link.py NEAR FAR`.

Each line on stdin is a share of packets to lose from now on; it is answered with a line. The end
of stdin ends the program, and the devices with it.
"""

import fcntl
import os
import random
import select
import struct
import sys
from typing import Final

_TUNSETIFF: Final = 0x400454CA
_IFF_TUN: Final = 0x0001
_IFF_NO_PI: Final = 0x1000
_LARGEST: Final = 65_536


def _open(name: str) -> int:
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return device


def _write(device: int, packet: bytes) -> None:
    try:
        os.write(device, packet)
    except OSError:  # the device is down: lost, as on a cable that nobody listens to
        return


def main() -> None:
    """Forward until the end of stdin."""
    near, far = (_open(name) for name in sys.argv[1:3])
    other = {near: far, far: near}
    share = 0.0
    print("ready", flush=True)
    while True:
        readable, _, _ = select.select([0, near, far], [], [])
        for source in readable:
            if source == 0:
                line = sys.stdin.readline()
                if not line:
                    return
                share = float(line)
                print("done", flush=True)
            else:
                packet = os.read(source, _LARGEST)
                if random.random() >= share:
                    _write(other[source], packet)


if __name__ == "__main__":
    main()
