"""What makes a device class an interface."""

from typing import ClassVar, NoReturn

from pykarabo.device import Device


class Interface(Device):
    """Base of the interfaces: a class that gives itself an `interface_name` is one."""

    interface_name: ClassVar[str]

    def not_implemented(self, command: str) -> NoReturn:
        """Tell that the class lacks a command of its interface."""
        raise NotImplementedError(f"class '{type(self).__name__}' does not implement '{command}'")


def interfaces_of(cls: type[Device]) -> list[type[Device]]:
    """Return the interfaces that a class keeps, the nearest first."""
    return [base for base in cls.__mro__ if "interface_name" in vars(base)]
