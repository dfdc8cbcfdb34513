"""Using the devices of a domain, from blocking code and from asyncio.

Blocking: `connect`, `wait_until`, `watch`. Asynchronous: `aconnect`, `Client`.
"""

from typing import TYPE_CHECKING

from pykarabo._lazy import lazy_attributes

from ._records import (
    DEVICE_ID_PATTERN,
    DIRECTORY_ID,
    PAGE,
    DeviceRecord,
    ServerRecord,
    check_device_id,
    own_server_id,
    split_target,
)

if TYPE_CHECKING:
    from ._awaiting import await_new, await_until, await_while
    from ._blocking_client import BlockingClient, connect, disconnect_all
    from ._blocking_proxy import DeviceProxy, NodeProxy
    from ._changes import AsyncChanges, Changes
    from ._client import Client, StreamCounters
    from ._comparing import (
        MISSING,
        Difference,
        acompare,
        aconfiguration,
        aget_property,
        alias_of_key,
        aset_property,
        asettable,
        compare,
        configuration,
        get_property,
        key_of_alias,
        set_property,
        settable,
    )
    from ._connect import aconnect, adisconnect_all
    from ._directory import (
        DIRECTORY_STEM,
        DIRECTORY_VARIABLE,
        REPLICA_TIMEOUT_S,
        DirectoryAccess,
        access_to,
        directory_endpoints,
    )
    from ._event_thread import stop_watching
    from ._events import (
        COUNT,
        EVENT,
        EventReader,
        EventWatch,
        Happening,
        Missed,
        Occurred,
        events_of,
    )
    from ._finding import DeviceFilter
    from ._group import AsyncDeviceGroup, DeviceGroup
    from ._history import HistoryOptions, Moment
    from ._history_types import History, HistoryGap, Past
    from ._identity import CALL_TIMEOUT_S, ROLE_VARIABLE, asked_role, own_identity
    from ._input import PipelineReader
    from ._job import AsyncJob, Job
    from ._keeping_on import StreamFollower, has_ended
    from ._lock import AsyncDeviceLock, DeviceLock
    from ._login import LOGIN_VARIABLE, Login, login_file, login_of_user, own_proofs
    from ._mode import (
        MODE_COMMAND,
        MODE_KEY,
        REMIND_COMMAND,
        SET_MODE_COMMAND,
        WRITABLE,
        DomainMode,
    )
    from ._population import DeviceNews
    from ._proxy import AsyncDeviceProxy, AsyncNodeProxy
    from ._simple import (
        afind_devices,
        ainstantiate,
        ashutdown,
        classes,
        devices_changed,
        find_devices,
        find_servers,
        instantiate,
        shutdown,
    )
    from ._tail import AsyncTail, Tail
    from ._together import (
        Background,
        Ended,
        aall_completed,
        afirst_completed,
        afirst_exception,
        all_completed,
        asleep,
        background,
        first_completed,
        first_exception,
        sleep,
    )
    from ._topology_cache import CACHED, TopologyCache, cache_file
    from ._units import (
        quantity,
    )
    from ._updates import Change, Gap, Live, NewSchema, Stale, Update
    from ._waiting import wait_new, wait_until, wait_while, watch
    from ._watch import Follower, Watch

__all__ = [
    "CACHED",
    "CALL_TIMEOUT_S",
    "COUNT",
    "DEVICE_ID_PATTERN",
    "DIRECTORY_ID",
    "DIRECTORY_STEM",
    "DIRECTORY_VARIABLE",
    "EVENT",
    "LOGIN_VARIABLE",
    "MISSING",
    "MODE_COMMAND",
    "MODE_KEY",
    "PAGE",
    "REMIND_COMMAND",
    "REPLICA_TIMEOUT_S",
    "ROLE_VARIABLE",
    "SET_MODE_COMMAND",
    "WRITABLE",
    "AsyncChanges",
    "AsyncDeviceGroup",
    "AsyncDeviceLock",
    "AsyncDeviceProxy",
    "AsyncJob",
    "AsyncNodeProxy",
    "AsyncTail",
    "Background",
    "BlockingClient",
    "Change",
    "Changes",
    "Client",
    "DeviceFilter",
    "DeviceGroup",
    "DeviceLock",
    "DeviceNews",
    "DeviceProxy",
    "DeviceRecord",
    "Difference",
    "DirectoryAccess",
    "DomainMode",
    "Ended",
    "EventReader",
    "EventWatch",
    "Follower",
    "Gap",
    "Happening",
    "History",
    "HistoryGap",
    "HistoryOptions",
    "Job",
    "Live",
    "Login",
    "Missed",
    "Moment",
    "NewSchema",
    "NodeProxy",
    "Occurred",
    "Past",
    "PipelineReader",
    "ServerRecord",
    "Stale",
    "StreamCounters",
    "StreamFollower",
    "Tail",
    "TopologyCache",
    "Update",
    "Watch",
    "aall_completed",
    "access_to",
    "acompare",
    "aconfiguration",
    "aconnect",
    "adisconnect_all",
    "afind_devices",
    "afirst_completed",
    "afirst_exception",
    "aget_property",
    "ainstantiate",
    "alias_of_key",
    "all_completed",
    "aset_property",
    "asettable",
    "ashutdown",
    "asked_role",
    "asleep",
    "await_new",
    "await_until",
    "await_while",
    "background",
    "cache_file",
    "check_device_id",
    "classes",
    "compare",
    "configuration",
    "connect",
    "devices_changed",
    "directory_endpoints",
    "disconnect_all",
    "events_of",
    "find_devices",
    "find_servers",
    "first_completed",
    "first_exception",
    "get_property",
    "has_ended",
    "instantiate",
    "key_of_alias",
    "login_file",
    "login_of_user",
    "own_identity",
    "own_proofs",
    "own_server_id",
    "quantity",
    "set_property",
    "settable",
    "shutdown",
    "sleep",
    "split_target",
    "stop_watching",
    "wait_new",
    "wait_until",
    "wait_while",
    "watch",
]

if not TYPE_CHECKING:
    __getattr__ = lazy_attributes(
        __name__,
        {
            **dict.fromkeys(("await_new", "await_until", "await_while"), "_awaiting"),
            **dict.fromkeys(("BlockingClient", "connect", "disconnect_all"), "_blocking_client"),
            **dict.fromkeys(("DeviceProxy", "NodeProxy"), "_blocking_proxy"),
            **dict.fromkeys(("AsyncChanges", "Changes"), "_changes"),
            **dict.fromkeys(("Client", "StreamCounters"), "_client"),
            **dict.fromkeys(("aconnect", "adisconnect_all"), "_connect"),
            **dict.fromkeys(
                (
                    "DIRECTORY_STEM",
                    "DIRECTORY_VARIABLE",
                    "REPLICA_TIMEOUT_S",
                    "DirectoryAccess",
                    "access_to",
                    "directory_endpoints",
                ),
                "_directory",
            ),
            **dict.fromkeys(
                (
                    "COUNT",
                    "DEVICE_ID_PATTERN",
                    "EVENT",
                    "EventReader",
                    "EventWatch",
                    "Happening",
                    "Missed",
                    "Occurred",
                    "events_of",
                ),
                "_events",
            ),
            "stop_watching": "_event_thread",
            "DeviceFilter": "_finding",
            **dict.fromkeys(("AsyncDeviceGroup", "DeviceGroup"), "_group"),
            **dict.fromkeys(("HistoryOptions", "Moment"), "_history"),
            **dict.fromkeys(("History", "HistoryGap", "Past"), "_history_types"),
            **dict.fromkeys(("AsyncTail", "Tail"), "_tail"),
            **dict.fromkeys(
                ("CALL_TIMEOUT_S", "ROLE_VARIABLE", "asked_role", "own_identity"), "_identity"
            ),
            "PipelineReader": "_input",
            **dict.fromkeys(
                ("LOGIN_VARIABLE", "Login", "login_file", "login_of_user", "own_proofs"), "_login"
            ),
            **dict.fromkeys(("AsyncJob", "Job"), "_job"),
            **dict.fromkeys(("AsyncDeviceLock", "DeviceLock"), "_lock"),
            **dict.fromkeys(
                (
                    "MODE_COMMAND",
                    "MODE_KEY",
                    "REMIND_COMMAND",
                    "SET_MODE_COMMAND",
                    "WRITABLE",
                    "DomainMode",
                ),
                "_mode",
            ),
            "DeviceNews": "_population",
            **dict.fromkeys(("AsyncDeviceProxy", "AsyncNodeProxy"), "_proxy"),
            **dict.fromkeys(
                (
                    "afind_devices",
                    "ainstantiate",
                    "ashutdown",
                    "classes",
                    "devices_changed",
                    "find_devices",
                    "find_servers",
                    "instantiate",
                    "shutdown",
                ),
                "_simple",
            ),
            **dict.fromkeys(
                (
                    "MISSING",
                    "Difference",
                    "acompare",
                    "aconfiguration",
                    "aget_property",
                    "alias_of_key",
                    "aset_property",
                    "asettable",
                    "compare",
                    "configuration",
                    "get_property",
                    "key_of_alias",
                    "set_property",
                    "settable",
                ),
                "_comparing",
            ),
            **dict.fromkeys(
                (
                    "Background",
                    "Ended",
                    "aall_completed",
                    "afirst_completed",
                    "afirst_exception",
                    "all_completed",
                    "asleep",
                    "background",
                    "first_completed",
                    "first_exception",
                    "sleep",
                ),
                "_together",
            ),
            "quantity": "_units",
            **dict.fromkeys(("CACHED", "TopologyCache", "cache_file"), "_topology_cache"),
            **dict.fromkeys(("Change", "Gap", "Live", "NewSchema", "Stale", "Update"), "_updates"),
            **dict.fromkeys(("wait_new", "wait_until", "wait_while", "watch"), "_waiting"),
            **dict.fromkeys(("StreamFollower", "has_ended"), "_keeping_on"),
            **dict.fromkeys(("Follower", "Watch"), "_watch"),
        },
    )
