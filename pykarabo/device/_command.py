"""Commands: methods of a device that others may call."""

import inspect
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

import numpy as np

from pykarabo.data import AccessLevel, CommandInfo, ParameterInfo, State, ValueType, is_unit
from pykarabo.errors import BadConfigurationError, BadInputError

_F = TypeVar("_F", bound=Callable[..., Any])

_TYPES: Final[Mapping[Any, ValueType]] = {
    bool: ValueType.BOOL,
    int: ValueType.INT64,
    float: ValueType.FLOAT64,
    complex: ValueType.COMPLEX128,
    str: ValueType.STRING,
    bytes: ValueType.BYTES,
    list[bool]: ValueType.VECTOR_BOOL,
    list[int]: ValueType.VECTOR_INT64,
    list[float]: ValueType.VECTOR_FLOAT64,
    list[complex]: ValueType.VECTOR_COMPLEX128,
    list[str]: ValueType.VECTOR_STRING,
    np.ndarray: ValueType.ARRAY,
    Any: ValueType.ANY,
    None: ValueType.NONE,
    type(None): ValueType.NONE,
}


_SEQUENCES: Final = (list, tuple, Sequence)


def command(
    *,
    allowed_states: Collection[State] | None = None,
    access_level: AccessLevel = AccessLevel.OPERATOR,
    name: str | None = None,
    label: str = "",
    units: Mapping[str, str] | None = None,
    idempotent: bool = False,
    job: bool = False,
    secrets: Collection[str] = (),
    audited: bool | None = None,
) -> Callable[[_F], _F]:
    """Make a method a command that clients can call.

    The parameters' types come from the annotations: bool, int, float, complex, str, bytes, lists
    of these, ``dict[str, Any]`` and ``TypedDict`` classes, ``numpy.ndarray`` and ``Any``; a default
    makes one optional, and ``| None`` lets it be None. Lists of maps or lists, tuples and unions
    travel as they are, not checked. The result is declared and checked in the same way; of a
    method without a return annotation it is not. The first line of the docstring describes the
    command. A method that is not ``async`` runs in a worker thread.

    Args:
        allowed_states: states in which the command may be called; None means any.
        access_level: who may call it.
        name: the command's name where it differs from the method's.
        label: a short title for user interfaces.
        units: per parameter the unit that a number is in.
        idempotent: running it twice is the same as running it once, so that a call whose outcome
            is unknown may be made again.
        job: it takes long: the call returns a job at once, and the work goes on in the device,
            which tells its progress with `Device.report_progress`.
        secrets: parameters whose values nobody may see, such as a password.
        audited: False for what other programs call all the time, such as the renewal of a lease:
            the audit log tells only who was denied it. The default is False for what an observer
            may call, because it changes nothing.

    Raises:
        BadConfigurationError: a parameter without annotation, of a type that cannot travel or with
            a default of another type, or a unit or secret of no parameter.
    """

    def mark(function: _F) -> _F:
        info = _describe(function, name or function.__name__)
        _check_units(units or {}, info[0], function.__name__)
        _check_names(secrets, info[0], function.__name__, "a secret")
        function.__pykarabo_command__ = CommandInfo(  # type: ignore[attr-defined]
            name=name or function.__name__,
            label=label,
            description=inspect.getdoc(function) or "",
            parameters=tuple(_complete(item, units or {}, secrets) for item in info[0]),
            returns=info[1],
            nullable_result=info[2],
            allowed_states=None if allowed_states is None else frozenset(allowed_states),
            access_level=access_level,
            idempotent=idempotent,
            job=job,
            audited=access_level is not AccessLevel.OBSERVER if audited is None else audited,
        )
        return function

    return mark


def _check_units(units: Mapping[str, str], infos: Collection[ParameterInfo], name: str) -> None:
    _check_names(units, infos, name, "a unit")
    for parameter, unit in units.items():
        if not is_unit(unit):
            raise BadConfigurationError(
                f"parameter '{parameter}' of command '{name}' has the unit {unit!r}",
                remedy="give a name that pint knows, such as 'mm/s'",
            )


def _check_names(
    given: Collection[str], infos: Collection[ParameterInfo], name: str, what: str
) -> None:
    names = [item.name for item in infos]
    for parameter in given:
        if parameter not in names:
            raise BadConfigurationError(
                f"command '{name}' has {what} for '{parameter}', which is no parameter",
                remedy=f"it has {', '.join(names) or 'none'}",
            )


def _complete(
    info: ParameterInfo, units: Mapping[str, str], secrets: Collection[str]
) -> ParameterInfo:
    return replace(info, unit=units.get(info.name, ""), secret=info.name in secrets)


def _describe(
    function: Callable[..., Any], name: str
) -> tuple[list[ParameterInfo], ValueType, bool]:
    hints = typing.get_type_hints(function)
    parameters = list(inspect.signature(function).parameters.values())[1:]
    infos = [_parameter(parameter, hints, name) for parameter in parameters]
    returns = hints.get("return", Any)
    kind = value_type_of(returns, f"the result of command '{name}'")
    return infos, kind, type(None) in typing.get_args(returns)


def _parameter(
    parameter: inspect.Parameter, hints: Mapping[str, Any], command_name: str
) -> ParameterInfo:
    what = f"parameter '{parameter.name}' of command '{command_name}'"
    if parameter.name not in hints or parameter.kind in (
        inspect.Parameter.VAR_POSITIONAL,
        inspect.Parameter.VAR_KEYWORD,
    ):
        raise BadConfigurationError(
            f"{what} has no type", remedy="annotate it, for example with 'float'"
        )
    required = parameter.default is inspect.Parameter.empty
    info = ParameterInfo(
        parameter.name,
        value_type_of(hints[parameter.name], what),
        required=required,
        default=None if required else parameter.default,
        nullable=type(None) in typing.get_args(hints[parameter.name]),
    )
    if not required:
        _check_default(info, what)
    return info


def _check_default(info: ParameterInfo, what: str) -> None:
    try:
        info.validate(info.default, device="default", command="command")
    except BadInputError as error:
        raise BadConfigurationError(
            f"{what} has a default that is none of its type: {info.default!r}",
            remedy=error.remedy,
        ) from None


def value_type_of(annotation: Any, what: str) -> ValueType:
    """Return the value type that an annotation stands for.

    Raises:
        BadConfigurationError: a type that cannot travel; `what` names whose it is.
    """
    origin = typing.get_origin(annotation) or annotation
    if origin in (types.UnionType, typing.Union):
        members = [item for item in typing.get_args(annotation) if item is not type(None)]
        return value_type_of(members[0], what) if len(members) == 1 else _mixed(members, what)
    if origin is np.ndarray:
        return ValueType.ARRAY
    if origin in (dict, Mapping) or typing.is_typeddict(annotation):
        return ValueType.HASH
    found = _TYPES.get(annotation)
    if found is not None:
        return found
    if origin in _SEQUENCES:
        return _mixed([item for item in typing.get_args(annotation) if item is not ...], what)
    raise BadConfigurationError(
        f"{what} has the type {annotation!r}, which cannot travel",
        remedy="use bool, int, float, complex, str, bytes, None, dict, TypedDict, numpy.ndarray, or"
        " lists and unions of these; a date as text, an enumeration as its value",
    )


def _mixed(members: Collection[Any], what: str) -> ValueType:
    """Return the type of what can be one of several or holds them, each of which can travel."""
    for member in members:
        value_type_of(member, what)
    return ValueType.ANY
