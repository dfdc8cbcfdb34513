"""Declaring a pipeline output on a device class."""

import inspect
from typing import TYPE_CHECKING, overload

from pykarabo.data import Configurable, OutputInfo

if TYPE_CHECKING:
    from ._device import Device
    from ._pipelines import OutputChannel


class Output:
    """A pipeline output whose items are described by a `Configurable` class.

    On a device it is an `OutputChannel`.

    Args:
        item: declares the values of an item, with units and shapes, as a device declares its
            properties.
        description: what is sent.
    """

    def __init__(self, item: type[Configurable], *, description: str = "") -> None:
        self._item = item
        self._description = description or (inspect.getdoc(item) or "").partition("\n")[0]
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @property
    def __pykarabo_output__(self) -> OutputInfo:
        """The output as the schema describes it."""
        properties = tuple(
            info for info in self._item.schema().properties.values() if not info.node
        )
        return OutputInfo(self._name, self._description, properties)

    @overload
    def __get__(self, instance: None, owner: type) -> "Output": ...

    @overload
    def __get__(self, instance: "Device", owner: type) -> "OutputChannel": ...

    def __get__(self, instance: "Device | None", owner: type) -> "Output | OutputChannel":
        return self if instance is None else instance.output_channel(self._name)
