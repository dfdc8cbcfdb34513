"""Starting the devices of a project on their servers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from pykarabo.client import BlockingClient, DeviceRecord
from pykarabo.data import from_json
from pykarabo.errors import PykaraboError

from .model import Item, Kind

TIMEOUT_S: Final = 30.0
"""A device may connect to its hardware as it starts."""
_GONE: Final = "gone"
_HEARD: Final = frozenset({"online", "busy"})


@dataclass(frozen=True, slots=True)
class StartedDevice:
    """What became of one device of a project.

    Args:
        outcome: ``started``, ``online`` already, ``suspect`` (it runs, and was not heard for some
            seconds), ``incompatible`` (another class or server has the id), ``no server``, or
            ``failed``.
    """

    device_id: str
    server_id: str
    outcome: str
    error: PykaraboError | None = None


def instantiate_devices(
    client: BlockingClient, items: Sequence[Item], pattern: str = "*"
) -> Iterator[StartedDevice]:
    """Start the devices of a project whose ids match, each with its active configuration.

    They are started on the servers that the project names, in its order; whoever calls needs the
    right to it.
    """
    by_uuid = {item.uuid: item for item in items}
    for item in items:
        if item.kind is Kind.DEVICE and fnmatchcase(item.name, pattern):
            active = by_uuid.get(item.attributes.get("active", ""))
            yield _start(client, item, by_uuid[item.parent].name, active)


def _running(client: BlockingClient, device_id: str) -> DeviceRecord | None:
    """Return the record of a device whose server is not gone."""
    for record in client.topology(device_id):
        if record.device_id == device_id and record.status != _GONE:
            return record
    return None


def _start(
    client: BlockingClient, device: Item, server_id: str, active: Item | None
) -> StartedDevice:
    class_id = device.attributes.get("class_id", "")
    record = _running(client, device.name)
    if record is not None:
        same = (record.class_id, record.server_id) == (class_id, server_id)
        heard = "online" if record.status in _HEARD else "suspect"
        return StartedDevice(device.name, server_id, heard if same else "incompatible")
    if client.directory("topology", "")["statuses"].get(server_id, _GONE) == _GONE:
        return StartedDevice(device.name, server_id, "no server")
    values: Any = {} if active is None or not active.text else from_json(active.text)
    try:
        client.device(server_id).call(
            "instantiate", class_id, device.name, dict(values), timeout_s=TIMEOUT_S
        )
    except PykaraboError as error:
        return StartedDevice(device.name, server_id, "failed", error)
    return StartedDevice(device.name, server_id, "started")
