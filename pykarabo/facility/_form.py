"""Values in a facility file: as YAML has them where it can, else in the JSON form of values.

``${NAME}`` in a text stands for a variable of the environment, and ``$${`` for ``${`` itself. One
variable and nothing else may stand for a number: what the property takes decides.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from pykarabo.data import PropertyInfo, TableValue, ValueType, from_json, same, to_json
from pykarabo.errors import BadInputError, MalformedMessageError

_VARIABLE: Final = re.compile(r"\$\$\{|\$\{(\w+)\}")
_FORM: Final = "$"
"""First letter of the first key of a value in the JSON form."""
_BOOLS: Final = {"true": True, "false": False}
_PLAIN: Final = (bool, int, float, str, type(None))


def replaced_text(text: str, variable: Callable[[str], str]) -> str:
    """Return a text with its variables replaced."""
    return _VARIABLE.sub(lambda match: "${" if match[1] is None else variable(match[1]), text)


class FromVariable(str):
    """A text that a variable of the environment has, and nothing else."""

    name: str


def replaced_whole(text: str, variable: Callable[[str], str]) -> str:
    """Return a text with its variables replaced; a `FromVariable` where it was one variable."""
    whole = _VARIABLE.fullmatch(text)
    if whole is None or whole[1] is None:
        return replaced_text(text, variable)
    found = FromVariable(variable(whole[1]))
    found.name = whole[1]
    return found


def scalar(text: str) -> Any:
    """Return the number, or true or false, that a text stands for; else the text."""
    if text in _BOOLS:
        return _BOOLS[text]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return str(text)


def variables_in(value: Any) -> list[str]:
    """Return the variables that values came from."""
    return [part.name for part in _parts(value) if isinstance(part, FromVariable)]


def from_variables(value: Any, info: PropertyInfo) -> Any:
    """Return a property's value with its variables as the property takes them."""
    if not variables_in(value):
        return value
    if info.node:
        return _converted(value, str)
    if info.value_type is ValueType.TABLE and isinstance(value, list):
        columns = {column.key: column for column in info.rows}
        return [_row_from_variables(row, columns) for row in value]
    for convert in (str, scalar):
        found = _converted(value, convert)
        try:
            info.validate(found)
        except BadInputError:
            continue
        return found
    return _converted(value, str)


def _row_from_variables(row: Any, columns: Mapping[str, PropertyInfo]) -> Any:
    if not isinstance(row, dict):
        return _converted(row, str)
    return {
        name: from_variables(cell, columns[name]) if name in columns else _converted(cell, str)
        for name, cell in row.items()
    }


def _converted(value: Any, convert: Callable[[str], Any]) -> Any:
    if isinstance(value, dict):
        return {key: _converted(item, convert) for key, item in value.items()}
    if isinstance(value, list):
        return [_converted(item, convert) for item in value]
    return convert(value) if isinstance(value, FromVariable) else value


def is_formed(value: Any) -> bool:
    """Tell whether a map is a value in the JSON form."""
    return isinstance(value, dict) and str(next(iter(value), "")).startswith(_FORM)


def from_form(value: Mapping[str, Any]) -> Any:
    """Return the value that a map in the JSON form stands for; raises `MalformedMessageError`."""
    try:
        document = {"pykarabo": "value", "version": 1, "value": value}
        return from_json(json.dumps(document))
    except (TypeError, ValueError) as error:
        raise MalformedMessageError(
            str(error), remedy="write it as docs/reference/codecs.md says"
        ) from None


def to_form(value: Any, info: PropertyInfo) -> Any:
    """Return a property's plain value as YAML can hold it, so that reading gives it again."""
    simple = _simple(value, info)
    try:
        if all(map(_is_plain, _parts(simple))) and same(info.validate(simple), value):
            return escaped(simple)
    except BadInputError:
        pass  # what is simple is not always what the property takes
    return json.loads(to_json(value))["value"]


def _simple(value: Any, info: PropertyInfo) -> Any:
    if info.value_type is ValueType.TABLE and isinstance(value, Mapping):
        return _simple_item(TableValue.from_plain(info, value).to_rows())
    return _simple_item(value)


def _simple_item(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _simple_item(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_simple_item(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value


class _Odd:
    """Stands for a key that YAML would hold, and that would be taken for something else."""


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from (_Odd if not isinstance(key, str) or key[:1] == _FORM else key for key in value)
        for item in value.values():
            yield from _parts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _parts(item)
    else:
        yield value


def _is_plain(value: Any) -> bool:
    return type(value) in _PLAIN


def escaped(value: Any) -> Any:
    """Return a value so that reading replaces no variable in its texts."""
    if isinstance(value, str):
        return value.replace("${", "$${")
    if isinstance(value, dict):
        return {key: escaped(item) for key, item in value.items()}
    return [escaped(item) for item in value] if isinstance(value, list) else value
