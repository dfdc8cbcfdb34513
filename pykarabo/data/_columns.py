"""Columns of values put together."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ._numpy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def joined_columns(columns: "Sequence[NDArray[Any]]") -> "NDArray[Any]":
    """Return columns as one; numbers of several kinds stay what they are, as objects.

    numpy would make floats of integers beside floats, which end at 2**53, and integers of truths.
    """
    some = [column for column in columns if len(column)] or list(columns[:1])
    if len({column.dtype.kind for column in some}) > 1:
        some = [column.astype(object) for column in some]
    return np.concatenate(some)
