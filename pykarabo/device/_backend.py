"""Hardware and its simulation behind one device class."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

from pykarabo.data import Property
from pykarabo.errors import BadConfigurationError

_T = TypeVar("_T")


class Backend(Generic[_T]):
    """What a device drives: the hardware, or a simulation that behaves like it.

    The class declares ``simulated = Bool(init_only=True)``; the configuration chooses. The object
    is made when it is used first, and belongs to that device from then on.

    Args:
        real, simulated: called with the device; both make the same kind of object, at best of one
            `typing.Protocol`.
    """

    def __init__(self, *, real: Callable[[Any], _T], simulated: Callable[[Any], _T]) -> None:
        self._real = real
        self._simulated = simulated
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> "Backend[_T]": ...

    @overload
    def __get__(self, instance: object, owner: type) -> _T: ...

    def __get__(self, instance: Any, owner: type) -> "Backend[_T] | _T":
        if instance is None:
            return self
        if not isinstance(getattr(owner, "simulated", None), Property):
            raise BadConfigurationError(
                f"class '{owner.__name__}' does not say whether '{self._name}' is simulated",
                key="simulated",
                remedy="declare simulated = Bool(init_only=True)",
            )
        made = (self._simulated if instance.simulated else self._real)(instance)
        vars(instance)[self._name] = made  # found before this descriptor from now on
        return made
