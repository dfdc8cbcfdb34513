"""Values in a facility file: as YAML has them where it can, else in the JSON form of values.

``${NAME}`` in a text stands for a variable of the environment, and ``$${`` for ``${`` itself.
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
_PLAIN: Final = (bool, int, float, str, type(None))


def replaced_text(text: str, variable: Callable[[str], str]) -> str:
    """Return a text with its variables replaced."""
    return _VARIABLE.sub(lambda match: "${" if match[1] is None else variable(match[1]), text)


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
