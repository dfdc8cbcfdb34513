"""What an archive notes when it was made again what it was when it was backed up."""

import secrets
import time
from typing import Final

from sqlalchemy import Connection, select

from pykarabo_services.archiver import tables
from pykarabo_services.archiver.model import DeviceEvent, EventKind
from pykarabo_services.archiver.store import STORE_ID, write_events

_REASON: Final = "the archive was restored from a backup: what came after it is lost"


def note_lost(connection: Connection) -> None:
    """Tell of each device up to when the backup has it, and that nobody knows more until now.

    The archive has another id from now on. By that an archiver sees that it is not the one that it
    knew, and reads all values anew: what has no newer sample then is as it was in the backup.
    """
    now_ns = time.time_ns()
    mark = tables.mark.c
    events: list[DeviceEvent] = []
    for device_id, epoch, time_ns in connection.execute(
        select(mark.device_id, mark.epoch, mark.time_ns)
    ):
        lost = DeviceEvent(
            device_id=device_id,
            time_ns=min(max(time_ns, epoch), now_ns),
            until_ns=now_ns,
            kind=EventKind.GAP,
            epoch=epoch,
            reason=_REASON,
        )
        events.append(lost)
    write_events(connection, events)
    about = tables.about
    connection.execute(
        about.update().where(about.c.name == STORE_ID).values(value=secrets.token_hex(8))
    )
