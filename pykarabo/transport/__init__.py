"""Moves the frames of `pykarabo.wire` between processes; owns the sockets and the clock."""

from typing import TYPE_CHECKING

from pykarabo._lazy import lazy_attributes

from ._caller import Caller, acting_as, called_by, present_caller, signed
from ._clock import Clock, SystemClock, now
from ._deadline import deadline, is_awaited, time_left_s
from ._keys import DomainKeys
from ._places import (
    DEFAULT_DOMAIN,
    DOMAIN_VARIABLE,
    accounts_folder,
    cache_directory,
    config_directory,
    data_directory,
    domain_name,
    key_file,
    run_directory,
)
from ._ports import (
    CLOSED,
    KEY_REASONS,
    NOBODY_LISTENS,
    DealerHandler,
    DealerPort,
    Delivery,
    FrameCallback,
    PeerCallback,
    PublisherPort,
    RouterPort,
    Sender,
    SubscriberPort,
    Transport,
)
from ._sockets import Socket, guard, is_encrypted, is_plain, make_context, remedy_for

if TYPE_CHECKING:
    from ._blocking import BlockingLink
    from ._memory import MemoryNetwork, MemoryTransport
    from ._tasks import TaskOwner
    from ._zap import Doorkeeper, own_user_only
    from ._zeromq import Binding, ZmqTransport

__all__ = [
    "CLOSED",
    "DEFAULT_DOMAIN",
    "DOMAIN_VARIABLE",
    "KEY_REASONS",
    "NOBODY_LISTENS",
    "Binding",
    "BlockingLink",
    "Caller",
    "Clock",
    "DealerHandler",
    "DealerPort",
    "Delivery",
    "DomainKeys",
    "Doorkeeper",
    "FrameCallback",
    "MemoryNetwork",
    "MemoryTransport",
    "PeerCallback",
    "PublisherPort",
    "RouterPort",
    "Sender",
    "Socket",
    "SubscriberPort",
    "SystemClock",
    "TaskOwner",
    "Transport",
    "ZmqTransport",
    "accounts_folder",
    "acting_as",
    "cache_directory",
    "called_by",
    "config_directory",
    "data_directory",
    "deadline",
    "domain_name",
    "guard",
    "is_awaited",
    "is_encrypted",
    "is_plain",
    "key_file",
    "make_context",
    "now",
    "own_user_only",
    "present_caller",
    "remedy_for",
    "run_directory",
    "signed",
    "time_left_s",
]

if not TYPE_CHECKING:
    __getattr__ = lazy_attributes(
        __name__,
        {
            "BlockingLink": "_blocking",
            **dict.fromkeys(("MemoryNetwork", "MemoryTransport"), "_memory"),
            "TaskOwner": "_tasks",
            **dict.fromkeys(("Doorkeeper", "own_user_only"), "_zap"),
            **dict.fromkeys(("Binding", "ZmqTransport"), "_zeromq"),
        },
    )
