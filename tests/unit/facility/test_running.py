"""What is asked of servers, also of those that are older than what is asked."""

from collections.abc import Mapping
from typing import Any, Final, cast

from pykarabo.client import BlockingClient
from pykarabo.data import PropertyValue, Timestamp
from pykarabo.errors import PykaraboError, UnknownPropertyError
from pykarabo.facility._running import PROGRAM, _facts

_VALUES: Final = {"start_options": {"program": PROGRAM}, "processes": {}, "given_attributes": {}}
_KNOWN: Final = {
    "NEW": frozenset(_VALUES),
    "OLDER": frozenset({"start_options", "processes"}),
    "OLDEST": frozenset({"start_options"}),
}


class _Servers:
    """Servers that know some properties, and what they were asked."""

    def __init__(self) -> None:
        self.asked: list[Mapping[str, list[str] | None]] = []

    def read_many(
        self, wanted: Mapping[str, list[str] | None]
    ) -> dict[str, dict[str, PropertyValue] | PykaraboError]:
        self.asked.append(wanted)
        return {server_id: self._read(server_id, keys or []) for server_id, keys in wanted.items()}

    def _read(self, server_id: str, keys: list[str]) -> dict[str, Any] | PykaraboError:
        unknown = set(keys) - _KNOWN[server_id]
        if unknown or not keys:
            return UnknownPropertyError(f"'{server_id}' lacks {unknown}", remedy="name another")
        return {key: PropertyValue(_VALUES[key], Timestamp(0, 0, 0)) for key in keys}


def test_servers_that_lack_what_is_asked_are_older_or_silent() -> None:
    servers = _Servers()
    found, silent = _facts(cast("BlockingClient", servers), _KNOWN)
    options = _VALUES["start_options"]
    assert found == {"NEW": (options, {}, True), "OLDER": (options, {}, False)}
    assert list(silent) == ["OLDEST"]
    assert [list(wanted) for wanted in servers.asked] == [[*_KNOWN], ["OLDER", "OLDEST"]]
