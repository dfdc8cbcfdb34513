"""Moves the frames of `pykarabo.wire` between processes; owns the sockets and the clock."""

from typing import TYPE_CHECKING

from pykarabo._lazy import lazy_attributes

from ._caller import Caller, acting_as, called_by, present_caller, signed
from ._clock import Clock, SystemClock, now
from ._deadline import deadline, is_awaited, time_left_s
from ._keys import DomainKeys, KeyPair, joined_site
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
    site_member_file,
    site_state_file,
    user_name,
)
from ._ports import (
    CLOSED,
    KEY_REASONS,
    NO_CONNECTION,
    NOBODY_LISTENS,
    Connection,
    ConnectionCallback,
    ConnectionCounts,
    DealerHandler,
    DealerPort,
    Delivery,
    FrameCallback,
    PeerCallback,
    PublisherPort,
    RouterPort,
    Sender,
    SubscriberPort,
    SubscriptionCallback,
    Transport,
)
from ._sockets import (
    Socket,
    guard,
    is_encrypted,
    is_plain,
    make_context,
    numeric,
    remedy_for,
    without_key,
)

if TYPE_CHECKING:
    from ._blocking import BlockingLink
    from ._key_file import load_key, make_key
    from ._memory import MemoryNetwork, MemoryTransport
    from ._self_test import is_refused
    from ._site import Membership, Site
    from ._site_link import SiteLink, require_same_time
    from ._site_listener import Asker, SiteListener
    from ._tasks import TaskOwner
    from ._zap import Doorkeeper, own_user_only
    from ._zeromq import Binding, ZmqTransport

__all__ = [
    "CLOSED",
    "DEFAULT_DOMAIN",
    "DOMAIN_VARIABLE",
    "KEY_REASONS",
    "NOBODY_LISTENS",
    "NO_CONNECTION",
    "Asker",
    "Binding",
    "BlockingLink",
    "Caller",
    "Clock",
    "Connection",
    "ConnectionCallback",
    "ConnectionCounts",
    "DealerHandler",
    "DealerPort",
    "Delivery",
    "DomainKeys",
    "Doorkeeper",
    "FrameCallback",
    "KeyPair",
    "Membership",
    "MemoryNetwork",
    "MemoryTransport",
    "PeerCallback",
    "PublisherPort",
    "RouterPort",
    "Sender",
    "Site",
    "SiteLink",
    "SiteListener",
    "Socket",
    "SubscriberPort",
    "SubscriptionCallback",
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
    "is_refused",
    "joined_site",
    "key_file",
    "load_key",
    "make_context",
    "make_key",
    "now",
    "numeric",
    "own_user_only",
    "present_caller",
    "remedy_for",
    "require_same_time",
    "run_directory",
    "signed",
    "site_member_file",
    "site_state_file",
    "time_left_s",
    "user_name",
    "without_key",
]

if not TYPE_CHECKING:
    __getattr__ = lazy_attributes(
        __name__,
        {
            "BlockingLink": "_blocking",
            **dict.fromkeys(("MemoryNetwork", "MemoryTransport"), "_memory"),
            **dict.fromkeys(("load_key", "make_key"), "_key_file"),
            "is_refused": "_self_test",
            **dict.fromkeys(("Membership", "Site"), "_site"),
            **dict.fromkeys(("SiteLink", "require_same_time"), "_site_link"),
            **dict.fromkeys(("Asker", "SiteListener"), "_site_listener"),
            "TaskOwner": "_tasks",
            **dict.fromkeys(("Doorkeeper", "own_user_only"), "_zap"),
            **dict.fromkeys(("Binding", "ZmqTransport"), "_zeromq"),
        },
    )
