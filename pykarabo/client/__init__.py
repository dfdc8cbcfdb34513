"""Using the devices of a domain, from blocking code and from asyncio.

Blocking: `connect`, `wait_until`, `watch`. Asynchronous: `aconnect`, `Client`.
"""

from typing import TYPE_CHECKING

from pykarabo._lazy import lazy_attributes

from ._records import DIRECTORY_ID, PAGE, DeviceRecord, ServerRecord, check_device_id, split_target

if TYPE_CHECKING:
    from ._blocking_client import BlockingClient, connect, disconnect_all
    from ._blocking_proxy import DeviceProxy, NodeProxy
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
    from ._group import AsyncDeviceGroup, DeviceGroup
    from ._identity import CALL_TIMEOUT_S, own_identity
    from ._input import PipelineReader
    from ._job import AsyncJob, Job
    from ._proxy import AsyncDeviceProxy, AsyncNodeProxy
    from ._topology_cache import CACHED, TopologyCache, cache_file
    from ._updates import Change, Gap, Live, NewSchema, Stale, Update
    from ._waiting import stop_watching, wait_until, watch
    from ._watch import Follower, Watch

__all__ = [
    "CACHED",
    "CALL_TIMEOUT_S",
    "COUNT",
    "DIRECTORY_ID",
    "DIRECTORY_STEM",
    "DIRECTORY_VARIABLE",
    "EVENT",
    "PAGE",
    "REPLICA_TIMEOUT_S",
    "AsyncDeviceGroup",
    "AsyncDeviceProxy",
    "AsyncJob",
    "AsyncNodeProxy",
    "BlockingClient",
    "Change",
    "Client",
    "DeviceGroup",
    "DeviceProxy",
    "DeviceRecord",
    "DirectoryAccess",
    "EventReader",
    "EventWatch",
    "Follower",
    "Gap",
    "Happening",
    "Job",
    "Live",
    "Missed",
    "NewSchema",
    "NodeProxy",
    "Occurred",
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
    "cache_file",
    "check_device_id",
    "connect",
    "directory_endpoints",
    "disconnect_all",
    "events_of",
    "own_identity",
    "split_target",
    "stop_watching",
    "wait_until",
    "watch",
]

if not TYPE_CHECKING:
    __getattr__ = lazy_attributes(
        __name__,
        {
            **dict.fromkeys(("BlockingClient", "connect", "disconnect_all"), "_blocking_client"),
            **dict.fromkeys(("DeviceProxy", "NodeProxy"), "_blocking_proxy"),
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
            **dict.fromkeys(("AsyncDeviceGroup", "DeviceGroup"), "_group"),
            **dict.fromkeys(("CALL_TIMEOUT_S", "own_identity"), "_identity"),
            "PipelineReader": "_input",
            **dict.fromkeys(("AsyncJob", "Job"), "_job"),
            **dict.fromkeys(("AsyncDeviceProxy", "AsyncNodeProxy"), "_proxy"),
            **dict.fromkeys(("CACHED", "TopologyCache", "cache_file"), "_topology_cache"),
            **dict.fromkeys(("Change", "Gap", "Live", "NewSchema", "Stale", "Update"), "_updates"),
            **dict.fromkeys(("stop_watching", "wait_until", "watch"), "_waiting"),
            **dict.fromkeys(("Follower", "Watch"), "_watch"),
        },
    )
