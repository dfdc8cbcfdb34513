"""Moves the frames of `pykarabo.wire` between processes; owns the sockets and the clock."""

from ._blocking import BlockingLink
from ._clock import Clock, SystemClock
from ._deadline import deadline, time_left_s
from ._memory import MemoryNetwork, MemoryTransport
from ._places import (
    DEFAULT_DOMAIN,
    DOMAIN_VARIABLE,
    cache_directory,
    data_directory,
    domain_name,
    run_directory,
)
from ._ports import (
    DealerHandler,
    DealerPort,
    Delivery,
    FrameCallback,
    PeerCallback,
    PublisherPort,
    RouterPort,
    SubscriberPort,
    Transport,
)
from ._sockets import Socket, make_context
from ._tasks import TaskOwner
from ._zeromq import Binding, ZmqTransport

__all__ = [
    "DEFAULT_DOMAIN",
    "DOMAIN_VARIABLE",
    "Binding",
    "BlockingLink",
    "Clock",
    "DealerHandler",
    "DealerPort",
    "Delivery",
    "FrameCallback",
    "MemoryNetwork",
    "MemoryTransport",
    "PeerCallback",
    "PublisherPort",
    "RouterPort",
    "Socket",
    "SubscriberPort",
    "SystemClock",
    "TaskOwner",
    "Transport",
    "ZmqTransport",
    "cache_directory",
    "data_directory",
    "deadline",
    "domain_name",
    "make_context",
    "run_directory",
    "time_left_s",
]
