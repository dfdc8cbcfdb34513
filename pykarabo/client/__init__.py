"""Using the devices of a domain, from blocking code and from asyncio.

Blocking: `connect`, `wait_until`, `watch`. Asynchronous: `aconnect`, `Client`.
"""

from ._blocking_client import BlockingClient, connect, disconnect_all
from ._blocking_proxy import DeviceProxy, NodeProxy
from ._client import (
    CALL_TIMEOUT_S,
    Client,
    StreamCounters,
    own_identity,
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
from ._input import PipelineReader
from ._job import AsyncJob, Job
from ._proxy import AsyncDeviceProxy, AsyncNodeProxy
from ._records import (
    DIRECTORY_ID,
    PAGE,
    DeviceRecord,
    ServerRecord,
    check_device_id,
    split_target,
)
from ._topology_cache import CACHED, TopologyCache, cache_file
from ._updates import Change, Gap, Live, NewSchema, Stale, Update
from ._waiting import stop_watching, wait_until, watch
from ._watch import Follower, Watch

__all__ = [
    "CACHED",
    "CALL_TIMEOUT_S",
    "DIRECTORY_ID",
    "DIRECTORY_STEM",
    "DIRECTORY_VARIABLE",
    "PAGE",
    "REPLICA_TIMEOUT_S",
    "AsyncDeviceProxy",
    "AsyncJob",
    "AsyncNodeProxy",
    "BlockingClient",
    "Change",
    "Client",
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
    "cache_file",
    "check_device_id",
    "connect",
    "directory_endpoints",
    "disconnect_all",
    "own_identity",
    "split_target",
    "stop_watching",
    "wait_until",
    "watch",
]
