"""A process that does nothing but receive events: `python subscriber_process.py ENDPOINT`.

It ends with status 0 when its stdin is closed. libzmq ends a process by an assertion when it
finds itself broken, so whoever wants to see that needs a process to lose.
"""

import select
import sys

import zmq

from pykarabo.transport import make_context
from pykarabo.transport._sockets import make_subscriber

_LOOK_MS = 50


def main() -> None:
    """Receive until stdin ends."""
    with make_context() as context, make_subscriber(context) as socket:
        socket.setsockopt(zmq.RECONNECT_IVL, 1)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 0)
        socket.subscribe(b"")
        socket.connect(sys.argv[1])
        print("ready", flush=True)
        while not select.select([sys.stdin], [], [], 0)[0]:
            while socket.poll(_LOOK_MS):
                socket.recv_multipart()


if __name__ == "__main__":
    main()
