"""Asking values of unknown type what they are, in words that type checkers follow."""

from collections.abc import Mapping
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray


def is_array(value: object) -> TypeGuard[NDArray[Any]]:
    """Whether a value is a numpy array."""
    return isinstance(value, np.ndarray)


def is_list(value: object) -> TypeGuard[list[Any] | tuple[Any, ...]]:
    """Whether a value is a list or a tuple."""
    return isinstance(value, list | tuple)


def is_mapping(value: object) -> TypeGuard[Mapping[str, Any]]:
    """Whether a value is a mapping."""
    return isinstance(value, Mapping)


def plain_scalar(value: Any) -> Any:
    """Return a scalar of numpy as Python's own number or truth value, and others as they are."""
    return value.item() if _is_scalar(value) else value


def _is_scalar(value: object) -> "TypeGuard[np.generic[Any]]":
    return isinstance(value, np.generic)
