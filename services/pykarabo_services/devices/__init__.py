"""Devices that come with pykarabo: the host's monitor, a motor, a train clock, a camera.

Each is a device class and, beside it, what it drives: an object that knows nothing of devices.
"""

from .camera import Camera
from .clock import TrainClock
from .host import HostMonitor
from .motor import SimulatedMotor

__all__ = ["Camera", "HostMonitor", "SimulatedMotor", "TrainClock"]
