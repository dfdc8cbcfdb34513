r"""What a subscriber wants of a device: which properties, how often, which part of an array.

The choice is part of the topic that it subscribes to. Subscribers with the same choice share one
stream, which exists as long as somebody is subscribed; there is nothing else to set up, and
nothing to set up again after a connection was lost. A topic is::

    \x03 device id \x00 choice as JSON \x00

A stream with a choice shows the latest value of each property: values that came and went between
two of its messages are not sent. Its messages are numbered like a device's, so none gets lost.
"""

import json
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pykarabo.data import Row
from pykarabo.errors import BadConfigurationError, MalformedMessageError

if TYPE_CHECKING:
    import numpy as np

CHOICE_PREFIX: Final = "\x03"
MAX_CHOICE: Final = 2_048
"""Characters of a choice on the wire: some hundred property names."""
MAX_RATE_HZ: Final = 1_000.0
_FIELDS: Final = ("keys", "max_rate_hz", "region", "binning")
_RANGE: Final = 2


class Choice(NamedTuple):
    """A subscriber's choice.

    Attributes:
        keys: properties, or nodes with all that is below them; None means every one.
        max_rate_hz: at most so many messages per second; None sends each change at once.
        region: per dimension of an array the range ``(start, stop)`` to be sent.
        binning: per dimension how many elements become one, their mean; a remainder at the end
            is left out. The region is cut out first.
    """

    keys: tuple[str, ...] | None = None
    max_rate_hz: float | None = None
    region: tuple[tuple[int, int], ...] | None = None
    binning: tuple[int, ...] | None = None

    def wants(self, key: str) -> bool:
        """Tell whether a property is among the chosen ones."""
        return self.keys is None or any(
            key == wanted or key.startswith(f"{wanted}.") for wanted in self.keys
        )

    def stream(self, device_id: str) -> str:
        """Return the name of the stream that shows a device so.

        Raises:
            BadConfigurationError: the choice contradicts itself or is too long.
        """
        if self == Choice():
            return device_id
        _check(self)
        chosen = {name: value for name, value in self._asdict().items() if value is not None}
        text = json.dumps(chosen, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        if len(text) > MAX_CHOICE:
            raise BadConfigurationError(
                f"a choice of {len(self.keys or ())} properties is too long",
                device=device_id,
                remedy="choose nodes or all properties",
            )
        return f"{CHOICE_PREFIX}{device_id}\0{text}"

    def reduce(self, rows: Iterable[Row]) -> list[Row]:
        """Return the chosen properties' rows, arrays cut and binned."""
        wanted = (row for row in rows if self.wants(row[0]))
        if self.region is None and self.binning is None:
            return list(wanted)
        return [[row[0], self._part(row[1]), *row[2:]] for row in wanted]

    def _part(self, value: Any) -> Any:
        import numpy as np

        if not isinstance(value, np.ndarray):
            return value
        array: np.ndarray[Any, Any] = value
        if self.region is not None and array.ndim >= len(self.region):
            array = array[tuple(slice(start, stop) for start, stop in self.region)]
        if self.binning is not None and array.ndim >= len(self.binning):
            array = _binned(array, self.binning)
        return array


def _binned(array: "np.ndarray[Any, Any]", binning: tuple[int, ...]) -> "np.ndarray[Any, Any]":
    whole = tuple(
        slice(0, size - size % step) for size, step in zip(array.shape, binning, strict=False)
    )
    array = array[whole]
    shape: list[int] = []
    for size, step in zip(array.shape, binning, strict=False):
        shape += [size // step, step]
    rest = array.shape[len(binning) :]
    axes = tuple(range(1, 2 * len(binning), 2))
    binned: np.ndarray[Any, Any] = array.reshape(*shape, *rest).mean(axis=axes)
    return binned


def _check(choice: Choice) -> None:
    """Refuse a choice that means nothing; raises `BadConfigurationError`."""
    rate = choice.max_rate_hz
    if rate is not None and not (math.isfinite(rate) and 0 < rate <= MAX_RATE_HZ):
        raise BadConfigurationError(
            f"{rate} is no rate for a stream", remedy=f"give 0 < rate <= {MAX_RATE_HZ:.0f} Hz"
        )
    for start, stop in choice.region or ():
        if not 0 <= start < stop:
            raise BadConfigurationError(
                f"({start}, {stop}) is no range of an array", remedy="give 0 <= start < stop"
            )
    if any(step < 1 for step in choice.binning or ()):
        raise BadConfigurationError(
            f"{choice.binning} is no binning", remedy="give whole numbers from 1 on"
        )


def parse_stream(name: str) -> tuple[str, Choice]:
    """Return the device and the choice that a stream's name stands for.

    Raises:
        MalformedMessageError: no name that `Choice.stream` makes.
    """
    if not name.startswith(CHOICE_PREFIX):
        return name, Choice()
    device_id, _nul, text = name.removeprefix(CHOICE_PREFIX).partition("\0")
    try:
        chosen = json.loads(text) if len(text) <= MAX_CHOICE else None
        choice = Choice(**_decoded(chosen))
        _check(choice)
    except (ValueError, TypeError, RecursionError, BadConfigurationError) as error:
        raise MalformedMessageError(
            f"a stream's choice cannot be understood: {error}", remedy="update pykarabo"
        ) from None
    return device_id, choice


def _decoded(chosen: Any) -> dict[str, Any]:
    if not isinstance(chosen, dict) or not set(chosen) <= set(_FIELDS):
        raise ValueError("it is no map of what can be chosen")
    decoded: dict[str, Any] = {}
    if "keys" in chosen:
        decoded["keys"] = tuple(str(key) for key in _list(chosen["keys"]))
    if "max_rate_hz" in chosen:
        decoded["max_rate_hz"] = float(chosen["max_rate_hz"])
    if "region" in chosen:
        decoded["region"] = tuple(_range(item) for item in _list(chosen["region"]))
    if "binning" in chosen:
        decoded["binning"] = tuple(_whole(step) for step in _list(chosen["binning"]))
    return decoded


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{value!r:.60} is no list")
    return value


def _range(value: Any) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != _RANGE:
        raise ValueError(f"{value!r:.60} is no range")
    return _whole(value[0]), _whole(value[1])


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r:.60} is no whole number")
    return value
