"""Using the devices of a domain, from blocking code and from asyncio.

Blocking: `connect`, `wait_until`, `watch`. Asynchronous: `aconnect`, `Client`.
"""

from typing import TYPE_CHECKING

from pykarabo._lazy import lazy_attributes

from ._records import DIRECTORY_ID, PAGE, DeviceRecord, ServerRecord, check_device_id, split_target

if TYPE_CHECKING:
    from ._awaiting import await_new, await_until, await_while
    from ._blocking_client import BlockingClient, connect, disconnect_all
    from ._blocking_proxy import DeviceProxy, NodeProxy
    from ._changes import AsyncChanges, Changes
    from ._client import Client, StreamCounters
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
    from ._finding import DeviceFilter
    from ._group import AsyncDeviceGroup, DeviceGroup
    from ._identity import CALL_TIMEOUT_S, own_identity
    from ._input import PipelineReader
    from ._job import AsyncJob, Job
    from ._lock import AsyncDeviceLock, DeviceLock
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
    from ._topology_cache import CACHED, TopologyCache, cache_file
    from ._updates import Change, Gap, Live, NewSchema, Stale, Update
    from ._waiting import wait_new, wait_until, wait_while, watch
    from ._watch import Follower, Watch

__all__ = [
    "CACHED",
    "CALL_TIMEOUT_S",
    "DIRECTORY_ID",
    "DIRECTORY_STEM",
    "DIRECTORY_VARIABLE",
    "PAGE",
    "REPLICA_TIMEOUT_S",
    "AsyncChanges",
    "AsyncDeviceGroup",
    "AsyncDeviceLock",
    "AsyncDeviceProxy",
    "AsyncJob",
    "AsyncNodeProxy",
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
    "DirectoryAccess",
    "Follower",
    "Gap",
    "Job",
    "Live",
    "NewSchema",
    "NodeProxy",
    "PipelineReader",
    "ServerRecord",
    "Stale",
    "StreamCounters",
    "TopologyCache",
    "Update",
    "Watch",
    "access_to",
    "aconnect",
    "adisconnect_all",
    "afind_devices",
    "ainstantiate",
    "ashutdown",
    "await_new",
    "await_until",
    "await_while",
    "cache_file",
    "check_device_id",
    "classes",
    "connect",
    "devices_changed",
    "directory_endpoints",
    "disconnect_all",
    "find_devices",
    "find_servers",
    "instantiate",
    "own_identity",
    "shutdown",
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
            "stop_watching": "_event_thread",
            "DeviceFilter": "_finding",
            **dict.fromkeys(("AsyncDeviceGroup", "DeviceGroup"), "_group"),
            **dict.fromkeys(("CALL_TIMEOUT_S", "own_identity"), "_identity"),
            "PipelineReader": "_input",
            **dict.fromkeys(("AsyncJob", "Job"), "_job"),
            **dict.fromkeys(("AsyncDeviceLock", "DeviceLock"), "_lock"),
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
            **dict.fromkeys(("CACHED", "TopologyCache", "cache_file"), "_topology_cache"),
            **dict.fromkeys(("Change", "Gap", "Live", "NewSchema", "Stale", "Update"), "_updates"),
            **dict.fromkeys(("wait_new", "wait_until", "wait_while", "watch"), "_waiting"),
            **dict.fromkeys(("Follower", "Watch"), "_watch"),
        },
    )
