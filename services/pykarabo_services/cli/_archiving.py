"""What `pykarabo doctor` finds of the archivers."""

from collections.abc import Iterator
from typing import Any, Final

from pykarabo.cli import Finding
from pykarabo.client import BlockingClient
from pykarabo.errors import PykaraboError
from pykarabo.transport import run_directory
from pykarabo.wire import Call

_ANSWER_S: Final = 2.0
_LATE_S: Final = 5.0
_FULL: Final = 0.5


def check_archivers() -> Iterator[Finding]:
    """Yield how the archivers of the domain do; nothing where there are none."""
    try:
        if not run_directory().exists():
            return
        with BlockingClient() as client:
            for record in client.find_devices("*", class_id="Archiver"):
                yield _look_at(client, record.device_id)
    except PykaraboError:  # the directory is looked at by another check
        return


def _look_at(client: BlockingClient, device_id: str) -> Finding:
    what = f"archiver {device_id}"
    try:
        health = client.request(device_id, Call(device_id, "health"), timeout_s=_ANSWER_S)
    except PykaraboError as error:
        return Finding(what, good=False, result=error.message, remedy=error.remedy or "")
    return judged(what, health)


def judged(what: str, health: dict[str, Any]) -> Finding:
    """Return what an archiver's health means."""
    if health["problem"]:
        remedy = "make room on the spool's disk, or see why it fails"
        return Finding(what, good=False, result=health["problem"], remedy=remedy)
    if health["database"] != "works":
        result = f"{health['database']}; its spool is {health['spool_fill']:.0%} full"
        remedy = health.get("remedy") or "see 'pykarabo db status'"
        return Finding(what, good=False, result=result, remedy=remedy)
    if health["lag_s"] > _LATE_S or health["spool_fill"] > _FULL:
        result = f"{health['lag_s']:.0f} s behind, its spool is {health['spool_fill']:.0%} full"
        return Finding(what, good=False, result=result, remedy="its database is too slow")
    away = f", {health['away']} of them away" if health["away"] else ""
    return Finding(what, good=True, result=f"follows {health['followed']} devices{away}")
