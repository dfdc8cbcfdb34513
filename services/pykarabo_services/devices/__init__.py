"""Devices that come with pykarabo: host monitor, motor, train clock, camera, motion controller.

Each is a device class and, beside it, what it drives: an object that knows nothing of devices.
"""

from .camera import Camera
from .clock import TrainClock
from .host import HostMonitor
from .motion import MotionController
from .motor import SimulatedMotor

__all__ = ["Camera", "HostMonitor", "MotionController", "SimulatedMotor", "TrainClock"]
