"""How much memory a value needs, as the bounds of queues count it."""

from typing import Any

from pykarabo_services.kernel.narrowing import is_array, is_list, is_mapping

# What a Python object costs besides its content; the bounds need the order of magnitude only.
OBJECT_BYTES = 64


def size_of(value: Any) -> int:
    """Return about how many bytes a property value or a pipeline item holds."""
    if is_array(value):
        return OBJECT_BYTES + int(value.nbytes)
    if isinstance(value, str | bytes | bytearray):
        return OBJECT_BYTES + len(value)
    if is_mapping(value):
        return OBJECT_BYTES + sum(OBJECT_BYTES + size_of(part) for part in value.values())
    if is_list(value):
        return OBJECT_BYTES + sum(map(size_of, value))
    return OBJECT_BYTES
