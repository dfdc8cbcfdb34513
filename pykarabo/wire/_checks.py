"""What a decoded value must be before a field of a message is believed."""

from collections.abc import Sequence
from typing import Any, Final, TypeGuard

from pykarabo.data import Limits
from pykarabo.errors import LimitExceededError

from ._header import NO_INSTANCE, Frame

MAX_FRAME: Final = Limits().max_body
"""A receiver closes the connection on a larger frame; larger data go over a pipeline."""
MAX_ITEM_ARRAY: Final = 256 * 2**20
"""Credits bound how many items of a pipeline are under way; this bounds how much memory one may
take."""

_MAX_NUMBER: Final = 2**64 - 1
_STAMP_FIELDS: Final = 3
_TEXT: Final = frozenset({str})
_BYTES: Final = frozenset({bytes})


def check_size(
    frames: Sequence[Frame], what: str, *, device: str | None = None, largest: int = MAX_FRAME
) -> None:
    """Refuse a message that would cost the connection; raises `LimitExceededError`."""
    size = max(map(len, frames))
    if len(frames[0]) > MAX_FRAME or size > largest:
        raise LimitExceededError(
            f"{what} takes {size / 2**20:.1f} MiB in one piece: "
            f"{MAX_FRAME >> 20} MiB are allowed, {largest >> 20} MiB in an array",
            device=device,
            remedy="nothing was sent: divide it"
            + ("" if largest > MAX_FRAME else ", or use a pipeline output"),
        )


def is_number(value: object) -> TypeGuard[int]:
    """Whether `value` is an integer that a field of the header can hold; a bool is none."""
    return type(value) is int and 0 <= value <= _MAX_NUMBER


def is_instance(value: object) -> TypeGuard[bytes]:
    """Whether `value` can be an instance: bytes of the right length."""
    return isinstance(value, bytes) and len(value) == len(NO_INSTANCE)


def is_names(value: object) -> TypeGuard[list[str]]:
    """Whether `value` is a list of texts."""
    return isinstance(value, list) and _TEXT.issuperset(map(type, value))


def are_bytes(values: list[Any]) -> TypeGuard[list[bytes]]:
    """Whether all of `values` are bytes."""
    return _BYTES.issuperset(map(type, values))


def is_map(value: object) -> TypeGuard[dict[str, Any]]:
    """Whether `value` is a map; the codec lets only texts be keys."""
    return isinstance(value, dict)


def is_stamp(value: object) -> TypeGuard[list[int]]:
    """Whether `value` holds seconds, attoseconds and train id, all integers."""
    return (
        isinstance(value, list)
        and len(value) == _STAMP_FIELDS
        and all(type(item) is int for item in value)
    )
