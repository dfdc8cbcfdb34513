"""What the system says of an endpoint and of a process, beneath the protocol."""

import os
import socket
from typing import Final
from urllib.parse import urlsplit

from pykarabo.errors import NotConnectedError

CONNECT_S: Final = 2.0
"""A host of the same facility answers within milliseconds."""
_GONE: Final = "the server has ended: see why at the end of its log, start it again: pykarabo up"


def reach(endpoint: str) -> str:
    """Open and close a plain connection to an endpoint; returns what was found.

    Raises:
        NotConnectedError: nobody listens there, with the reason and what helps.
    """
    parts = urlsplit(endpoint)
    if parts.hostname and parts.port:
        return _reach_host(parts.hostname, parts.port)
    return _reach_file(endpoint.removeprefix("ipc://"))


def _reach_file(path: str) -> str:
    with socket.socket(socket.AF_UNIX) as tried:
        tried.settimeout(CONNECT_S)
        try:
            tried.connect(path)
        except FileNotFoundError:
            raise NotConnectedError(f"there is no socket {path}", remedy=_GONE) from None
        except ConnectionRefusedError:
            raise NotConnectedError(
                f"nobody listens at {path}: its process was killed", remedy=_GONE
            ) from None
        except OSError as error:
            raise NotConnectedError(
                f"{path} cannot be opened: {error.strerror or error}",
                remedy="work as the user that runs the server, or restart a server that hangs",
            ) from None
    return "somebody listens there"


def _reach_host(host: str, port: int) -> str:
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4]
    except socket.gaierror as error:
        raise NotConnectedError(
            f"the host name '{host}' is not known here: {error.strerror}",
            remedy="ask for it to be added to the name server, "
            "or start the server with --advertise ADDRESS",
        ) from None
    try:
        socket.create_connection((str(address[0]), port), CONNECT_S).close()
    except ConnectionRefusedError:
        raise NotConnectedError(
            f"the host {host} answers, but nobody listens on its port {port}", remedy=_GONE
        ) from None
    except OSError as error:
        reason = error.strerror or f"no answer within {CONNECT_S:.0f} s"
        raise NotConnectedError(
            f"the host {host} cannot be reached on port {port}: {reason}",
            remedy=f"see whether it is on and in this network (ping {host}), "
            "and whether a firewall closes the port",
        ) from None
    return "somebody listens there"


def look_at_process(host: str, pid: int) -> str | None:
    """Say how a process of this host is; None for one of another host.

    Raises:
        NotConnectedError: there is none, or it is stopped.
    """
    import psutil

    if host != socket.gethostname():
        return None
    try:
        process = psutil.Process(pid)
        status, user = process.status(), process.username()
    except psutil.NoSuchProcess:
        raise NotConnectedError(f"there is no process {pid} any more", remedy=_GONE) from None
    if status in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP):
        raise NotConnectedError(
            f"process {pid} is stopped: somebody pressed Ctrl-Z or debugs it",
            remedy=f"let it run on: kill -CONT {pid}",
        )
    own = "" if process.uids().real == os.getuid() else f" as user {user}"
    return f"process {pid} runs{own}"
