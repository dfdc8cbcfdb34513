"""Bundles: assignments of a block that go to the device in one write, all or none."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Final

from pykarabo.data import PropertyValue
from pykarabo.errors import BadInputError, NotExecutedError, PykaraboError

from ._text import short

_SHOWN: Final = 20


class Bundle:
    """What a block has assigned to a device so far.

    Attributes:
        values: plain values by key, in the order of assignment.
        expected: properties that must not have changed since they were read.
    """

    def __init__(self, device_id: str, expected: Mapping[str, PropertyValue] | None) -> None:
        self.device_id = device_id
        self.expected = expected
        self.values: dict[str, Any] = {}

    def add(self, values: Mapping[str, Any], expected: Mapping[str, Any] | None) -> None:
        """Take assignments; raises `BadInputError` where they ask for a condition of their own."""
        if expected is not None:
            raise BadInputError(
                f"'{self.device_id}' is written in a bundle, which has one condition for all",
                device=self.device_id,
                remedy="give expected=... to bundle()",
            )
        self.values.update(values)

    def taken(self) -> dict[str, Any]:
        """Return what is to be written now; none of it is left."""
        values, self.values = self.values, {}
        return values

    def explain(self, error: PykaraboError, values: Mapping[str, Any]) -> None:
        """Have an error name all that was to be written."""
        shown = ", ".join(f"{key} = {short(values[key])}" for key in list(values)[:_SHOWN])
        more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
        outcome = "nothing was written" if isinstance(error, NotExecutedError) else "look at them"
        error.add_note(f"in one write to '{self.device_id}': {shown}{more}: {outcome}")
        error.details.setdefault("keys", list(values))


_NONE: Final[Mapping[int, Bundle]] = MappingProxyType({})
_open: Final[ContextVar[Mapping[int, Bundle]]] = ContextVar("open_bundles", default=_NONE)


def open_bundle(proxy: object) -> Bundle | None:
    """Return the bundle of a proxy that this thread or task works in."""
    return _open.get().get(id(proxy))


@contextmanager
def bundling(proxy: object, bundle: Bundle) -> Generator[None, None, None]:
    """Gather the assignments of a block in a bundle."""
    token = _open.set({**_open.get(), id(proxy): bundle})
    try:
        yield
    finally:
        _open.reset(token)
