"""What devices of a kind have in common, so that scans, panels and scripts can use any of them.

A device class derives from the interface that it keeps, gives its own properties where it needs
other units or limits, and implements the commands. `pykarabo.testing.check_interface` tells
whether it keeps it. The property `interfaces` of a device names those that its class has, and the
directory knows them as tags such as ``interface:Motor``.
"""

from ._acquiring import Camera, Instantiator, Processor, Trigger
from ._history import History
from ._interface import Interface, interfaces_of
from ._motor import Axis, Motor, MultiAxisMotor

__all__ = [
    "Axis",
    "Camera",
    "History",
    "Instantiator",
    "Interface",
    "Motor",
    "MultiAxisMotor",
    "Processor",
    "Trigger",
    "interfaces_of",
]
