"""Doing for callers what they ask for, with no more rights than they have.

A service runs with the role of its process, which may do everything. What a caller gives it to
carry out, such as a configuration or a macro, is therefore done through a client that asks for the
caller's role: the devices refuse it what they would refuse him.
"""

from pykarabo.client import Client
from pykarabo.data import AccessLevel
from pykarabo.errors import NotExecutedError, PykaraboError
from pykarabo.transport import Caller


class CallersClients:
    """Clients with the roles of callers: one for each role that came.

    Args:
        client: that of the service's process, whose connections they share.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._clients: dict[AccessLevel, Client] = {}

    def client_for(self, caller: Caller) -> Client:
        """Return a client that may do what a caller may."""
        known = self._clients.get(caller.role)
        if known is None:
            known = self._clients[caller.role] = self._client.with_role(caller.role)
        return known

    async def aclose(self) -> None:
        """End their connections."""
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            await client.aclose()


def as_our_answer(error: PykaraboError) -> PykaraboError:
    """Return an error of another device as ours, where nothing was done on the way to it.

    The caller may then take "not executed" at its word.
    """
    if isinstance(error, NotExecutedError):
        error.foreign = False
    return error
