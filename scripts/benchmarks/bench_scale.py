"""Size: how long idle devices and a facility take to start, and what they weigh."""

import statistics
from typing import Any, Final

from scripts.benchmarks._facility import facility
from scripts.benchmarks._processes import Peer, domain, free_port, library, peer
from scripts.benchmarks._report import Reach, Row

DEVICES: Final = 1_000
PROPERTIES: Final = 20
"""Of a device's own class; what every device has comes on top."""
ROUNDS: Final = 5
_KILO: Final = 1_000
_PYTANGO: Final = f"PyTango, {DEVICES} devices with {PROPERTIES} attributes"
_NO_TANGO: Final = "PyTango, which has no wheel for this Python"
_Pair = tuple[dict[str, Any], dict[str, Any] | None]


def rows() -> list[Row]:
    """Measure a server with many idle devices, PyTango's with as many, and a facility."""
    with domain("serve"):
        pairs = [(_ours(number), _tango()) for number in range(ROUNDS)]
    return [
        _row("start", "s", 0.8, _figures(pairs, "seconds", 1)),
        _row("memory", "kB", 44.0, _figures(pairs, "bytes", 1 / DEVICES / _KILO)),
        *facility(),
    ]


def _figures(pairs: list[_Pair], name: str, factor: float) -> tuple[list[float], list[float]]:
    """Return one figure of all rounds, ours and PyTango's."""
    return (
        [ours[name] * factor for ours, _tango in pairs],
        [tango[name] * factor for _ours, tango in pairs if tango is not None],
    )


def _row(what: str, unit: str, reach: float, figures: tuple[list[float], list[float]]) -> Row:
    ours, theirs = figures
    return Row(
        id=f"idle_devices_{what}",
        what=f"{DEVICES} idle devices with {PROPERTIES} properties in one server: {what}",
        value=statistics.median(ours),
        unit=unit,
        reference=_PYTANGO if theirs else _NO_TANGO,
        reference_value=statistics.median(theirs) if theirs else None,
        reach=Reach(reach),
    )


def _ours(number: int) -> dict[str, Any]:
    with peer("idle", f"BENCH/{number}", DEVICES, PROPERTIES) as server:
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
