"""Writing devices and serving them."""

from ._accounts import ENDED_KEY, login_of_host
from ._backend import Backend
from ._classes import DeviceClasses
from ._command import command
from ._connections import on_event
from ._context import DeviceContext
from ._device import Device
from ._device_node import DeviceNode
from ._events import Event
from ._machine import RunningMachine, StateMachine
from ._node_device import device_of
from ._output import Output
from ._pipelines import OutputChannel, PipelineHost
from ._poll import PollLoop, poll
from ._process import (
    ServerSettings,
    run_server,
    running_server,
    serve,
    serve_until_stopped,
)
from ._rights import Rights, all_rights
from ._server import Server
from ._server_device import DeviceServer
from ._starting import DeviceSettings
from ._transitions import Transition
from ._versions import ENTRY_POINT_GROUP

__all__ = [
    "ENDED_KEY",
    "ENTRY_POINT_GROUP",
    "Backend",
    "Device",
    "DeviceClasses",
    "DeviceContext",
    "DeviceNode",
    "DeviceServer",
    "DeviceSettings",
    "Event",
    "Output",
    "OutputChannel",
    "PipelineHost",
    "PollLoop",
    "Rights",
    "RunningMachine",
    "Server",
    "ServerSettings",
    "StateMachine",
    "Transition",
    "all_rights",
    "command",
    "device_of",
    "login_of_host",
    "on_event",
    "poll",
    "run_server",
    "running_server",
    "serve",
    "serve_until_stopped",
]
