"""What a decoded value must be before a field of a message is believed."""

from typing import Any, Final, TypeGuard

from ._header import NO_INSTANCE

_MAX_NUMBER: Final = 2**64 - 1
_STAMP_FIELDS: Final = 3


def is_number(value: object) -> TypeGuard[int]:
    """Whether `value` is an integer that a field of the header can hold; a bool is none."""
    return type(value) is int and 0 <= value <= _MAX_NUMBER


def is_instance(value: object) -> TypeGuard[bytes]:
    """Whether `value` can be an instance: bytes of the right length."""
    return isinstance(value, bytes) and len(value) == len(NO_INSTANCE)


def is_names(value: object) -> TypeGuard[list[str]]:
    """Whether `value` is a list of texts."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def are_bytes(values: list[Any]) -> TypeGuard[list[bytes]]:
    """Whether all of `values` are bytes."""
    return all(isinstance(value, bytes) for value in values)


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
