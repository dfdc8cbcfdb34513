"""Tables: rows of values whose columns are described like properties.

As it travels and as it is kept, a table is a map of its columns: an array of numbers or bools, or
a list of texts or vectors. `TableValue` is the object to work with; that of a device reads the
present table before everything that it does, so that two of them never overwrite each other.
"""

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, cast, overload

from pykarabo.errors import BadInputError, UnknownPropertyError, WrongShapeError, did_you_mean

from ._compare import same
from ._numpy import np
from ._refusal import refusal, wrong_type
from ._types import NUMERIC, ValueType
from ._units import is_quantity, magnitude

if TYPE_CHECKING:
    import numpy.typing as npt

    from ._info import PropertyInfo

Columns: TypeAlias = Mapping[str, Any]
"""A table as it travels: by column an array, or a list where numpy has no type for the cells."""
Row: TypeAlias = Mapping[str, Any]
COLUMN_TYPES: Final = frozenset(
    {
        *NUMERIC,
        ValueType.STRING,
        *(kind for kind in ValueType if kind.is_vector),
    }
)
"""What a cell can be."""


class Keeper(Protocol):
    """What has a table of its own."""

    def _plain_value_of(self, key: str) -> Any: ...

    def _change_value(self, key: str, change: Callable[[Any], Any]) -> None: ...


# -- checking -----------------------------------------------------------------------------------


def columns_of(info: "PropertyInfo", value: Any, device: str | None) -> dict[str, Any]:
    """Return a table as its columns, every cell checked, missing ones at their default.

    Args:
        value: a `TableValue`, a structured array, a map of columns, or rows, each a map or a
            sequence of cells.

    Raises:
        BadInputError: it does not fit; the error names column and row.
    """
    if isinstance(value, TableValue):
        value = value.columns
    if isinstance(value, np.ndarray) and value.dtype.names is not None:
        value = {name: value[name] for name in value.dtype.names}
    if isinstance(value, Mapping):
        columns = _from_columns(info, value, device)
    else:
        columns = _from_rows(info, _listed(info, value, device), device)
    _check_size(info, row_count(columns), device)
    return columns


def row_count(columns: Columns) -> int:
    """Return how many rows a table has."""
    return len(next(iter(columns.values()), ()))


def empty_columns(info: "PropertyInfo") -> dict[str, Any]:
    """Return a table of default rows, as few as it may have."""
    return _from_rows(info, [{}] * (info.min_size or 0), None)


def _listed(info: "PropertyInfo", value: Any, device: str | None) -> list[Any]:
    if isinstance(value, str | bytes):
        raise wrong_type(info, value, device)
    try:
        return list(value)
    except TypeError:
        raise wrong_type(info, value, device) from None


def _from_columns(info: "PropertyInfo", value: Columns, device: str | None) -> dict[str, Any]:
    _refuse_unknown(info, value, device)
    sizes = {name: _length(cells) for name, cells in value.items()}
    if len(set(sizes.values())) > 1 or None in sizes.values():
        problem = f"cannot have columns of the lengths {sizes}"
        remedy = "give a list of rows, or every column as a list of as many cells"
        raise refusal(WrongShapeError, info, device, problem, remedy)
    count = next(iter(sizes.values()), 0) or 0
    return {
        column.key: _column(info, column, value[column.key], device)
        if column.key in value
        else _joined(column, [column.initial_value()] * count)
        for column in info.rows
    }


def _length(cells: Any) -> int | None:
    """Return how many cells a column has; None if it is no column."""
    if isinstance(cells, str | bytes | Mapping):
        return None
    try:
        return len(cells)
    except TypeError:
        return None


def _column(info: "PropertyInfo", column: "PropertyInfo", cells: Any, device: str | None) -> Any:
    """Check a whole column; what numpy cannot check at once is checked cell by cell."""
    given = cells
    kind = column.value_type
    if is_quantity(cells):
        try:
            given = magnitude(cells, column.unit, device=None, key=column.key)
        except BadInputError as error:
            problem = f"cannot have this column: {error.message}"
            raise refusal(type(error), info, device, problem, error.remedy or "") from None
    if isinstance(given, np.ndarray) and given.ndim == 1 and given.dtype == kind.dtype:
        whole = _checked_at_once(column, given)
        if whole is not None:
            return whole
    return _joined(
        column, [_cell(info, column, cell, row, device) for row, cell in enumerate(given)]
    )


def _checked_at_once(column: "PropertyInfo", cells: "npt.NDArray[Any]") -> Any:
    """Return the cells as an array of their own, or None if some may not fit."""
    kept = cells.copy() if cells.flags.writeable else cells
    kept.flags.writeable = False
    if column.options is not None:
        return None
    for limit, fits in (
        (column.minimum, operator.ge),
        (column.maximum, operator.le),
        (column.minimum_exclusive, operator.gt),
        (column.maximum_exclusive, operator.lt),
    ):
        if limit is not None and not bool(np.all(fits(kept, limit))):
            return None
    return kept


def _from_rows(info: "PropertyInfo", rows: Sequence[Any], device: str | None) -> dict[str, Any]:
    complete = [_row(info, row, place, device) for place, row in enumerate(rows)]
    return {
        column.key: _joined(column, [row[place] for row in complete])
        for place, column in enumerate(info.rows)
    }


def _row(info: "PropertyInfo", row: Any, place: int, device: str | None) -> list[Any]:
    """Return the checked cells of a row in the order of the columns."""
    if isinstance(row, Mapping):
        _refuse_unknown(info, row, device)
        given: Any = row
    elif isinstance(row, list | tuple | np.void):
        cells: tuple[Any, ...] = tuple(cast(Iterable[Any], row))
        if len(cells) != len(info.rows):
            problem = f"cannot have a row of {len(cells)} cells"
            remedy = f"give {len(info.rows)}: {', '.join(column.key for column in info.rows)}"
            raise refusal(WrongShapeError, info, device, problem, remedy)
        given = {column.key: cell for column, cell in zip(info.rows, cells, strict=True)}
    else:
        raise wrong_type(info, row, device)
    return [
        _cell(info, column, given[column.key], place, device)
        if column.key in given
        else column.initial_value()
        for column in info.rows
    ]


def _cell(
    info: "PropertyInfo", column: "PropertyInfo", cell: Any, row: int, device: str | None
) -> Any:
    try:
        return column.validate(cell)
    except BadInputError as error:
        problem = f"cannot have this in row {row}: {error.message}"
        raise refusal(type(error), info, device, problem, error.remedy or "") from None


def _joined(column: "PropertyInfo", cells: list[Any]) -> Any:
    """Return checked cells as the column that is kept."""
    if column.value_type not in NUMERIC:
        return cells
    joined = np.array(cells, column.value_type.dtype)
    joined.flags.writeable = False
    return joined


def _refuse_unknown(info: "PropertyInfo", names: Iterable[str], device: str | None) -> None:
    known = [column.key for column in info.rows]
    for name in names:
        if name not in known:
            remedy = did_you_mean(str(name), known) or f"it has {', '.join(known)}"
            raise refusal(UnknownPropertyError, info, device, f"has no column '{name}'", remedy)


def _check_size(info: "PropertyInfo", size: int, device: str | None) -> None:
    low, high = info.min_size or 0, info.max_size
    if size < low or (high is not None and size > high):
        remedy = f"give {low} to {'any number of' if high is None else high} rows"
        raise refusal(WrongShapeError, info, device, f"cannot have {size} rows", remedy)


# -- the object to work with --------------------------------------------------------------------


class TableValue:
    """A table: a sequence of rows with columns of declared types.

    Rows are read as maps that cannot be changed, and set as maps or as sequences of all cells;
    cells that are missing take the column's default. Every change of a device's own table checks
    and publishes the whole table; a table that somebody else has read is a copy.

    Args:
        info: the description of the property, with its columns in `rows`.
        value: what the property accepts: rows, columns, a structured array, a table.

    Raises:
        BadInputError: the value does not fit, as of every method that changes the table.
    """

    __slots__ = ("_columns", "_info", "_keeper")

    def __init__(self, info: "PropertyInfo", value: Any = ()) -> None:
        self._info = info
        self._columns: Columns = columns_of(info, value, None)
        self._keeper: Keeper | None = None

    @classmethod
    def kept_by(cls, keeper: Keeper, info: "PropertyInfo") -> "TableValue":
        """Return the table that is the present value of a property of an object."""
        made = cls.from_plain(info, {})
        made._keeper = keeper
        return made

    @classmethod
    def from_plain(cls, info: "PropertyInfo", columns: Columns) -> "TableValue":
        """Return a table from columns as they travel, which were checked before."""
        made = cls.__new__(cls)
        made._info = info
        made._columns = columns
        made._keeper = None
        return made

    @property
    def info(self) -> "PropertyInfo":
        """The description of the table; its columns are `rows`."""
        return self._info

    @property
    def columns(self) -> Columns:
        """By column an array, or a list where numpy has no type for the cells."""
        if self._keeper is not None:
            self._columns = self._keeper._plain_value_of(self._info.key)
        return MappingProxyType(dict(self._columns))

    @property
    def array(self) -> "npt.NDArray[Any]":
        """A copy as a structured numpy array; texts and vectors are objects in it."""
        columns = self.columns
        kinds = [(item.key, _field_type(item)) for item in self._info.rows]
        made = np.empty(row_count(columns), np.dtype(kinds))
        for name, cells in columns.items():
            if isinstance(cells, np.ndarray):
                made[name] = cells
            else:
                for row, cell in enumerate(cells):  # vectors of one length would become a matrix
                    made[name][row] = _copied(cell)
        return made

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> "npt.NDArray[Any]":
        return self.array if dtype is None else self.array.astype(dtype)

    def __len__(self) -> int:
        return row_count(self.columns)

    def __iter__(self) -> Iterator[Row]:
        return iter(_rows(self.columns))

    @overload
    def __getitem__(self, place: int) -> Row: ...

    @overload
    def __getitem__(self, place: slice) -> "TableValue": ...

    @overload
    def __getitem__(self, place: str | tuple[int, str]) -> Any: ...

    def __getitem__(self, place: int | slice | str | tuple[int, str]) -> Any:
        """Return a row, a table of some rows, a column, or with (row, column) a cell."""
        columns = self.columns
        if isinstance(place, str):
            return _copied(columns[self._require(place)])
        if isinstance(place, tuple):
            row, name = place
            return _cell_of(columns[self._require(name)], row)
        if isinstance(place, slice):
            chosen = np.arange(row_count(columns))[place]
            return TableValue.from_plain(self._info, _taken(columns, chosen))
        return _row_at(columns, place)

    def __setitem__(self, place: int | slice | tuple[int, str], value: Any) -> None:
        """Replace a row, the rows of a slice, or with (row, column) a cell."""
        if isinstance(place, tuple):
            row, name = place
            self._require(name)
            self._edit(lambda now: self._with(now, row, [{**_row_at(now, row), name: value}]))
        else:
            rows = value if isinstance(place, slice) else [value]
            self._edit(lambda now: self._with(now, place, rows))

    def __delitem__(self, place: int | slice) -> None:
        self._edit(lambda now: _taken(now, np.delete(np.arange(row_count(now)), place)))

    def append(self, row: Any) -> None:
        """Add a row at the end."""
        self.extend([row])

    def extend(self, rows: Any) -> None:
        """Add rows at the end."""
        self._edit(lambda now: _put(now, row_count(now), columns_of_rows(self._info, rows)))

    def insert(self, place: int, row: Any) -> None:
        """Put a row before another one."""
        self._edit(lambda now: _put(now, place, columns_of_rows(self._info, [row])))

    def pop(self, place: int = -1) -> Row:
        """Take a row away and return it."""
        taken: list[Row] = []

        def without(now: Columns) -> Columns:
            taken[:] = [_row_at(now, place)]
            return _taken(now, np.delete(np.arange(row_count(now)), place))

        self._edit(without)
        return taken[0]

    def clear(self) -> None:
        """Take all rows away."""
        self._edit(lambda now: _taken(now, np.arange(0)))

    def where(
        self, column: str, value: Any, compare: Callable[[Any, Any], Any] = operator.eq
    ) -> "TableValue":
        """Return the rows whose cell compares with a value, as a table of their own.

        Args:
            compare: called with cell and value, such as `operator.gt`.
        """
        described = next(item for item in self._info.rows if item.key == self._require(column))
        if is_quantity(value):
            value = magnitude(value, described.unit, device=None, key=described.key)
        columns = self.columns
        chosen = [row for row, cell in enumerate(columns[column]) if np.all(compare(cell, value))]
        return TableValue.from_plain(self._info, _taken(columns, np.array(chosen, int)))

    def default_row(self) -> dict[str, Any]:
        """Return a row in which every column has its default."""
        return {column.key: column.initial_value() for column in self._info.rows}

    def to_rows(self) -> list[dict[str, Any]]:
        """Return the rows as maps of plain values that can be changed."""
        return [dict(row) for row in _rows(self.columns)]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TableValue):
            return NotImplemented
        return same(dict(self.columns), dict(other.columns))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        names = ", ".join(column.key for column in self._info.rows)
        return f"<table of {len(self)} rows: {names}>"

    def _require(self, name: str) -> str:
        _refuse_unknown(self._info, [name], None)
        return name

    def _with(self, now: Columns, place: int | slice, rows: Any) -> Columns:
        """Return the columns with the rows at `place` replaced."""
        new = columns_of_rows(self._info, rows)
        count, added = row_count(now), row_count(new)
        order = np.arange(count)
        if isinstance(place, slice) and place.step in (None, 1):
            start, stop, _step = place.indices(count)
            before, after = order[:start], order[max(start, stop) :]
            order = np.concatenate([before, count + np.arange(added), after])
        else:
            if isinstance(place, slice) and len(order[place]) != added:
                problem = f"cannot have {added} rows in place of {len(order[place])}"
                raise refusal(WrongShapeError, self._info, None, problem, "give as many rows")
            order[place] = count + np.arange(added) if isinstance(place, slice) else count
        return _taken(_concatenated(now, new), order)

    def _edit(self, change: Callable[[Columns], Columns]) -> None:
        if self._keeper is not None:
            self._keeper._change_value(self._info.key, change)
        else:
            self._columns = columns_of(self._info, change(self._columns), None)


def columns_of_rows(info: "PropertyInfo", rows: Any) -> Columns:
    """Return some rows as columns, checked but for how many rows the table may have."""
    if isinstance(rows, TableValue):
        rows = rows.to_rows()
    return _from_rows(info, list(rows), None)


def _field_type(column: "PropertyInfo") -> Any:
    return column.value_type.dtype if column.value_type in NUMERIC else np.dtype(object)


def _rows(columns: Columns) -> list[Row]:
    names = list(columns)
    cells = [_plain_cells(column) for column in columns.values()]
    return [
        MappingProxyType(dict(zip(names, row, strict=True))) for row in zip(*cells, strict=True)
    ]


def _plain_cells(column: Any) -> list[Any]:
    return column.tolist() if isinstance(column, np.ndarray) else list(map(_copied, column))


def _copied(cells: Any) -> Any:
    """Return what can be changed without changing the table."""
    return list(cells) if isinstance(cells, list) else cells


def _row_at(columns: Columns, place: int) -> Row:
    return MappingProxyType({name: _cell_of(column, place) for name, column in columns.items()})


def _cell_of(column: Any, place: int) -> Any:
    cell = column[operator.index(place)]
    return cell.item() if isinstance(cell, np.generic) else _copied(cell)


def _taken(columns: Columns, order: "npt.NDArray[Any]") -> dict[str, Any]:
    """Return the rows with some indices, in their order."""
    return {
        name: column[order] if isinstance(column, np.ndarray) else [column[row] for row in order]
        for name, column in columns.items()
    }


def _concatenated(first: Columns, second: Columns) -> dict[str, Any]:
    return {
        name: np.concatenate([column, second[name]])
        if isinstance(column, np.ndarray)
        else [*column, *second[name]]
        for name, column in first.items()
    }


def _put(columns: Columns, place: int, new: Columns) -> dict[str, Any]:
    """Return the columns with rows before index `place`, as `list.insert` understands it."""
    count, added = row_count(columns), row_count(new)
    start, _stop, _step = slice(place, None).indices(count)
    order = np.insert(np.arange(count), start, count + np.arange(added))
    return _taken(_concatenated(columns, new), order)
