"""Making a plan: the file, what runs, and the classes that there are."""

import os
import socket
from dataclasses import dataclass, replace
from pathlib import Path

from pykarabo.client import BlockingClient
from pykarabo.data import Schema
from pykarabo.errors import BadConfigurationError, UnknownClassError
from pykarabo.facility import (
    ACCOUNTS_CLASS,
    STORE_CLASS,
    CheckedFacility,
    FacilityServer,
    Kind,
    Plan,
    Running,
    check_facility,
    look,
    make_plan,
    read_facility,
    with_accounts,
    with_configurations,
    with_configurations_of,
)
from pykarabo.transport import DOMAIN_VARIABLE, accounts_folder, domain_name
from pykarabo.trust import serves_accounts

from ._launching import directory_answers


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user wants of a facility file."""

    file: Path
    data: Path | None
    keep: bool
    reset: bool

    @property
    def home(self) -> Path | None:
        """Where the user wants everything to be written."""
        return None if self.data is None else self.data.expanduser().resolve()


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan, and what it was made from."""

    checked: CheckedFacility
    running: Running
    plan: Plan


def prepare(wish: Wish) -> Prepared:
    """Read, look, check and plan."""
    named = os.environ.get(DOMAIN_VARIABLE)
    facility = read_facility(wish.file, os.environ, domain=named, data=wish.home)
    os.environ[DOMAIN_VARIABLE] = domain_name(facility.domain)
    with BlockingClient() as client:
        running = look_at_all(client) if directory_answers() else Running()
        running.require_answers()
        if serves_accounts(accounts_folder()) and not _has_accounts(running):
            facility = with_accounts(facility, socket.gethostname())
        checked = check_facility(facility, Classes(client, running).schema_of)
        plan = make_plan(checked, running, keep=wish.keep, reset=wish.reset)
    plan = replace(plan, problems=(*plan.problems, *_elsewhere(plan)))
    plan = with_configurations_of(plan, checked, running, keep=wish.keep)
    return Prepared(checked, running, plan)


def _has_accounts(running: Running) -> bool:
    devices = [device for server in running.servers.values() for device in server.devices.values()]
    return any(device.class_id == ACCOUNTS_CLASS for device in devices)


def look_at_all(client: BlockingClient) -> Running:
    """Return what runs, with the configurations of the only store there is."""
    return look_at_store(client, look(client))


def look_at_store(client: BlockingClient, running: Running) -> Running:
    """Return what runs together with the configurations of the only store there is.

    Raises:
        BadConfigurationError: there are several.
    """
    stores = [item.device_id for item in client.find_devices(class_id=STORE_CLASS)]
    if len(stores) > 1:
        raise BadConfigurationError(
            f"there are several configuration stores: {', '.join(stores)}",
            remedy="keep one of them: pykarabo shutdown DEVICE",
        )
    return with_configurations(running, client, stores[0] if stores else None)


def _elsewhere(plan: Plan) -> list[str]:
    """Return why servers cannot be started on this host."""
    return [
        f"server '{step.target}' listens at {step.options.host}, which is not this host: "
        "apply the file there"
        for step in plan.steps
        if step.kind is Kind.START_SERVER
        and step.options is not None
        and step.options.host is not None
        and not _is_here(step.options.host)
    ]


def _is_here(host: str) -> bool:
    import psutil

    own = {address.address for found in psutil.net_if_addrs().values() for address in found}
    try:
        found = {str(item[4][0]) for item in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return any(address in own or address in ("0.0.0.0", "::") for address in found)


class Classes:
    """Tells the schemas of classes: of servers that run, else of those installed here."""

    def __init__(self, client: BlockingClient, running: Running) -> None:
        self._client = client
        self._running = running
        self._known: dict[tuple[str, str], Schema] = {}

    def schema_of(self, server_id: str, server: FacilityServer, class_id: str) -> Schema:
        """Return the schema of a class on a server; raises `UnknownClassError`.

        Args:
            server_id: empty for a class of whichever server.
        """
        known = self._known.get((server_id, class_id))
        if known is None:
            known = self._known[server_id, class_id] = self._find(server_id, server, class_id)
        return known

    def _find(self, server_id: str, server: FacilityServer, class_id: str) -> Schema:
        running = self._running.servers.get(server_id)
        if running is not None and running.options.classes == server.classes:
            return self._ask(server_id, class_id)
        from pykarabo.device import DeviceClasses

        try:
            offered = server.classes
            if offered is not None and class_id in offered:
                offered = None  # of the others it is told when they are looked for
            return DeviceClasses(offered).require(class_id).schema()
        except UnknownClassError:
            offering = [] if server_id else self._offering(class_id)
            if not offering:
                raise
        return self._ask(offering[0], class_id)

    def _offering(self, class_id: str) -> list[str]:
        servers = self._client.servers() if self._running.servers else []
        return [
            record.server_id
            for record in servers
            if class_id in record.classes and record.server_id in self._running.servers
        ]

    def _ask(self, server_id: str, class_id: str) -> Schema:
        return Schema.from_wire(self._client.device(server_id).call("class_schema", class_id))
