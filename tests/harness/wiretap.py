"""Listening in on TCP connections."""

import contextlib
import socket
import threading
from typing import Any, Final

WIRETAP_HOST: Final = "127.0.0.1"


class Wiretap:
    """Passes TCP connections on to a port and keeps every byte.

    Attributes:
        heard: what was said, in both directions.
        said: by connection what was said to the port.
        connections: those that came.
        port: where it listens.
    """

    def __init__(self, port: int) -> None:
        self.heard = bytearray()
        self.said: list[bytearray] = []
        self.connections: list[socket.socket] = []
        self._to = port
        self._listener = socket.create_server((WIRETAP_HOST, 0))
        self.port = int(self._listener.getsockname()[1])
        self._sockets = [self._listener]
        self._threads: list[threading.Thread] = []
        self._run(self._accept)

    def _run(self, work: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection((WIRETAP_HOST, self._to))
                self._sockets += [near, far]
                self.connections.append(near)
                said = bytearray()
                self.said.append(said)
                self._run(self._pass_on, near, far, said)
                self._run(self._pass_on, far, near, bytearray())

    def _pass_on(self, source: socket.socket, sink: socket.socket, said: bytearray) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(2**16):
                self.heard += data
                said += data
                sink.sendall(data)

    def close(self) -> None:
        """End every connection."""
        for item in self._sockets:
            with contextlib.suppress(OSError):
                item.shutdown(socket.SHUT_RDWR)
            item.close()
        for thread in self._threads:
            thread.join()
