"""Size: how long a thousand idle devices take to start and what each weighs."""

import statistics
from collections.abc import Callable
from typing import Any, Final

from scripts.benchmarks._devices import OWN_PROPERTIES
from scripts.benchmarks._processes import Peer, domain, free_port, library, peer
from scripts.benchmarks._report import Row

DEVICES: Final = 1_000
PROPERTIES: Final = 20
"""Of a device's own class; what every device has comes on top."""
ROUNDS: Final = 5
_KILO: Final = 1_000
_PYTANGO: Final = f"PyTango, {DEVICES} devices with {PROPERTIES} attributes"
_NO_TANGO: Final = "PyTango, which has no wheel for this Python"
_Pair = tuple[dict[str, Any], dict[str, Any] | None]


def rows() -> list[Row]:
    """Measure a server with many idle devices, and PyTango's with as many."""
    with domain("serve"):
        pairs = [(_ours(number), _tango()) for number in range(ROUNDS)]
    return [
        _row("idle_devices_start", "start", "s", pairs, lambda facts: facts["seconds"]),
        _row(
            "idle_devices_memory",
            "memory of each",
            "kB",
            pairs,
            lambda facts: facts["bytes"] / DEVICES / _KILO,
        ),
    ]


def _row(name: str, what: str, unit: str, pairs: list[_Pair], of: Callable[[Any], float]) -> Row:
    theirs = [of(tango) for _ours, tango in pairs if tango is not None]
    return Row(
        id=name,
        what=f"{DEVICES} idle devices with {PROPERTIES} properties in one server: {what}",
        value=statistics.median(of(ours) for ours, _tango in pairs),
        unit=unit,
        reference=_PYTANGO if theirs else _NO_TANGO,
        reference_value=statistics.median(theirs) if theirs else None,
    )


def _ours(number: int) -> dict[str, Any]:
    with peer("idle", f"BENCH/{number}", DEVICES, PROPERTIES + OWN_PROPERTIES) as server:
        return _heard(server)


def _tango() -> dict[str, Any] | None:
    if library("tango") is None:
        return None
    with peer("tango", free_port(), DEVICES, PROPERTIES) as server:
        return _heard(server)


def _heard(server: Peer) -> dict[str, Any]:
    facts: dict[str, Any] = server.hear()
    if facts.get("problems"):
        raise RuntimeError(f"{facts['problems']} devices were not started")
    return facts
